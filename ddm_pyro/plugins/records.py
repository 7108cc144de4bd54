"""What is known about each plugin, whether or not it works."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from ddm_pyro.plugins.errors import stop
from ddm_pyro.plugins.specs import Spec

#: ``active``: its components can be used. ``disabled``: switched off, never imported. ``error``: it raised.
#: ``incompatible``: made for another version of the door. ``conflict``: claims what another plugin claims.
Status = Literal["active", "disabled", "error", "incompatible", "conflict"]
STATUSES: tuple[str, ...] = get_args(Status)


@dataclass(frozen=True)
class PluginRecord:
    """One plugin: where it comes from, its status with the reason, and what it provides.

    ``provides`` holds (kind, id) pairs; for a plugin that is not active they are what it claimed, if known.
    ``heavy`` names large libraries that its registration imported, which it should leave to its factories.

    Example:
        >>> PluginRecord("ring", "ring", "active", dist="ddm-pyro-ring", dist_version="1.0").provider
        'ddm-pyro-ring 1.0'
    """

    name: str
    namespace: str
    status: Status
    reason: str = ""
    dist: str | None = None
    dist_version: str | None = None
    entry_point: str | None = None
    requirement: str | None = None
    hooks: tuple[str, ...] = ()
    provides: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    heavy: tuple[str, ...] = ()
    traceback: str = field(default="", repr=False)

    @property
    def provider(self) -> str:
        """Distribution and version, or the name of what has no distribution."""
        if self.dist is None:
            return f"{self.name} (registered in this process)"
        return f"{self.dist} {self.dist_version}"

    @property
    def sentence(self) -> str:
        """One line about a plugin that cannot be used."""
        return stop(f"Plugin '{self.name}' of {self.provider} is {STATUS_WORDS[self.status]}: {self.reason}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values only, ready for JSON."""
        row = {f.name: getattr(self, f.name) for f in fields(self)}
        provides: dict[str, list[str]] = {}
        for kind, id in self.provides:
            provides.setdefault(kind, []).append(id)
        return {**row, "hooks": list(self.hooks), "heavy": list(self.heavy), "provides": provides}


STATUS_WORDS = {
    "active": "active",
    "disabled": "disabled",
    "error": "broken",
    "incompatible": "incompatible",
    "conflict": "in conflict",
}


@dataclass(frozen=True)
class Component:
    """A registered spec with its id and its provider.

    Example:
        >>> from ddm_pyro.plugins import RateSpec
        >>> spec = RateSpec("ring", factory="ddm_pyro_ring.rates:Ring", version=2)
        >>> plugin = PluginRecord("ring", "ring", "active", dist="ddm-pyro-ring", dist_version="1.0")
        >>> Component(spec, plugin).provenance()["id"], Component(spec, plugin).kind
        ('ring/ring', 'rates')
    """

    spec: Spec
    plugin: PluginRecord

    @property
    def kind(self) -> str:
        """Plural name of the kind."""
        return self.spec.kind

    @property
    def id(self) -> str:
        """``namespace/name``."""
        return f"{self.plugin.namespace}/{self.spec.name}"

    @property
    def ids(self) -> tuple[str, ...]:
        """The id, then the ids by alias."""
        return tuple(f"{self.plugin.namespace}/{name}" for name in (self.spec.name, *self.spec.aliases))

    def provenance(self) -> dict[str, Any]:
        """Id, component version, distribution, its version and entry point; nothing is imported."""
        return {
            "id": self.id,
            "version": self.spec.version,
            "dist": self.plugin.dist,
            "dist_version": self.plugin.dist_version,
            "entry_point": self.plugin.entry_point,
        }
