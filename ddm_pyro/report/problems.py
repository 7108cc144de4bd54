"""What was not measured and why, gathered so that one cause is one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ddm_pyro.report.labels import Labels
from ddm_pyro.report.numbers import show
from ddm_pyro.report.series import Row

#: Statuses from the gravest on; an unknown status comes first of all.
STATUSES = ("error", "timeout", "skipped", "ok", "note")


@dataclass(frozen=True)
class Problem:
    """One status and reason with all the rows it cost.

    Attributes:
        status: error, timeout, skipped or note.
        stage: where it happened, empty when the rows do not say.
        reason: in words.
        count: rows.
        where: component kind -> labels, for the kinds that tell these rows from the others.
    """

    status: str
    stage: str
    reason: str
    count: int
    where: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Violation:
    """A row whose measured value lies above a bound that should hold."""

    where: str
    value: object
    lcb: object
    bound: object
    hypotheses: str


def counts(rows: Iterable[Row]) -> dict[str, int]:
    """Rows by status, gravest first.

    Example:
        >>> counts([{"status": "ok"}, {"status": "error"}, {"status": "ok"}])
        {'error': 1, 'ok': 2}
    """
    found = Counter(str(row.get("status", "ok")) for row in rows)
    return dict(sorted(found.items(), key=lambda item: _rank(item[0])))


def problems_of(rows: Sequence[Row]) -> tuple[Problem, ...]:
    """Rows without a measurement, grouped by status, stage and reason; gravest first, then the most frequent.

    Rows that have a value and a remark all the same come last, under the status ``note``.

    Example:
        >>> rows = [{"status": "skipped", "reason": "too large", "sampler": s} for s in ("core/a", "core/b")]
        >>> [(one.reason, one.count, one.where) for one in problems_of(rows)]
        [('too large', 2, (('sampler', ('a', 'b')),))]
    """
    labels = Labels(rows)
    grouped: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        status = "note" if row.get("status", "ok") == "ok" else str(row.get("status"))
        if status != "note" or row.get("reason"):
            key = status, str(row.get("stage") or ""), str(row.get("reason") or "no reason given")
            grouped.setdefault(key, []).append(row)
    found = [Problem(*key, len(members), _where(members, labels)) for key, members in grouped.items()]
    return tuple(sorted(found, key=lambda one: (_rank(one.status), -one.count)))


def violations_of(rows: Sequence[Row]) -> tuple[Violation, ...]:
    """Rows with ``holds == False`` and nothing assumed: the theorem, its hypotheses' check or the measurement is wrong.

    Where a hypothesis was only assumed, a value above the bound refutes that assumption and nothing else.

    Example:
        >>> [one.where for one in violations_of([{"sampler": "core/euler", "metric": "core/tv", "holds": False}])]
        ['euler · tv']
    """
    labels = Labels(rows)
    kinds = ("target", "rate", "schedule", "parameterization", "loss", "sampler", "metric")
    return tuple(
        Violation(
            " · ".join(labels(row, kind) for kind in kinds if row.get(kind)),
            row.get("value"),
            row.get("lcb"),
            row.get("bound"),
            words(row.get("hypotheses")),
        )
        for row in rows
        if row.get("holds") is False and not _is_assumed(row.get("hypotheses"))
    )


def _is_assumed(hypotheses: object) -> bool:
    return "assumed" in (hypotheses.values() if isinstance(hypotheses, Mapping) else (hypotheses,))


def words(value: object) -> str:
    """A row's free-form entry as one line of text.

    Example:
        >>> words({"b": 1.0, "a": "verified"}), words(["x", "y"]), words(None)
        ('b: 1.00, a: verified', 'x, y', '')
    """
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {words(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(words(entry) for entry in value)
    if isinstance(value, float):
        return show(value)
    return str(value)


def _where(rows: Sequence[Row], labels: Labels) -> tuple[tuple[str, tuple[str, ...]], ...]:
    kinds = ("target", "rate", "parameterization", "sampler", "metric")
    named = ((kind, tuple(dict.fromkeys(labels(row, kind) for row in rows if row.get(kind)))) for kind in kinds)
    return tuple((kind, names) for kind, names in named if names)


def _rank(status: str) -> int:
    return STATUSES.index(status) if status in STATUSES else -1
