"""What stands at the top of a report: plan, date, versions, seed, and plugins that could not be used."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ddm_pyro.report.numbers import duration, finite
from ddm_pyro.report.run import Run

_FACTS = (
    ("plan", ("name", "plan")),
    ("date", ("date", "started")),
    ("seed", ("seed",)),
    ("ddm_pyro", ("ddm-pyro", "ddm_pyro")),
    ("python", ("python",)),
    ("torch", ("torch",)),
    ("pyro", ("pyro", "pyro-ppl")),
    ("platform", ("platform",)),
)


def facts(run: Run) -> list[tuple[str, str]]:
    """Label and value pairs; what the run did not write down is left out.

    Example:
        >>> facts(Run([{"seed": 3}], {"name": "demo", "seconds": 61, "environment": {"versions": {"torch": "2.13.0"}}}))
        [('plan', 'demo'), ('seed', '3'), ('torch', '2.13.0'), ('took', '1 min 1 s')]
    """
    known = _flat(run.meta)
    seeds = sorted({str(row["seed"]) for row in run.rows if row.get("seed") is not None})
    if seeds:
        known.setdefault("seed", ", ".join(seeds) if len(seeds) < 6 else f"{len(seeds)} seeds")
    found = []
    for label, keys in _FACTS:
        value = next((known[key] for key in keys if isinstance(known.get(key), str | int | float)), None)
        if value is not None:
            found.append((label, _date(str(value)) if label == "date" else str(value)))
    spent = finite(run.meta, "seconds")
    if spent is not None:
        found.append(("took", duration(spent)))
    missing = set(map(str, run.meta.get("row_keys") or ())) - {str(row.get("row_key")) for row in run.rows}
    if missing:
        found.append(("unfinished", f"{len(missing)} rows are missing; run the plan again to go on"))
    return found


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of nested tables on one level; an outer entry wins."""
    found: dict[str, Any] = {}
    for value in table.values():
        if isinstance(value, Mapping):
            found = {**_flat(value), **found}
    return {**found, **{key: value for key, value in table.items() if not isinstance(value, Mapping)}}


def _date(text: str) -> str:
    """A time stamp for people.

    Example:
        >>> _date("2026-11-22T03:59:23Z"), _date("yesterday")
        ('2026-11-22 03:59 UTC', 'yesterday')
    """
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{stamp:%Y-%m-%d %H:%M}{' UTC' if stamp.utcoffset() == timedelta(0) else ''}"


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
