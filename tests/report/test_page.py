"""The page: one file that loads nothing, whose text is text, whatever the rows hold."""

from __future__ import annotations

import base64
import json
import math
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from report_rows import exact_rows, row, sampled_rows
from safetensors.torch import save_file

from ddm_pyro.report import HtmlReport, Run

VOID = {"meta", "link", "img", "br", "hr", "input", "path"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; checks that tags nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def page(rows: Any, **run: Any) -> Page:
    return Page(HtmlReport().render(Run(rows, **run)))


@pytest.fixture(scope="module")
def full() -> Page:
    return page([*exact_rows(), *sampled_rows()], meta={"name": "demo", "versions": {"torch": "2.13.0"}})


def test_nothing_is_loaded_from_elsewhere(full: Page) -> None:
    sources = [
        value for _, attrs in full.tags for name, value in attrs.items() if name in ("src", "href", "srcset", "data")
    ]
    assert sources
    assert {source.partition(":")[0] if ":" in source else source[0] for source in sources} <= {"data", "#"}
    assert not [tag for tag, _ in full.tags if tag in ("script", "link", "iframe", "object", "embed", "base")]
    assert "@import" not in full.words
    assert "url(" not in full.words


def test_links_within_the_page_lead_somewhere(full: Page) -> None:
    ids = [attrs["id"] for _, attrs in full.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"] for attrs in full.all("a")} <= {f"#{id}" for id in ids}


def test_every_image_is_drawable_and_told_in_words(full: Page) -> None:
    images = full.all("img")
    assert len(images) == 4 + 2 * 3
    for image in images:
        kind, _, data = image["src"].partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert ElementTree.fromstring(base64.b64decode(data)).tag.endswith("svg")
        assert "network evaluations" in image["alt"]


def test_header_says_what_was_run(full: Page) -> None:
    for words in ("plan demo", "seed 7", "torch 2.13.0", "1 error", "4 skipped", "156 ok"):
        assert words in full.words


def test_what_was_not_measured_is_told_with_its_reason(full: Page) -> None:
    assert "4 skipped no plan for <this>" in full.words
    assert "error in sample ValueError: no bound" in full.words
    assert "sampler: k-unmask" in full.words


def test_bounds_stand_beside_the_values(full: Page) -> None:
    assert "80 values with a bound" in full.words
    assert "discretization: 0.800" in full.words


def test_markup_in_names_and_reasons_is_text() -> None:
    evil = '<script>alert("x")</script>\'"&$\\frac'
    rows = [
        row(sampler=evil, metric=evil, target=evil, row_key=evil, sample_key="../../etc/passwd"),
        row(sampler=evil, status="error", value=None, reason=evil, stage=evil, row_key="b"),
        row(sampler=evil, bound=0.1, holds=False, hypotheses={evil: evil}, bound_terms={evil: 1.0}, row_key="c"),
    ]
    found = page(rows, meta={"name": evil, "plugins": [{"name": evil, "status": "error", "reason": evil}]})
    assert not found.all("script")
    assert found.words.count('<script>alert("x")</script>') >= 8


def test_violated_bounds_raise_the_alarm() -> None:
    found = page([row(value=0.5, bound=0.4, holds=False, hypotheses="verified")])
    assert any(attrs.get("role") == "alert" for _, attrs in found.tags)
    assert "potts-chain · masked · linear · exact · ancestral · tv: value 0.500" in found.words
    assert not any(attrs.get("role") == "alert" for _, attrs in page([row(bound=0.9, holds=True)]).tags)


def test_no_rows_at_all() -> None:
    found = page([])
    assert "the run has no rows yet" in found.words
    assert not found.all("img")


def test_only_skipped_rows() -> None:
    found = page([row(status="skipped", value=None, reason="too large", steps=n) for n in (1, 2)])
    assert "2 skipped" in found.words
    assert "2 skipped too large" in found.words
    assert not found.all("img")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "inf", 0.0, -1.0, 1e-300, 1e300])
def test_any_number_has_its_place_in_the_table(value: float | str) -> None:
    shown = {"nan": "NaN", "inf": "∞", "-inf": "-∞", "0.0": "0", "-1.0": "-1.00"}.get(str(value), f"{float(value):.1e}")
    found = page([row(value=value), row(value=0.5, steps=16, nfe=16)])
    assert shown in [text.strip() for text in found.text]
    assert len(found.all("img")) == 1


def test_a_single_step_and_a_single_value_make_a_plot() -> None:
    assert len(page([row(steps=1, nfe=1)]).all("img")) == 1
    assert len(page([row(steps=None, nfe=None, calls=None)]).all("img")) == 0


@pytest.mark.parametrize("nfe", [0, 1e-9, 2.5, 1e9])
def test_any_budget_has_a_plot(nfe: float) -> None:
    assert len(page([row(nfe=nfe), row(nfe=64.0, steps=64)]).all("img")) == 1


def test_equal_rows_give_equal_pages() -> None:
    rows = list(sampled_rows())
    assert HtmlReport().render(Run(rows)) == HtmlReport().render(Run(rows))


def test_unknown_components_cost_only_their_descriptions() -> None:
    found = page([row(target="lost/target", metric="lost/metric", sampler="lost/sampler")])
    assert "this metric is not installed here" in found.words
    assert len(found.all("img")) == 1


def keep(folder: Path, kept: dict[str, Any], **tensors: torch.Tensor) -> None:
    (folder / "samples").mkdir(exist_ok=True)
    save_file(tensors, folder / "samples" / f"{kept['sample_key']}.safetensors")


def test_digits_are_pictures_next_to_real_ones(tmp_path: Path) -> None:
    rows = [one for one in sampled_rows() if one["rate"] == "core/masked" and one["sampler"] == "core/euler"]
    for one in rows:
        keep(tmp_path, one, samples=torch.randint(17, (40, 64), dtype=torch.int16))
    pictures = [image for image in page(rows, directory=tmp_path).all("img") if "image/png" in image["src"]]
    assert [image["alt"].partition(": ")[2] for image in pictures] == ["real", "euler, 64 evaluations"]


def test_text_is_text_next_to_real_text(tmp_path: Path) -> None:
    one = row(target="core/text", target_params={"window": 8}, sample_key="ab12")
    keep(tmp_path, one, samples=torch.tensor([[7, 4, 11, 11, 14, 26, 0, 0]], dtype=torch.int16))
    found = page([one], directory=tmp_path)
    assert len(found.all("pre")) == 2
    assert "hello aa" in found.words


def test_small_spaces_show_exact_probabilities_and_shares(tmp_path: Path) -> None:
    law = {"target": "core/tabular", "target_params": {"pmf": [[0.5, 0.125], [0.25, 0.125]]}}
    pushed, drawn = row(**law, sampler="core/ancestral"), row(**law, sampler="core/euler")
    keep(tmp_path, pushed, samples=torch.zeros(1, 2, dtype=torch.int16), pmf=torch.tensor([0.4, 0.1, 0.3, 0.2]))
    keep(tmp_path, drawn, samples=torch.tensor([[0, 0], [0, 0], [0, 0], [1, 0]], dtype=torch.int16))
    words = page([pushed, drawn], directory=tmp_path).words
    assert "0 0 0.500 0.400 ~0.750 1 0 0.250 0.300 ~0.250" in words


@pytest.mark.parametrize("content", [b"", b"no tensors here"])
def test_damaged_samples_cost_only_themselves(tmp_path: Path, content: bytes) -> None:
    one = row(sample_key="ab12")
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "ab12.safetensors").write_bytes(content)
    assert len(page([one], directory=tmp_path).all("img")) == 1


def test_training_losses_are_shown_where_they_were_kept(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    facts = {"ddm_pyro": '{"meta": {"losses": [3.0, 2.5, 2.0]}}'}
    save_file({"w": torch.zeros(1)}, tmp_path / "models" / "cd34.safetensors", facts)
    images = page([row(train_key="cd34")], directory=tmp_path).all("img")
    assert "from 3.00 to 2.00 in 3 steps" in images[-1]["alt"]


def test_the_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = HtmlReport()(Run([row()]), tmp_path / "new")
    before = path.read_text()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        HtmlReport()(Run([]), tmp_path / "new")
    assert path.read_text() == before
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]


def test_state_of_matplotlib_is_left_alone() -> None:
    import sys

    import matplotlib

    before = dict(matplotlib.rcParams)
    page([row()])
    assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:  # another test's import
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def keep_json(folder: Path, kind: str, key: str, content: Any) -> None:
    (folder / kind).mkdir(exist_ok=True)
    (folder / kind / f"{key}.json").write_text(content if isinstance(content, str) else json.dumps(content))


LEVEL = {
    "t": 0.5,
    "n": 1200,
    "error": 0.25,
    "floor": 0.03,
    "bins": [{"n": 1200, "confidence": 0.75, "share": 0.5, "stderr": 0.02}],
}


def test_errors_by_position_and_calibration_are_shown_where_they_were_kept(tmp_path: Path) -> None:
    rows = [row(train_key="cd34", sample_key=f"ab{s}", sampler=f"core/{s}", steps=s, nfe=s) for s in (1, 2, 3)]
    keep_json(tmp_path, "positions", "ab1", {"tv": [0.125, 0.5, 0.25], "floor": [0.0625, 0.0625, 0.0625], "n": 40})
    keep_json(tmp_path, "positions", "ab2", {"tv": [1e-17, 0.0, 1e-16], "floor": None, "n": None})
    keep_json(tmp_path, "calibration", "cd34", {"levels": [LEVEL, {**LEVEL, "t": 0.9, "error": 0.125}]})
    found = page(rows, directory=tmp_path)
    alts = [image["alt"] for image in found.all("img")]
    (bars,) = [alt for alt in alts if "position" in alt]
    assert "for 1: between 0.125 and 0.500, the largest at position 2 of 3" in bars
    (curve,) = [alt for alt in alts if "right tokens" in alt]
    assert "at t = 0.5 off by 0.250" in curve
    assert "0.9 0.125 0.0300 1200" in found.words
    assert "Calibration" not in page(rows).words


@pytest.mark.parametrize("content", ["", "[]", "{", {"tv": ["x"]}, {"tv": []}, {"levels": 3}, {"levels": [{"t": 1}]}])
def test_damaged_diagnostics_cost_only_themselves(tmp_path: Path, content: Any) -> None:
    for kind, key in (("positions", "ab12"), ("calibration", "cd34")):
        keep_json(tmp_path, kind, key, content)
    assert len(page([row(sample_key="ab12", train_key="cd34")], directory=tmp_path).all("img")) == 1


def test_the_page_ends_with_what_to_cite() -> None:
    rows = [
        row(sampler="core/euler+core/gibbs-corrector", loss="core/nelbo", network={"kind": "transformer"}),
        row(sampler="core/uniformization", status="skipped", value=None),
        row(metric="lost/metric", bounds=[{"id": "lost/bound", "value": 0.5}, {"id": "core/row", "value": None}]),
    ]
    words = page(rows).words.partition("What to cite for this run")[2]
    assert "Geman and Geman 1984" in words
    assert "sampler core/euler" in words
    assert "Peebles and Xie 2022" in words
    assert "lost/metric, which is not installed here (metric lost/metric)" in words
    assert "bound lost/bound" in words
    # Nothing was measured with these.
    assert "Chen and Ying" not in words
    assert "core/row" not in words
    assert "What to cite" not in page([row(status="skipped", value=None)]).words
