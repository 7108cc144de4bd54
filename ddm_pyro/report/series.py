"""Rows arranged for looking at: groups that share target and model, and in each one line a sampler."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ddm_pyro.report.labels import COMPONENTS, Labels, identity
from ddm_pyro.report.numbers import finite, number

Row: TypeAlias = Mapping[str, Any]
#: What the rows of a group share, and the settings of its model.
SHARED, SETTINGS = COMPONENTS[:5], ("network", "train")


@dataclass(frozen=True)
class Group:
    """Rows of one target, process and model.

    Attributes:
        parts: (component, label) pairs that name the group; components that the rows leave empty are left out.
        rows: its rows, whatever their status.
        labels: names of components, unambiguous over the whole run.
    """

    parts: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    labels: Labels

    @property
    def title(self) -> str:
        """One line."""
        return " · ".join(label for _, label in self.parts) or "-"

    @property
    def measured(self) -> tuple[Row, ...]:
        """Rows with a value of a metric."""
        return tuple(row for row in self.rows if row.get("status", "ok") == "ok" and number(row, "value") is not None)

    @property
    def unmeasured(self) -> tuple[Row, ...]:
        """The other rows: failed, timed out, skipped."""
        return tuple(row for row in self.rows if row.get("status", "ok") != "ok")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Labels of the metrics measured, in the order of the rows."""
        return tuple(dict.fromkeys(self.labels(row, "metric") for row in self.measured))

    @property
    def samplers(self) -> tuple[str, ...]:
        """Labels of the samplers measured, in the order of the rows."""
        return tuple(dict.fromkeys(self.labels(row, "sampler") for row in self.measured))

    def rows_of(self, metric: str) -> tuple[Row, ...]:
        """Measured rows of one metric, by label."""
        return tuple(row for row in self.measured if self.labels(row, "metric") == metric)


@dataclass(frozen=True)
class Point:
    """All repetitions of one sampler at one budget: mean of the values, hull of the limits.

    Attributes:
        steps: asked for, None when the sampler fixes them.
        nfe: network evaluations a sample; falls back to ``calls``, then to ``steps``.
        value: mean over repetitions; may be NaN or infinite.
        lcb, ucb: smallest lower and largest upper limit, None when there is none.
        exact: whether every value was computed and not estimated.
        bound: largest finite bound of the theory, None without one.
        floor: largest noise floor, None without one.
        repetitions: how many rows it stands for.
        lower_only: whether all that is known is that the truth is at least ``lcb``.
    """

    steps: float | None
    nfe: float | None
    value: float
    lcb: float | None
    ucb: float | None
    exact: bool
    bound: float | None
    floor: float | None
    repetitions: int
    lower_only: bool = False

    @property
    def is_vacuous(self) -> bool:
        """Whether nothing is known that was not known before: a lower limit of zero and no upper one."""
        return self.lower_only and self.value <= 0.0

    @property
    def interval(self) -> tuple[float, float] | None:
        """The limits when both are finite, the value itself when exact, else None."""
        if self.lcb is not None and self.ucb is not None:
            return self.lcb, self.ucb
        return (self.value, self.value) if self.exact and math.isfinite(self.value) else None


@dataclass(frozen=True)
class Line:
    """One sampler's points by increasing budget."""

    sampler: str
    points: tuple[Point, ...]


def groups_of(rows: Sequence[Row]) -> tuple[Group, ...]:
    """Groups in the order in which rows first mention them.

    Example:
        >>> rows = [{"target": "core/digits", "sampler": s, "metric": "core/tv", "value": 0.5} for s in "ab"]
        >>> [(group.title, group.samplers, group.metrics) for group in groups_of(rows)]
        [('digits', ('a', 'b'), ('tv',))]
    """
    labels = Labels(rows)
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        settings = (_settings(row, key) for key in SETTINGS)
        found.setdefault((*(identity(row, component) for component in SHARED), *settings), []).append(row)
    return tuple(Group(_parts(members[0], labels, rows), tuple(members), labels) for members in found.values())


def lines_of(group: Group, metric: str) -> tuple[Line, ...]:
    """One line a sampler for a metric of a group, in the group's order of samplers.

    Example:
        >>> row = {"sampler": "s", "metric": "m", "kind": "exact"}
        >>> group = groups_of([{**row, "nfe": n, "value": 1 / n} for n in (4, 2)])[0]
        >>> [(line.sampler, [point.nfe for point in line.points]) for line in lines_of(group, "m")]
        [('s', [2.0, 4.0])]
    """
    rows = group.rows_of(metric)
    lines = []
    for sampler in group.samplers:
        mine = [row for row in rows if group.labels(row, "sampler") == sampler]
        if mine:
            lines.append(Line(sampler, tuple(sorted(points_of(mine), key=_budget))))
    return tuple(lines)


def evaluations(row: Row) -> float | None:
    """Network evaluations a sample; network calls or steps where a row does not say.

    Example:
        >>> evaluations({"nfe": None, "steps": 8})
        8.0
    """
    return next((found for key in ("nfe", "calls", "steps") if (found := finite(row, key)) is not None), None)


def points_of(rows: Iterable[Row]) -> Iterator[Point]:
    """One point a budget of measured rows that share all else."""
    # Repetitions share the steps; the measured nfe of samplers with random budgets may differ a little among them.
    cells: dict[object, list[Row]] = {}
    for row in rows:
        cells.setdefault(str(row["steps"]) if row.get("steps") is not None else evaluations(row), []).append(row)
    for members in cells.values():
        values = [value for row in members if (value := number(row, "value")) is not None]
        spent = [one for row in members if (one := evaluations(row)) is not None]
        upper = max(_all(members, "ucb"), default=None)
        yield Point(
            steps=number(members[0], "steps"),
            nfe=sum(spent) / len(spent) if spent else None,
            value=sum(values) / len(values),
            lcb=min(_all(members, "lcb"), default=None),
            ucb=upper,
            exact=all(row.get("kind") == "exact" for row in members),
            bound=max(_all(members, "bound"), default=None),
            floor=max(_all(members, "floor") or _all(members, "null_mean"), default=None),
            repetitions=len(members),
            lower_only=upper is None and any(row.get("kind") == "lower" for row in members),
        )


def _parts(row: Row, labels: Labels, rows: Sequence[Row]) -> tuple[tuple[str, str], ...]:
    """What names the group of a row; settings of the model only where groups of the same components differ in them."""

    def names(one: Row) -> tuple[tuple[str, str], ...]:
        return tuple((component, labels(one, component)) for component in SHARED if one.get(component))

    named = names(row)
    twins = [one for one in rows if names(one) == named]
    varied = [key for key in SETTINGS if len({_settings(one, key) for one in twins}) > 1 and row.get(key)]
    return (*named, *((key, _settings(row, key)) for key in varied))


def _settings(row: Row, key: str) -> str:
    """Settings in words, such as ``kind=mlp, width=64``."""
    value = row.get(key)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={entry}" for name, entry in sorted(value.items()))
    return str(value or "")


def _all(rows: Iterable[Row], key: str) -> list[float]:
    return [value for row in rows if (value := finite(row, key)) is not None]


def _budget(point: Point) -> tuple[float, float]:
    return (math.inf if point.nfe is None else point.nfe, point.steps or 0.0)
