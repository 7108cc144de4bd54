"""Content hashes of what a result depends on, and who provides each component."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddm_pyro.evaluation.errors import PlanError
from ddm_pyro.evaluation.plan import Ref
from ddm_pyro.plugins import BrokenPluginError, Registry
from ddm_pyro.random import derive_seed

#: Raised when rows change their meaning; old rows are then recomputed.
SCHEMA_VERSION = 1
#: Hex digits of sha256 that make a key.
KEY_DIGITS = 32
#: Capability of components whose results depend on what the file named by their parameter ``path`` holds.
READS_PATH = "reads-path"


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
        content: hash of the file that the component reads (capability "reads-path"), or empty.
    """

    kind: str
    id: str
    params: Mapping[str, Any]
    version: int | None = None
    dist: str | None = None
    problem: str = ""
    disabled: bool = False
    content: str = ""

    @classmethod
    def of(cls, registry: Registry, kind: str, ref: Ref) -> Identity:
        """Look a component up without importing it; PlanError when the file it reads is not there."""
        try:
            component = registry.component(kind, ref.id)
        except BrokenPluginError as error:
            return cls(kind, ref.id, ref.params, problem=str(error), disabled=is_disabled(registry, ref.id))
        dist = component.plugin.provider if component.plugin.dist else None
        content = content_of(ref.params.get("path")) if READS_PATH in component.spec.capabilities else ""
        return cls(kind, component.id, ref.params, component.spec.version, dist, content=content)

    @property
    def axes(self) -> list[Any]:
        """What seeds depend on: which component, not which version of it."""
        return [self.id, dict(self.params)]

    @property
    def inputs(self) -> list[Any]:
        """What results depend on."""
        return [self.id, dict(self.params), self.version, *([self.content] if self.content else [])]


def content_of(path: Any) -> str:
    """Hash of a file's bytes; empty when no file is named.

    Raises:
        PlanError: it cannot be read.
    """
    if not isinstance(path, str | os.PathLike):
        return ""
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:KEY_DIGITS]
    except OSError as error:
        raise PlanError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from None


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
