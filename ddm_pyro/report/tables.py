"""Values of a group as a table: samplers and budgets down, metrics across, the best told from the rest."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ddm_pyro.report.numbers import number, show
from ddm_pyro.report.series import Group, Point, lines_of

#: Exact values that agree up to this share are one value.
SAME = 1e-9
#: Values of this size and below count as equal whatever their ratio: rounding of a sum over many states.
ROUNDING = 1e-12
#: What a table says of a cell without a value.
WORDS: Mapping[str, str] = {"error": "failed", "timeout": "timed out"}
#: Direction of a metric: smaller values are better, larger ones are, or neither.
LESS, MORE, NEITHER = -1, 1, 0


@dataclass(frozen=True)
class Entry:
    """One sampler at one budget, with its point for each metric measured there, and for others what happened."""

    sampler: str
    steps: float | None
    nfe: float | None
    points: Mapping[str, Point]
    statuses: Mapping[str, str] = field(default_factory=dict)

    def text(self, metric: str) -> str:
        """What the cell says: a value, ``~`` before an estimate and ``≥`` before a lower limit, or a status."""
        point = self.points.get(metric)
        return value_text(point) if point is not None else WORDS.get(status := self.statuses.get(metric, ""), status)


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
    statuses = _statuses(group, cells.keys())
    entries = []
    for place in dict.fromkeys([*cells, *statuses]):
        points = cells.get(place, {})
        first = next(iter(points.values()), None)
        steps, nfe = (place[1], None) if first is None else (first.steps, first.nfe)
        entries.append(Entry(place[0], steps, nfe, points, statuses.get(place, {})))  # type: ignore[arg-type]
    order = {
        sampler: k for k, sampler in enumerate(dict.fromkeys([*group.samplers, *(one.sampler for one in entries)]))
    }
    entries.sort(key=lambda one: (order[one.sampler], math.inf if one.nfe is None else one.nfe, one.steps or 0.0))
    failed = (metric for found in statuses.values() for metric, status in found.items() if status != "skipped")
    metrics = tuple(dict.fromkeys([*group.metrics, *failed]))
    best = {metric: _best(entries, metric, (directions or {}).get(metric, LESS)) for metric in metrics}
    return ValueTable(metrics, tuple(entries), best)


def value_text(point: Point) -> str:
    """A value as tables print it.

    Example:
        >>> exact = Point(4, 4, 0.2, 0.2, 0.2, True, None, None, 1)
        >>> drawn = Point(4, 4, 0.2, 0.1, 0.3, False, None, None, 1)
        >>> value_text(exact), value_text(drawn), value_text(Point(4, 4, 0.0, 0.0, None, False, None, None, 1, True))
        ('0.200', '~0.200', '≥0')
    """
    if point.lower_only:
        return f"≥{show(point.value if point.lcb is None else point.lcb)}"
    return f"{'' if point.exact else '~'}{show(point.value)}"


def limits_text(point: Point) -> str:
    """A value with its limits, when it is an estimate that has some.

    Example:
        >>> limits_text(Point(4, 4, 0.2, 0.1, 0.3, False, None, None, 1))
        '~0.200 [0.10, 0.30]'
    """
    if point.exact or point.lower_only or (point.lcb is None and point.ucb is None):
        return value_text(point)
    low = "-∞" if point.lcb is None else show(point.lcb, 2)
    high = "∞" if point.ucb is None else show(point.ucb, 2)
    return f"{value_text(point)} [{low}, {high}]"


def _statuses(group: Group, measured: Collection[tuple[str, object]]) -> dict[tuple[str, object], dict[str, str]]:
    """Sampler and budget -> metric -> why there is no value.

    Where a combination does not exist at all, it is not in the table: the list of what was skipped has it.
    """
    found: dict[tuple[str, object], dict[str, str]] = {}
    for row in group.unmeasured:
        if not row.get("metric"):
            continue
        status, place = str(row["status"]), (group.labels(row, "sampler"), number(row, "steps"))
        if status != "skipped" or place in measured:
            found.setdefault(place, {})[group.labels(row, "metric")] = status
    return found


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
    parts.append("no upper limit" if point.lower_only else "exact" if point.exact else "estimated")
    if point.repetitions > 1:
        parts.append(f"mean of {point.repetitions} runs")
    if point.floor is not None:
        parts.append(f"noise floor {show(point.floor)}")
    if point.bound is not None:
        parts.append(f"bound {show(point.bound)}")
    return " · ".join(parts)


def _best(entries: Sequence[Entry], metric: str, direction: int) -> frozenset[int]:
    found = {k: one.points[metric] for k, one in enumerate(entries) if metric in one.points}
    # A lower limit by itself beats nothing.
    found = {k: point for k, point in found.items() if math.isfinite(point.value) and not point.lower_only}
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
