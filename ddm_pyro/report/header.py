"""What stands at the top of a report: plan, date, versions, seed, and plugins that could not be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ddm_pyro.report.numbers import duration, finite
from ddm_pyro.report.run import Run

_FACTS = (
    ("plan", ("name", "plan")),
    ("date", ("date", "started", "started_at", "created")),
    ("seed", ("seed",)),
    ("ddm_pyro", ("ddm_pyro", "version", "core_version")),
    ("python", ("python",)),
    ("torch", ("torch",)),
    ("pyro", ("pyro", "pyro-ppl")),
    ("platform", ("platform",)),
)


def facts(run: Run) -> list[tuple[str, str]]:
    """Label and value pairs; what the run did not write down is left out.

    Example:
        >>> facts(Run([{"seed": 3, "seconds": 61}], {"name": "demo", "versions": {"torch": "2.13.0"}}))
        [('plan', 'demo'), ('seed', '3'), ('torch', '2.13.0'), ('computing time', '1 min 1 s')]
    """
    known: dict[str, Any] = dict(run.meta)
    for value in run.meta.values():
        if isinstance(value, Mapping):
            known = {**value, **known}
    seeds = sorted({str(row["seed"]) for row in run.rows if row.get("seed") is not None})
    if seeds:
        known.setdefault("seed", ", ".join(seeds) if len(seeds) < 6 else f"{len(seeds)} seeds")
    found = []
    for label, keys in _FACTS:
        value = next((known[key] for key in keys if isinstance(known.get(key), str | int | float)), None)
        if value is not None:
            found.append((label, str(value)))
    spent = [seconds for row in run.rows if (seconds := finite(row, "seconds")) is not None]
    if spent:
        found.append(("computing time", duration(sum(spent))))
    return found


def plugin_problems(run: Run) -> list[tuple[str, str, str]]:
    """(provider, status, reason) of plugins that the run could not use; disabled ones are told too.

    The run's own account counts; without one, that of this process.
    """
    records = run.meta.get("plugins")
    if not isinstance(records, list):
        from ddm_pyro.plugins import list_plugins

        records = [record.as_dict() for record in list_plugins()]
    found = []
    for record in records:
        if isinstance(record, Mapping) and record.get("status", "active") != "active":
            provider = " ".join(str(record[key]) for key in ("dist", "dist_version") if record.get(key))
            named = provider or str(record.get("name", "?"))
            found.append((named, str(record["status"]), str(record.get("reason") or "")))
    return found
