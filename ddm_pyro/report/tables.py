"""Values of a group as a table: samplers and budgets down, metrics across, the best told from the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ddm_pyro.report.numbers import show
from ddm_pyro.report.series import Group, Point, lines_of

#: Exact values that agree up to this share are one value.
SAME = 1e-9
#: Values of this size and below count as equal whatever their ratio: rounding of a sum over many states.
ROUNDING = 1e-12
#: Direction of a metric: smaller values are better, larger ones are, or neither.
LESS, MORE, NEITHER = -1, 1, 0


@dataclass(frozen=True)
class Entry:
    """One sampler at one budget, with its point for each metric that was measured there."""

    sampler: str
    steps: float | None
    nfe: float | None
    points: Mapping[str, Point]


@dataclass(frozen=True)
class ValueTable:
    """Entries by sampler and budget; ``best[metric]`` holds the indices of entries that nothing beats for certain."""

    metrics: tuple[str, ...]
    entries: tuple[Entry, ...]
    best: Mapping[str, frozenset[int]]


def value_table(group: Group, directions: Mapping[str, int] | None = None) -> ValueTable:
    """The table of a group; ``directions`` gives LESS (default), MORE or NEITHER for a metric's label.

    Example:
        >>> from ddm_pyro.report.series import groups_of
        >>> rows = [{"sampler": s, "metric": "tv", "value": v, "kind": "exact"} for s, v in [("a", 0.2), ("b", 0.1)]]
        >>> table = value_table(groups_of(rows)[0])
        >>> [entry.sampler for entry in table.entries], table.best["tv"]
        (['a', 'b'], frozenset({1}))
    """
    cells: dict[tuple[str, object], dict[str, Point]] = {}
    for metric in group.metrics:
        for line in lines_of(group, metric):
            for point in line.points:
                budget = point.nfe if point.steps is None else point.steps
                cells.setdefault((line.sampler, budget), {})[metric] = point
    order = {sampler: k for k, sampler in enumerate(group.samplers)}
    entries = []
    for (sampler, _), points in cells.items():
        first = next(iter(points.values()))
        entries.append(Entry(sampler, first.steps, first.nfe, points))
    entries.sort(key=lambda one: (order[one.sampler], math.inf if one.nfe is None else one.nfe, one.steps or 0.0))
    best = {metric: _best(entries, metric, (directions or {}).get(metric, LESS)) for metric in group.metrics}
    return ValueTable(group.metrics, tuple(entries), best)


def describe_point(point: Point) -> str:
    """What a value rests on, for a tooltip.

    Example:
        >>> describe_point(Point(4, 4, 0.2, 0.1, 0.25, False, 0.5, 0.02, 3))
        'between 0.100 and 0.250 · estimated · mean of 3 runs · noise floor 0.0200 · bound 0.500'
    """
    parts = []
    if not point.exact and (point.lcb is not None or point.ucb is not None):
        low = None if point.lcb is None else f"at least {show(point.lcb)}"
        high = None if point.ucb is None else f"at most {show(point.ucb)}"
        parts.append(f"between {show(point.lcb)} and {show(point.ucb)}" if low and high else low or high or "")
    parts.append("exact" if point.exact else "estimated")
    if point.repetitions > 1:
        parts.append(f"mean of {point.repetitions} runs")
    if point.floor is not None:
        parts.append(f"noise floor {show(point.floor)}")
    if point.bound is not None:
        parts.append(f"bound {show(point.bound)}")
    return " · ".join(parts)


def _best(entries: Sequence[Entry], metric: str, direction: int) -> frozenset[int]:
    found = {k: one.points[metric] for k, one in enumerate(entries) if metric in one.points}
    found = {k: point for k, point in found.items() if math.isfinite(point.value)}
    if direction == NEITHER or len(found) < 2:
        return frozenset()
    champion = max(found.values(), key=lambda point: direction * point.value)
    tied = frozenset(k for k, point in found.items() if _overlap(point, champion))
    return tied if len(tied) < len(found) else frozenset()


def _overlap(a: Point, b: Point) -> bool:
    """Whether the two values may be one: their intervals meet, up to rounding."""
    (low_a, high_a), (low_b, high_b) = _interval(a), _interval(b)
    slack = max(ROUNDING, SAME * max(abs(a.value), abs(b.value)))
    return low_a <= high_b + slack and low_b <= high_a + slack


def _interval(point: Point) -> tuple[float, float]:
    # An estimate without limits ties with what equals it only: nothing is known about its error.
    low, high = point.interval or (point.value, point.value)
    return min(low, point.value), max(high, point.value)
