"""The citation page says of each component of the core what its spec says.

``python tests/docs/test_citing.py`` writes the page's tables anew from the specs.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ddm_pyro.plugins import KINDS, LoadOptions, Manager, Registry
from ddm_pyro.report.citations import NETWORKS, TRAINING, works

PAGE = Path(__file__).parents[2] / "docs" / "citing.md"
CORE = Registry(Manager(LoadOptions(only=frozenset())))
SPECS = [(kind, id, CORE.get(kind, id)) for kind in KINDS if kind != "commands" for id in CORE.ids(kind)]


def tables() -> str:
    """The page's tables, from the specs."""
    lines = []
    for kind in KINDS:
        found = [(id, spec) for one, id, spec in SPECS if one == kind]
        if found:
            lines += [f"### {kind.capitalize()}", "", "| component | to cite |", "|---|---|"]
            lines += [f"| `{id}` | {'; '.join(works(spec.reference))} |" for id, spec in found]
            lines += [""]
    lines += ["### Networks and training", "", "| | to cite |", "|---|---|"]
    lines += [f"| `{kind}` | {reference} |" for kind, reference in NETWORKS.items()]
    lines += [f"| AdamW, of `fit` | {TRAINING} |", ""]
    return "\n".join(lines)


def rewritten() -> str:
    """The page with these tables."""
    return f"{PAGE.read_text().partition('### Rates')[0]}{tables()}"


def test_the_page_has_what_the_specs_say() -> None:
    assert PAGE.read_text() == rewritten(), "Components have changed: run python tests/docs/test_citing.py."


@pytest.mark.parametrize(("kind", "id", "spec"), SPECS, ids=[f"{kind}-{id}" for kind, id, _ in SPECS])
def test_every_component_says_where_it_is_from(kind, id, spec) -> None:
    assert spec.reference
    for work in works(spec.reference):
        # arXiv's numbers are year and month, and four or five digits; they are written in one way.
        for number in re.findall(r"(?i)arxiv\W*(\S*)", work):
            assert re.fullmatch(r"\d{2}(0[1-9]|1[0-2])\.\d{4,5}", number), work
            assert f", arXiv:{number}" in work


def test_a_work_is_written_in_one_way() -> None:
    seen: dict[str, str] = {}
    for _, _, spec in SPECS:
        for work in works(spec.reference):
            number = work.partition("arXiv:")[2] or work
            assert seen.setdefault(number, work) == work


def test_years_agree_with_arxiv() -> None:
    found = [work for _, _, spec in SPECS for work in works(spec.reference) if "arXiv:" in work]
    assert len(found) > 20
    for work in found:
        assert re.search(r"(20\d\d), arXiv:(\d\d)", work)[1] == "20" + re.search(r"arXiv:(\d\d)", work)[1], work


if __name__ == "__main__":
    PAGE.write_text(rewritten())
