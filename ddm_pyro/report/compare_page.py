"""A comparison as one HTML page, as tables for a terminal, and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ddm_pyro.report.comparison import Comparison, Pair, Side
from ddm_pyro.report.header import facts
from ddm_pyro.report.html import template
from ddm_pyro.report.numbers import show, whole
from ddm_pyro.report.run import Run

#: Rows of only one run that a terminal shows.
SHOWN = 10


def comparison_html(comparison: Comparison) -> str:
    """The page as text; nothing is loaded from elsewhere, and whatever a row says is text."""
    sides = (("A", comparison.a), ("B", comparison.b))
    return template("compare.html.j2").render(
        a=comparison.a.name,
        b=comparison.b.name,
        runs=[(letter, place(run), facts(run)) for letter, run in sides],
        counts=comparison.verdicts,
        groups=grouped(comparison.pairs),
        only=(("A", comparison.only_a), ("B", comparison.only_b)),
    )


def print_comparison(comparison: Comparison, console: Console, *, report: str | None = None) -> None:
    """Print one table for each target and model, then what only one run has."""
    for letter, run in (("A", comparison.a), ("B", comparison.b)):
        console.print(Text.assemble((letter, "bold"), f"  {run.name}  {place(run)}"), soft_wrap=True)
    console.print()
    for title, pairs in grouped(comparison.pairs):
        console.print(Text(title, style="bold"))
        console.print(_table(pairs))
        console.print()
    for letter, lines in (("A", comparison.only_a), ("B", comparison.only_b)):
        if lines:
            console.print(Text(f"Only in {letter}:"))
            for line in (*lines[:SHOWN], *([f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else [])):
                console.print(Text(f"  {line}"))
    told = ", ".join(f"{count} {verdict}" for verdict, count in comparison.verdicts.items())
    console.print(Text(f"{len(comparison.pairs)} measurements in both runs{': ' if told else ''}{told}."))
    if report is not None:
        console.print(Text(f"Report: {report}"), soft_wrap=True)


def comparison_values(comparison: Comparison) -> dict[str, Any]:
    """All of it as plain values, ready for JSON."""
    return {
        **{
            letter: {"name": run.name, "directory": place(run)}
            for letter, run in (("a", comparison.a), ("b", comparison.b))
        },
        "pairs": [
            {
                **pair.labels,
                "settings": pair.settings,
                "steps": pair.steps,
                "a": _values(pair.a),
                "b": _values(pair.b),
                "difference": pair.difference,
                "apart": pair.apart,
                "verdict": pair.verdict,
            }
            for pair in comparison.pairs
        ],
        "verdicts": comparison.verdicts,
        "only_a": list(comparison.only_a),
        "only_b": list(comparison.only_b),
    }


def grouped(pairs: Sequence[Pair]) -> list[tuple[str, list[Pair]]]:
    """Pairs by target and model, in order."""
    found: dict[str, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair.title, []).append(pair)
    return list(found.items())


def place(run: Run) -> str:
    """Where a run lies."""
    return "" if run.directory is None else str(run.directory)


def _values(side: Side) -> dict[str, Any]:
    point = side.point
    if point is None:
        return {"status": side.status, "value": None, "lcb": None, "ucb": None, "exact": None, "repetitions": 0}
    known = {key: getattr(point, key) for key in ("value", "lcb", "ucb", "exact", "repetitions")}
    return {"status": side.status, **known}


def _table(pairs: Sequence[Pair]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for name, justify in (("sampler", "left"), ("steps", "right"), ("metric", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name in ("A", "B", "B - A"):
        table.add_column(name, justify="right")
    table.add_column("limits")
    previous = None
    for pair in pairs:
        place = (pair.labels["sampler"], pair.steps)
        named = (place[0], whole(pair.steps)) if place != previous else ("", "")
        style = "bold" if pair.apart else ""
        table.add_row(
            *(Text(one) for one in (*named, pair.labels["metric"], pair.a.text, pair.b.text, show(pair.difference))),
            Text(pair.verdict, style=style),
        )
        previous = place
    return table
