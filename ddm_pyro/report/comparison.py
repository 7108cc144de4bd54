"""Two runs side by side: rows that measure the same thing are paired, whatever else changed between the runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ddm_pyro.report.components import Components
from ddm_pyro.report.labels import COMPONENTS, Labels, identity
from ddm_pyro.report.numbers import number
from ddm_pyro.report.run import Run
from ddm_pyro.report.series import SETTINGS, Point, Row, points_of
from ddm_pyro.report.tables import NEITHER, ROUNDING, SAME, WORDS, limits_text


@dataclass(frozen=True)
class Side:
    """What one run says: a point, or the status of a row without a value."""

    point: Point | None
    status: str

    @property
    def text(self) -> str:
        """The value with its limits, or what happened instead."""
        return WORDS.get(self.status, self.status) if self.point is None else limits_text(self.point)

    @property
    def limits(self) -> tuple[float, float] | None:
        """Between which values the truth lies, as far as is known; None when nothing is."""
        point = self.point
        if point is None or math.isnan(point.value):
            return None
        if point.exact:
            return point.value, point.value
        if point.lcb is None and point.ucb is None:
            return None
        return (-math.inf if point.lcb is None else point.lcb, math.inf if point.ucb is None else point.ucb)


@dataclass(frozen=True)
class Pair:
    """One measurement in both runs.

    Attributes:
        labels: component -> label, over both runs.
        settings: of the model, in words, where one run has several.
        steps: the budget.
        a, b: the two sides.
        direction: LESS, MORE or NEITHER: which values of the metric are better.
    """

    labels: dict[str, str]
    settings: str
    steps: float | None
    a: Side
    b: Side
    direction: int

    @property
    def title(self) -> str:
        """Target and model in one line."""
        parts = [self.labels[part] for part in COMPONENTS[:5] if self.labels[part] != "-"]
        return " · ".join([*parts, self.settings] if self.settings else parts)

    @property
    def difference(self) -> float | None:
        """Value of B minus value of A."""
        if self.a.point is None or self.b.point is None:
            return None
        return self.b.point.value - self.a.point.value

    @property
    def apart(self) -> bool | None:
        """Whether the limits of the two values do not meet; None when either has none."""
        a, b = self.a.limits, self.b.limits
        if a is None or b is None:
            return None
        slack = max(ROUNDING, SAME * max((abs(one) for one in (*a, *b) if math.isfinite(one)), default=0.0))
        return a[1] + slack < b[0] or b[1] + slack < a[0]

    @property
    def verdict(self) -> str:
        """In words: which is better where the limits are apart."""
        if self.a.point is None or self.b.point is None:
            return ""
        if self.apart is None:
            return "not known"
        if not self.apart:
            return "not apart"
        higher, lower = ("B", "A") if (self.difference or 0.0) > 0.0 else ("A", "B")
        if self.direction == NEITHER:
            return f"{higher} higher"
        return f"{lower if self.direction < 0 else higher} better"


@dataclass(frozen=True)
class Comparison:
    """Pairs in the order of the first run, and what only one of the runs has, in words."""

    a: Run
    b: Run
    pairs: tuple[Pair, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    @property
    def verdicts(self) -> dict[str, int]:
        """How often each verdict was reached."""
        found: dict[str, int] = {}
        for pair in self.pairs:
            verdict = pair.verdict or "no value"
            found[verdict] = found.get(verdict, 0) + 1
        return found


def compare(a: Run, b: Run) -> Comparison:
    """Pair the rows of two runs by target, rate, schedule, parameterization, loss, sampler, steps and metric.

    Network and training settings, seeds, numbers of samples and versions may differ: that is what runs are compared
    for. Where one run has several models of the same components, their settings take part as well. What has a value in
    neither run is left out.

    Example:
        >>> row = {"target": "core/digits", "sampler": "core/euler", "steps": 4, "metric": "core/tv", "kind": "exact"}
        >>> a, b = ({**row, "value": 0.25}, {**row, "value": 0.125})
        >>> found = compare(Run([a]), Run([b, {**b, "steps": 8}]))
        >>> [(pair.difference, pair.apart, pair.verdict) for pair in found.pairs], found.only_b
        ([(-0.125, True, 'B better')], ('digits · euler · 8 steps: tv',))
    """
    every = [row for run in (a, b) for row in run.rows if row.get("metric")]
    labels, directions = Labels(every), Components().directions(every, Labels(every))
    varied = _varied(a) | _varied(b)
    left, right = (_keyed(run, varied) for run in (a, b))
    pairs = []
    for key, rows in left.items():
        if key in right and any(side.point for side in (_side(rows), _side(right[key]))):
            named = {part: labels(rows[0], part) for part in COMPONENTS}
            direction = directions.get(named["metric"], NEITHER)
            steps = number(rows[0], "steps")
            pairs.append(Pair(named, key[-1], steps, _side(rows), _side(right[key]), direction))
    only_a, only_b = (_only(mine, other, labels) for mine, other in ((left, right), (right, left)))
    return Comparison(a, b, tuple(pairs), only_a, only_b)


Key = tuple[Any, ...]


def _components(row: Row) -> Key:
    return (*(identity(row, part) for part in COMPONENTS), number(row, "steps"))


def _settings(row: Row) -> str:
    tables = [row[key] for key in SETTINGS if isinstance(row.get(key), dict)]
    return ", ".join(f"{name}={value}" for table in tables for name, value in sorted(table.items()))


def _varied(run: Run) -> set[Key]:
    """Keys for which a run has several models."""
    seen: dict[Key, set[str]] = {}
    for row in run.rows:
        seen.setdefault(_components(row), set()).add(_settings(row))
    return {key for key, settings in seen.items() if len(settings) > 1}


def _keyed(run: Run, varied: set[Key]) -> dict[Key, list[Row]]:
    found: dict[Key, list[Row]] = {}
    for row in run.rows:
        if row.get("metric"):
            key = _components(row)
            found.setdefault((*key, _settings(row) if key in varied else ""), []).append(row)
    return found


def _side(rows: Sequence[Row]) -> Side:
    measured = [row for row in rows if row.get("status", "ok") == "ok" and number(row, "value") is not None]
    if not measured:
        return Side(None, str(rows[0].get("status", "ok")))
    return Side(next(_merged(measured)), "ok")


def _merged(rows: Iterable[Row]) -> Iterator[Point]:
    # Repetitions of one budget, whatever their measured evaluations.
    return points_of([{**row, "steps": row.get("steps") or 0} for row in rows])


def _only(mine: Mapping[Key, list[Row]], other: Mapping[Key, list[Row]], labels: Labels) -> tuple[str, ...]:
    """What the other run has not: one line a sampler and budget, with the metrics."""
    found: dict[str, list[str]] = {}
    for key, rows in mine.items():
        if key not in other:
            parts = [labels(rows[0], part) for part in COMPONENTS[:6] if rows[0].get(part)]
            steps = number(rows[0], "steps")
            budget = [] if steps is None else [f"{steps:g} steps"]
            where = " · ".join([*parts, *budget, *([key[-1]] if key[-1] else [])])
            found.setdefault(where, []).append(labels(rows[0], "metric"))
    return tuple(f"{where}: {', '.join(metrics)}" for where, metrics in found.items())
