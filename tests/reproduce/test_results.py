"""The page shows what the files hold, and the files hold what is computed today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ddm_pyro.reproduce import Outcome, Work, names, reproduce
from ddm_pyro.reproduce.pages import fragment, summary
from ddm_pyro.reproduce.plots import svg

DOCS = Path(__file__).parents[2] / "docs"
STORED = DOCS / "figures" / "reproduce"
#: Experiments whose quick form takes longest.
SLOW = {"samplers-side-by-side", "score-stability", "trained-networks"}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", names())
def test_page_and_verdicts_are_those_of_the_stored_rows(name: str) -> None:
    stored = Outcome.read(STORED, name)
    assert not stored.quick
    assert stored.passed
    assert f'--8<-- "docs/figures/reproduce/{name}.md"' in (DOCS / "reproduce.md").read_text()
    assert (STORED / f"{name}.md").read_text() == fragment(stored.experiment, stored.rows, stored.checks)
    facts = json.loads((STORED / f"{name}.json").read_text())
    assert facts["passed"] is True
    assert [c["value"] for c in facts["checks"]] == pytest.approx([c.value for c in stored.checks], rel=1e-12)


@pytest.mark.parametrize("name", names())
def test_the_picture_is_drawn_from_the_stored_rows(name: str) -> None:
    stored = Outcome.read(STORED, name)
    drawn = svg(stored.experiment.draw(stored.rows))
    assert drawn.count(b"<path") == (STORED / f"{name}.svg").read_bytes().count(b"<path")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in names()])
def test_the_quick_form_passes_and_agrees_with_the_stored_rows(name: str) -> None:
    quick, stored = reproduce(name, work=Work(quick=True)), Outcome.read(STORED, name)
    assert quick.passed, [check for check in quick.checks if not check.passed]
    if not quick.experiment.repeats:
        return
    keys = quick.experiment.keys
    found = {tuple(row.get(key) for key in keys): row for row in stored.rows}
    compared = 0
    for row in quick.rows:
        if row.get("stderr") is not None:
            continue
        twin = found[tuple(row.get(key) for key in keys)]
        for column, value in row.items():
            if isinstance(value, float):
                assert value == pytest.approx(twin[column], rel=1e-6, abs=1e-10), (row, column)
                compared += 1
    assert compared > 0


def test_the_summary_is_that_of_the_stored_rows() -> None:
    stored = [Outcome.read(STORED, name) for name in names()]
    assert (STORED / "summary.md").read_text() == summary([(one.experiment, one.checks) for one in stored])
    assert all(f"(#{name})" in (STORED / "summary.md").read_text() for name in names())
