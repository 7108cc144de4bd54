"""What is drawn: scales, markers, pictures, and tables of a given width."""

from __future__ import annotations

import io
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from report_rows import exact_rows, row, sampled_rows
from rich.console import Console
from safetensors.torch import save_file

from ddm_pyro.report import Run, print_run
from ddm_pyro.report.figures import plot, training_plot
from ddm_pyro.report.palette import styles
from ddm_pyro.report.pictures import grid, png
from ddm_pyro.report.series import Line, Point, groups_of, lines_of


def point(nfe: float, value: float, **known: Any) -> Point:
    base = {"steps": nfe, "lcb": None, "ucb": None, "exact": True, "bound": None, "floor": None, "repetitions": 1}
    return Point(**{"nfe": nfe, "value": value, **base, **known})


def axes_of(*points: Point) -> Any:
    figure = plot([Line("one", points)], styles(["one"]))
    assert figure is not None
    return figure.axes[0]


def test_axes_are_logarithmic_where_all_is_positive_and_the_range_wide() -> None:
    axes = axes_of(point(2, 0.5), point(64, 0.01))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    axes = axes_of(point(8, 4.1), point(10, 4.0))
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")
    assert axes_of(point(2, -0.5), point(64, 0.01)).get_yscale() == "linear"


def test_rounding_errors_neither_stretch_an_axis_nor_fill_one() -> None:
    low, high = axes_of(point(2, 0.5), point(4, 1e-16), point(8, -1e-16)).get_ylim()
    assert low > 0.05
    assert high < 1.0
    low, high = axes_of(point(2, 3e-17), point(4, -1e-16)).get_ylim()
    assert (low < 0, high) == (True, 1.0)


def test_every_value_is_inside_or_marked_on_the_lower_edge() -> None:
    axes = axes_of(point(2, 0.5), point(4, 1e-16), point(8, 0.02))
    markers = {float(line.get_xdata()[0]): line for line in axes.get_lines() if line.get_linestyle() == "None"}
    assert [markers[n].get_marker() for n in (2.0, 4.0, 8.0)] == ["o", "v", "o"]
    assert float(markers[4.0].get_ydata()[0]) == axes.get_ylim()[0]
    assert float(markers[8.0].get_ydata()[0]) == 0.02


def test_exact_values_are_filled_and_estimates_hollow() -> None:
    axes = axes_of(point(2, 0.5), point(4, 0.25, exact=False, lcb=0.2, ucb=0.3))
    faces = [to_hex(line.get_markerfacecolor()) for line in axes.get_lines() if line.get_linestyle() == "None"]
    assert faces == ["#0072b2", "#ffffff"]


def test_wide_limits_do_not_flatten_the_values() -> None:
    wide = {"exact": False, "lcb": 0.0, "ucb": 64.0}
    low, high = axes_of(point(2, 31.0, floor=28.0, **wide), point(4, 32.0, floor=28.0, **wide)).get_ylim()
    assert low < 28.0 < 32.0 < high
    assert high - low < 5 * (32.0 - 28.0)


def test_bounds_and_floor_are_in_the_picture() -> None:
    axes = axes_of(point(2, 0.5, bound=7.0, floor=0.03), point(8, 0.2, bound=3.0))
    low, high = axes.get_ylim()
    assert low < 0.03
    assert high > 7.0
    dotted = [line for line in axes.get_lines() if list(line.get_ydata()) == [7.0, 3.0]]
    assert len(dotted) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nothing_is_drawn_of_values_that_are_no_numbers(value: float) -> None:
    assert plot([Line("one", (point(2, value),))], styles(["one"])) is None


def test_training_losses_are_smoothed_without_moving_them() -> None:
    (line,) = training_plot([[float(k) for k in range(1000)]]).axes[0].get_lines()  # type: ignore[union-attr]
    assert len(line.get_xdata()) == 50
    assert float(line.get_xdata()[-1]) == 1000.0
    assert float(np.mean(line.get_ydata())) == pytest.approx(499.5)
    assert training_plot([[math.nan] * 3]) is None


def test_a_grid_has_ink_dark_paper_white_and_masks_grey() -> None:
    image = grid(np.array([[0, 16], [8, 17]]), (2, 1), levels=17, columns=2)
    assert image.tolist() == [
        [200, 200, 200, 200, 200],
        [200, 255, 200, 128, 200],
        [200, 0, 200, 200, 200],
        [200, 200, 200, 200, 200],
    ]
    with pytest.raises(ValueError, match="no images of 2 x 2"):
        grid(np.zeros((1, 3), dtype=np.int64), (2, 2), levels=2)


def test_a_png_holds_the_pixels() -> None:
    from matplotlib.image import imread

    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    data = png(pixels)
    assert (imread(io.BytesIO(data), format="png") * 255).round().tolist() == pixels.tolist()
    start = data.index(b"IDAT")
    length = int.from_bytes(data[start - 4 : start], "big")
    assert len(zlib.decompress(data[start + 4 : start + 4 + length])) == 3 * 5


def test_keys_that_are_no_hashes_open_no_files(tmp_path: Path) -> None:
    (tmp_path / "run" / "samples").mkdir(parents=True)
    save_file({"samples": torch.zeros(1, 1)}, tmp_path / "secret.safetensors")
    run = Run([], directory=tmp_path / "run")
    assert run.tensors(row(sample_key="../../secret")) == {}
    assert run.losses(row(train_key="../../secret")) == []


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_columns_that_are_shown_are_shown_whole(width: int) -> None:
    rows = [*exact_rows(), *sampled_rows()]
    rows += [{**one, "metric": f"{one['metric']}-longer-name", "row_key": f"{one['row_key']}x"} for one in exact_rows()]
    stream = io.StringIO()
    print_run(Run(rows), Console(file=stream, width=width), report="somewhere/report.html")
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert not [line for line in lines if "…" in line]
    assert next(line.split() for line in lines if line.startswith("ancestral"))[1:4] == ["2", "2", "0.200"]


def test_what_did_not_fit_is_named() -> None:
    stream = io.StringIO()
    print_run(Run(list(exact_rows())), Console(file=stream, width=50))
    assert "Not shown for want of width: mmd-hamming, nll" in stream.getvalue()


def test_columns_that_say_the_same_everywhere_give_way_first() -> None:
    names = ("core/tv", "core/kl", *(f"core/long-metric-name-{k}" for k in range(4)))
    rows = [
        row(sampler=f"core/{sampler}", metric=metric, value=1.0 if j < 2 else 0.1 * (k + j), kind="exact")
        for k, sampler in enumerate("ab")
        for j, metric in enumerate(names)
    ]
    narrow, wide = io.StringIO(), io.StringIO()
    print_run(Run(rows), Console(file=narrow, width=60))
    print_run(Run(rows), Console(file=wide, width=200))
    assert "The same everywhere: tv 1.00, kl 1.00" in narrow.getvalue()
    assert narrow.getvalue().splitlines()[1].split()[:2] == ["long-", "long-"]
    assert "The same everywhere" not in wide.getvalue()


def test_a_lower_limit_of_zero_is_not_drawn() -> None:
    limits = {"kind": "lower", "lcb": 0.0, "ucb": float("inf")}
    (line,) = lines_of(groups_of([row(value=0.0, **limits)])[0], "tv")
    assert plot([line], styles(["ancestral"])) is None
    (line,) = lines_of(groups_of([row(value=0.25, **{**limits, "lcb": 0.25})])[0], "tv")
    assert plot([line], styles(["ancestral"])) is not None
