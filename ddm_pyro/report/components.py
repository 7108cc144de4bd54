"""What the registry knows about the components that rows name; whatever fails here costs a remark, not the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ddm_pyro.plugins import default_registry
from ddm_pyro.report.labels import Labels, identity, params
from ddm_pyro.report.numbers import show
from ddm_pyro.report.series import Row
from ddm_pyro.report.tables import LESS, MORE, NEITHER


@dataclass(frozen=True)
class MetricNote:
    """A metric in one line: what it measures, its constant, and where it is from."""

    label: str
    summary: str
    constants: tuple[tuple[str, str], ...]
    reference: str
    provider: str


class Components:
    """Targets and metrics of some rows, built once, None where they cannot be built here."""

    def __init__(self) -> None:
        self._targets: dict[tuple[str, str], Any] = {}

    def target(self, row: Row) -> Any | None:
        """The target of a row."""
        key = identity(row, "target")
        if key not in self._targets:
            self._targets[key] = _built("targets", row, "target")
        return self._targets[key]

    def directions(self, rows: Sequence[Row], labels: Labels) -> dict[str, int]:
        """How to rank by each metric, by label."""
        found = {}
        for row in _one_each(rows, "metric"):
            try:
                upwards = getattr(default_registry().load("metrics", str(row["metric"])), "higher_is_better", False)
            except Exception:
                upwards = False
            found[labels(row, "metric")] = NEITHER if upwards is None else MORE if upwards else LESS
        return found

    def notes(self, rows: Sequence[Row]) -> tuple[MetricNote, ...]:
        """One note a metric, with C_F = half the diameter on each target's space where that is known."""
        labels = Labels(rows)
        notes = []
        for row in _one_each(rows, "metric"):
            info = _info("metrics", str(row["metric"]))
            summary = str(info.get("summary") or "no description: this metric is not installed here")
            provider = f"{info['dist']} {info['dist_version']}" if info.get("dist") else ""
            constants = self._constants(
                row, [one for one in rows if identity(one, "metric") == identity(row, "metric")]
            )
            label = labels(row, "metric")
            notes.append(MetricNote(label, summary, constants, str(info.get("reference") or ""), provider))
        return tuple(notes)

    def _constants(self, metric_row: Row, rows: Sequence[Row]) -> tuple[tuple[str, str], ...]:
        metric = _built("metrics", metric_row, "metric")
        if metric is None or not hasattr(metric, "constant"):
            return ()
        labels, found = Labels(rows), []
        for row in _one_each(rows, "target"):
            target = self.target(row)
            try:
                constant = float(metric.constant(target.space)) if target is not None else math.nan
            except Exception:
                continue
            if not math.isnan(constant):
                found.append((labels(row, "target"), show(constant)))
        return tuple(found)


def _one_each(rows: Sequence[Row], component: str) -> tuple[Row, ...]:
    return tuple({identity(row, component): row for row in reversed(rows) if row.get(component)}.values())[::-1]


def _built(kind: str, row: Row, component: str) -> Any | None:
    # A plugin's factory may raise anything; a report on its rows must still be written.
    try:
        return default_registry().create(kind, str(row.get(component)), **params(row, component))
    except Exception:
        return None


def _info(kind: str, id: str) -> dict[str, Any]:
    try:
        component = default_registry().component(kind, id)
    except Exception:
        return {}
    return {**component.provenance(), "summary": component.spec.summary, "reference": component.spec.reference}
