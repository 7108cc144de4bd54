"""A section of the documentation, made from an experiment's rows and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ddm_pyro.reproduce.base import Experiment, Row
from ddm_pyro.reproduce.checks import Check

#: Where the figures lie, seen from the page.
FIGURES = "figures/reproduce"


def fragment(one: Experiment, rows: Sequence[Row], checks: Sequence[Check]) -> str:
    """Heading, claim, figure, verdicts and a table, in Markdown."""
    verdict = "pass" if checks and all(check.passed for check in checks) else "FAIL"
    parts = [
        f"## {one.title} {{ #{one.name} }}",
        f"`ddm-pyro reproduce {one.name}`: **{verdict}**",
        f"*Claim* ({one.source}): {one.claim}",
        f"*Computed*: {one.setup}",
        f"![{one.title}]({FIGURES}/{one.name}.svg)",
        table([_verdict(check) for check in checks]),
    ]
    shown = one.table(rows)
    if shown:
        parts.append(table(shown))
    parts.append(f"All numbers: [{one.name}.csv]({FIGURES}/{one.name}.csv).")
    return "\n\n".join(parts) + "\n"


def summary(verdicts: Sequence[tuple[Experiment, Sequence[Check]]]) -> str:
    """One line an experiment: what it is about, whose claim it is, and how many checks pass."""
    rows = [
        {
            "experiment": f"[`{one.name}`](#{one.name})",
            "result": one.title,
            "claim of": one.source,
            "checks passed": f"{sum(check.passed for check in checks)} of {len(checks)}",
        }
        for one, checks in verdicts
    ]
    return table(rows) + "\n"


def table(rows: Sequence[Row]) -> str:
    """A Markdown table.

    Example:
        >>> print(table([{"T": 8, "kl": 0.33837742, "bound": None}]))
        | T | kl | bound |
        |---|---|---|
        | 8 | 0.338377 |  |
    """
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([cell(row[name]) for name in names] for row in rows)]
    return "\n".join("|" + "|".join(_pad(one) for one in line) + "|" for line in lines)


def cell(value: Any) -> str:
    """A value as it is shown: six digits of a number.

    Example:
        >>> cell(0.033837742), cell(12), cell(None), cell(float("inf"))
        ('0.0338377', '12', '', '∞')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return "∞" if math.isinf(value) else f"{value:.6g}"
    return str(value).replace("|", "\\|")


def _verdict(check: Check) -> Row:
    passed = "pass" if check.passed else "**FAIL**"
    return {
        "what": check.statement,
        "measured": f"{check.value:.4g}",
        "required": check.required,
        "": passed,
        "whose": check.source,
    }


def _pad(word: str) -> str:
    return word if word == "---" else f" {word} "
