"""Content hashes of what a result depends on, and who provides each component."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ddm_pyro.evaluation.plan import Ref
from ddm_pyro.plugins import BrokenPluginError, Registry
from ddm_pyro.random import derive_seed

#: Raised when rows change their meaning; old rows are then recomputed.
SCHEMA_VERSION = 1
#: Hex digits of sha256 that make a key.
KEY_DIGITS = 32


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal data, equal text.

    Example:
        >>> canonical({"b": 1, "a": [2.5, None]})
        '{"a":[2.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(*parts: Any) -> str:
    """A key of plain data.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}), len(digest(0))
        (True, 32)
    """
    return hashlib.sha256(canonical([SCHEMA_VERSION, *parts]).encode()).hexdigest()[:KEY_DIGITS]


def seed_of(seed: int, stage: str, repetition: int, *axes: Any) -> int:
    """A seed for one stage, from the plan's seed and the axes that matter, written canonically."""
    return derive_seed(seed, stage, repetition, canonical(axes))


@dataclass(frozen=True)
class Identity:
    """A component as rows and keys know it; ``problem`` says why it cannot be used.

    Attributes:
        kind: plural.
        id: resolved, ``namespace/name``.
        params: as given.
        version: of the component; None when its plugin is broken.
        dist: distribution and version.
        problem: sentence of the broken plugin, or empty.
        disabled: whether the plugin was switched off rather than broken.
    """

    kind: str
    id: str
    params: Mapping[str, Any]
    version: int | None = None
    dist: str | None = None
    problem: str = ""
    disabled: bool = False

    @classmethod
    def of(cls, registry: Registry, kind: str, ref: Ref) -> Identity:
        """Look a component up without importing it."""
        try:
            component = registry.component(kind, ref.id)
        except BrokenPluginError as error:
            return cls(kind, ref.id, ref.params, problem=str(error), disabled=is_disabled(registry, ref.id))
        dist = component.plugin.provider if component.plugin.dist else None
        return cls(kind, component.id, ref.params, component.spec.version, dist)

    @property
    def axes(self) -> list[Any]:
        """What seeds depend on: which component, not which version of it."""
        return [self.id, dict(self.params)]

    @property
    def inputs(self) -> list[Any]:
        """What results depend on."""
        return [self.id, dict(self.params), self.version]


def is_disabled(registry: Registry, id: str) -> bool:
    """Whether the id's namespace belongs to a plugin that was switched off."""
    namespace = id.rpartition("/")[0]
    return any(one.status == "disabled" and one.namespace == namespace for one in registry.manager.records)


def namespace(id: str) -> str:
    """The part before the slash.

    Example:
        >>> namespace("core/euler")
        'core'
    """
    return id.rpartition("/")[0]


def is_core(identity: Identity) -> bool:
    """Whether a component is the core's own."""
    return namespace(identity.id) == "core"
