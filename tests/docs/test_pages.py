"""Every program of the documentation runs, and prints what its page says."""

from __future__ import annotations

from pathlib import Path

import pages
import pytest
import torch

ROOT = Path(__file__).parents[2]
#: Pages whose code needs an installation of its own, and the tests that give it one.
ELSEWHERE = {"docs/plugins.md": "tests/plugins/test_example.py"}
#: Pages that train.
SLOW = {
    f"docs/tutorials/{name}.md"
    for name in ("discrete-latents", "first-report", "how-good-is-my-sampler", "missing-values")
}
PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if pages.fences(page)]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in NAMES if name not in ELSEWHERE],
)
def test_page_runs(name, tmp_path, monkeypatch, one_thread) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    shown = len(pages.EXPECTED.findall((ROOT / name).read_text()))
    assert pages.run(ROOT / name, tmp_path) > 0 or shown == 0


@pytest.mark.parametrize(("page", "test"), ELSEWHERE.items())
def test_pages_tested_elsewhere_are(page, test) -> None:
    assert Path(page).name in (ROOT / test).read_text()


def test_an_output_that_differs_is_found(tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 2\nx + 2  # -> 4\n\nprint(x)\n# -> 2\n```\n")
    assert pages.run(page, tmp_path) == 2
    page.write_text("```python\nx = 2\nx + 2  # -> 5\n```\n")
    with pytest.raises(AssertionError, match=r"page.md:3 promises\n5\nbut gives\n4"):
        pages.run(page, tmp_path)


def test_files_are_written_and_skipped_blocks_are_not_run(tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_text('```toml title="a.toml"\nx = 1\n```\n\n<!-- not run: no network -->\n```python\n1 / 0\n```\n')
    assert pages.run(page, tmp_path) == 0
    assert (tmp_path / "a.toml").read_text() == "x = 1\n"
