"""Checks, tables and files of experiments."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from ddm_pyro.reproduce import Check, Curve, Experiment, Outcome, Panel, Work, experiment, names, reproduce
from ddm_pyro.reproduce.checks import LAST_DIGIT, digits, last_digit, slope
from ddm_pyro.reproduce.outcome import from_csv, to_csv
from ddm_pyro.reproduce.plots import svg


class Toy(Experiment):
    """y = 2 x."""

    name, title, claim, source, setup = "toy", "A line", "y = 2 x.", "nobody", "Arithmetic."
    keys = ("x",)

    def measure(self, work):
        return [{"x": x, "y": 2.0 * x, "reference": "2.0"} for x in work.track([1, 2], "points")]

    def judge(self, rows):
        return [Check("largest y / x", max(row["y"] / row["x"] for row in rows), 2.0, 2.0, "nobody")]

    def draw(self, rows):
        return [Panel("", "x", "y", [Curve("y", [row["x"] for row in rows], [row["y"] for row in rows])])]

    def table(self, rows):
        return list(rows)


def test_checks_pass_inside_their_interval_only() -> None:
    assert Check("", 1.0, 1.0, 2.0).passed
    assert not Check("", 0.99, 1.0, 2.0).passed
    assert not Check("", 2.01, 1.0, 2.0).passed
    assert not Check("", math.nan, high=2.0).passed


@pytest.mark.parametrize(
    ("printed", "unit"), [("0.4020", 1e-4), ("5.96574e-6", 1e-11), ("17", 1.0), (".02", 1e-2), ("-1.30", 1e-2)]
)
def test_last_digit(printed: str, unit: float) -> None:
    assert last_digit(printed) == pytest.approx(unit, rel=1e-12)


def test_digits_finds_the_one_that_is_off() -> None:
    assert digits("x", [(0.12344, "0.1234"), (2.5e-3, "2.5e-3")], "").passed
    off = digits("x", [(0.1234, "0.1234"), (0.12351, "0.1234")], "")
    assert off.value == pytest.approx(1.1, rel=1e-6)
    assert not off.passed
    assert not digits("x", [(math.nan, "0.1")], "").passed
    assert LAST_DIGIT < 0.51
    with pytest.raises(ValueError, match="no reference for x"):
        digits("x", [], "")


def test_slope_is_that_of_a_power() -> None:
    assert slope([2, 3, 5, 7], [x**-1.5 for x in (2, 3, 5, 7)]) == pytest.approx(-1.5, rel=1e-12)
    assert math.isnan(slope([2], [1]))


def test_rows_survive_the_file() -> None:
    rows = [{"a": 1, "b": 0.1, "c": "word", "d": None, "e": "0.10", "f": math.inf, "g": "x, y"}]
    assert from_csv(to_csv(rows)) == rows


def test_equal_panels_give_equal_pictures_and_other_ones_others() -> None:
    def picture(y: float) -> bytes:
        return svg([Panel("", "x", "y", [Curve("", [1, 2], [1.0, y])])])

    assert picture(2.0) == picture(2.0)
    assert picture(2.0) != picture(3.0)


def test_points_a_logarithmic_axis_has_no_place_for_are_left_out() -> None:
    assert svg([Panel("", "x", "y", [Curve("", [1, 2, 3, 4], [1.0, 0.0, math.inf, 2.0])])])


def test_an_outcome_is_written_whole_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddm_pyro.reproduce.outcome.experiment", lambda name: Toy())
    told: list[tuple[int, int, str]] = []
    outcome = reproduce("toy", out=tmp_path, work=Work(seed=3, tell=lambda *event: told.append(event)))
    assert told == [(0, 2, "points"), (1, 2, "points"), (2, 2, "points")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy.csv", "toy.json", "toy.md", "toy.svg"]
    assert outcome.passed
    assert Outcome.read(tmp_path, "toy").rows == outcome.rows
    values = json.loads((tmp_path / "toy.json").read_text())
    assert (values["seed"], values["passed"], values["checks"][0]["value"]) == (3, True, 2.0)
    page = (tmp_path / "toy.md").read_text()
    assert "**pass**" in page
    assert "| 2 | 4 | 2.0 |" in page


def test_one_false_check_fails_the_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "measure", lambda self, work: [{"x": 1, "y": 2.0}, {"x": 2, "y": 5.0}])
    monkeypatch.setattr("ddm_pyro.reproduce.outcome.experiment", lambda name: Toy())
    assert not reproduce("toy").passed
    assert not Outcome(type("Empty", (Toy,), {"judge": lambda self, rows: []})(), ()).passed


def test_every_experiment_says_what_it_tests() -> None:
    for name in names():
        one = experiment(name)
        assert one.name == name
        assert all((one.title, one.claim, one.source, one.setup, one.keys))


def test_an_unknown_name_gets_the_closest_one() -> None:
    with pytest.raises(ValueError, match="Did you mean 'potts-kl'"):
        experiment("pots-kl")
