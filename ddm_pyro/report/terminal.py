"""The same values for a terminal: one table a group, as many metrics as the width allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ddm_pyro.report.citations import citations_of
from ddm_pyro.report.components import Components
from ddm_pyro.report.numbers import whole
from ddm_pyro.report.problems import counts, problems_of, violations_of
from ddm_pyro.report.run import Run
from ddm_pyro.report.series import groups_of
from ddm_pyro.report.tables import ROUNDING, ValueTable, value_table

#: Reasons of skipped and failed measurements that are spelled out.
REASONS = 6
#: Characters that a value takes at most: "~1.5e-07".
_NUMBER = 8
#: Characters of the columns steps and nfe with the space around the first three columns.
_FIXED = 15


def print_run(run: Run, console: Console, *, report: str | None = None) -> None:
    """Print a table for each group, then what was not measured and where the full report is.

    Example:
        >>> row = {"target": "t", "sampler": "euler", "steps": 4, "metric": "tv", "value": 0.25, "kind": "exact"}
        >>> print_run(Run([row]), Console(width=60, color_system=None))  # doctest: +NORMALIZE_WHITESPACE
        t
        sampler  steps  nfe        tv
        ─────────────────────────────
        euler        4    4     0.250
        <BLANKLINE>
        1 measurement.
    """
    components = Components()
    for group in groups_of(run.rows):
        if group.measured:
            directions = components.directions(group.measured, group.labels)
            console.print(Text(group.title, style="bold"))
            table, uniform, hidden = _table(value_table(group, directions), console.width)
            console.print(table)
            if uniform:
                console.print(Text(f"The same everywhere: {', '.join(uniform)}", style="dim"))
            if hidden:
                console.print(Text(f"Not shown for want of width: {', '.join(hidden)}", style="dim"))
            console.print()
    for line in _summary(run):
        indent = len(line) - len(line.lstrip())
        console.print(Padding(Text(line.lstrip()), (0, 0, 0, 2 * indent)))
    if report is not None:
        console.print(Text(f"Report: {report}"), soft_wrap=True)
        if any(group.measured for group in groups_of(run.rows)):
            console.print(
                Text(f"It names the {len(citations_of(run.rows))} works to cite for what was used.", style="dim")
            )


def _table(values: ValueTable, width: int) -> tuple[Table, list[str], list[str]]:
    """The table, metrics told in words because they say the same everywhere, and those left out."""
    table = Table(box=_BOX, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    longest = max([7, *(len(entry.sampler) for entry in values.entries)])
    sampler_width = min(longest, max(12, width // 3))
    table.add_column("sampler", no_wrap=True, overflow="ellipsis", width=sampler_width)
    table.add_column("steps", justify="right", no_wrap=True)
    table.add_column("nfe", justify="right", no_wrap=True)
    room, uniform = width - sampler_width - _FIXED, {}
    shown, hidden = _fitting(values.metrics, room)
    if hidden:  # columns that tell nothing apart give way first
        uniform = {metric: text for metric in values.metrics if (text := _uniform(values, metric))}
        shown, hidden = _fitting([metric for metric in values.metrics if metric not in uniform], room)
    for metric in shown:
        table.add_column(Text(_broken(metric)), justify="right", min_width=_room(metric))
    previous = None
    for k, entry in enumerate(values.entries):
        cells = [Text(entry.sampler if entry.sampler != previous else "")]
        cells += [Text(whole(entry.steps)), Text(whole(entry.nfe))]
        for metric in shown:
            cells.append(Text(entry.text(metric), style="bold" if k in values.best[metric] else ""))
        table.add_row(*cells)
        previous = entry.sampler
    return table, [f"{metric} {text}" for metric, text in uniform.items()], hidden


def _uniform(values: ValueTable, metric: str) -> str:
    """What all cells of a column say, when there are several and they say the same; rounding errors say 0."""
    points = [entry.points.get(metric) for entry in values.entries]
    if len(points) > 1 and all(one is not None and one.exact and abs(one.value) <= ROUNDING for one in points):
        return "0 up to rounding"
    texts = {entry.text(metric) for entry in values.entries}
    return texts.pop() if len(texts) == 1 and len(values.entries) > 1 else ""


def _fitting(metrics: Sequence[str], room: int) -> tuple[list[str], list[str]]:
    """Metrics that fit in so many columns of text, at least one, and those that do not."""
    shown: list[str] = []
    for metric in metrics:
        room -= _room(metric) + 2
        if room < 0 and shown:
            break
        shown.append(metric)
    return shown, list(metrics[len(shown) :])


def _room(metric: str) -> int:
    return max(_NUMBER, *(len(part) for part in _broken(metric).split("\n")))


def _broken(metric: str) -> str:
    """A long name on several lines, broken after hyphens and before parameters.

    Example:
        >>> _broken("w1-hamming"), _broken("block-tv(size=2)"), _broken("tv")
        ('w1-\\nhamming', 'block-tv\\n(size=2)', 'tv')
    """
    name, bracket, inside = metric.partition("(")
    if len(name) > _NUMBER:
        name = name.replace("-", "-\n")
    return f"{name}\n({inside}" if bracket else name


def _summary(run: Run) -> Iterator[str]:
    if not run.rows:
        yield "No measurement."
        return
    found = counts(run.rows)
    measured = found.pop("ok", 0)
    rest = "".join(f", {count} {_WORDS.get(status, status)}" for status, count in found.items())
    yield f"{measured} measurement{'' if measured == 1 else 's'}{rest}."
    problems = problems_of(run.rows)
    for problem in problems[:REASONS]:
        names = ", ".join(next((names for kind, names in problem.where if kind == "sampler"), ()))
        yield f"  {problem.count} x {problem.status}: {problem.reason}{f' ({names})' if names else ''}"
    if len(problems) > REASONS:
        yield f"  and {len(problems) - REASONS} more reasons in the report."
    for violation in violations_of(run.rows)[:REASONS]:
        yield f"  BOUND VIOLATED: {violation.where}: value {violation.value}, bound {violation.bound}"


_BOX = SIMPLE_HEAD
_WORDS = {"error": "failed", "timeout": "timed out", "skipped": "skipped"}
