"""Short names of components: the id, and the parameters only where two would look the same."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

#: Row keys that name a component, in the order in which a cell is read.
COMPONENTS = ("target", "rate", "schedule", "parameterization", "loss", "sampler", "metric")


def short(id: object) -> str:
    """The id as people write it: ``core/`` is left out.

    Example:
        >>> short("core/euler"), short("ring/walk"), short(None), short("core/euler+core/gibbs-corrector")
        ('euler', 'ring/walk', '-', 'euler + gibbs-corrector')
    """
    return "-" if id in (None, "") else " + ".join(part.removeprefix("core/") for part in str(id).split("+"))


def params(row: Mapping[str, Any], component: str) -> dict[str, Any]:
    """Parameters of a component of this row; empty when the row has none that can be read.

    Example:
        >>> params({"sampler_params": '{"refresh": 2}'}, "sampler")
        {'refresh': 2}
    """
    value = row.get(f"{component}_params")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    if isinstance(value, list | tuple):  # a predictor and its correctors
        several = [one for one in value if isinstance(one, Mapping)]
        return {name: entry for one in several for name, entry in one.items()}
    return dict(value) if isinstance(value, Mapping) else {}


def identity(row: Mapping[str, Any], component: str) -> tuple[str, str]:
    """Id and canonical parameters: two rows use the same component exactly if these agree."""
    return str(row.get(component)), _canonical(row.get(f"{component}_params") or {})


class Labels:
    """Labels of all components of some rows; a parameter is shown if components of one id differ in it.

    Example:
        >>> rows = [{"sampler": "core/first-hitting", "sampler_params": {"refresh": b, "x": 0}} for b in (1, 4)]
        >>> labels = Labels([*rows, {"sampler": "core/euler"}])
        >>> labels(rows[1], "sampler"), labels({"sampler": "core/euler"}, "sampler")
        ('first-hitting(refresh=4)', 'euler')
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        seen: defaultdict[tuple[str, str], dict[str, dict[str, Any]]] = defaultdict(dict)
        for row in rows:
            for component in COMPONENTS:
                id, canonical = identity(row, component)
                seen[component, id].setdefault(canonical, params(row, component))
        self._differing = {
            key: [name for name in _names(variants.values()) if len(_values(variants.values(), name)) > 1]
            for key, variants in seen.items()
        }

    def __call__(self, row: Mapping[str, Any], component: str) -> str:
        """The label of this row's component."""
        given = params(row, component)
        differing = self._differing.get((component, str(row.get(component))), [])
        inside = ", ".join(f"{name}={_brief(given[name])}" for name in differing if name in given)
        return f"{short(row.get(component))}({inside})" if inside else short(row.get(component))


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _names(variants: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for variant in variants for name in variant))


def _values(variants: Iterable[Mapping[str, Any]], name: str) -> set[str]:
    return {_canonical(variant[name]) if name in variant else "" for variant in variants}


def _brief(value: object) -> str:
    text = value if isinstance(value, str) else _canonical(value)
    return text if len(text) <= 24 else f"{text[:21]}..."
