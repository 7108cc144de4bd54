"""The registry that a process uses unless told otherwise."""

from __future__ import annotations

import threading
from typing import Any

from ddm_pyro.plugins.manager import Manager
from ddm_pyro.plugins.options import LoadOptions
from ddm_pyro.plugins.records import PluginRecord
from ddm_pyro.plugins.registry import Registry

_lock = threading.Lock()
_registry: Registry | None = None


def default_registry() -> Registry:
    """The process-wide registry: the built-ins and every installed plugin that the environment does not switch off.

    It is made once; plugins are read at its first use. A worker process makes its own.
    """
    global _registry
    with _lock:
        if _registry is None:
            _registry = Registry(Manager())
        return _registry


def configure(options: LoadOptions | None = None) -> Registry:
    """Start the process-wide registry anew, under these switches (None: those of the environment).

    Local registrations are forgotten. The command line calls it with ``LoadOptions.build(argv)`` first of all.
    """
    global _registry
    registry = Registry(Manager(options))
    with _lock:
        _registry = registry
    return registry


def create(kind: str, id: str, /, **params: Any) -> Any:
    """Build a component by kind and id with the process-wide registry, as ``Registry.create``.

    ``create("samplers", "core/euler", negative="raise")``
    """
    return default_registry().create(kind, id, **params)


def list_plugins(registry: Registry | None = None) -> tuple[PluginRecord, ...]:
    """Every plugin with status, reason, hooks and ids; ``.as_dict()`` of each is ready for JSON."""
    return (registry or default_registry()).manager.records


def describe(kind: str, id: str, registry: Registry | None = None) -> dict[str, Any]:
    """All that is known about a component, as plain values; ``Registry.info``."""
    return (registry or default_registry()).info(kind, id)


def requirements(registry: Registry | None = None) -> tuple[str, ...]:
    """One line for pip for each installed plugin distribution, whatever its status."""
    lines = {record.requirement for record in list_plugins(registry) if record.requirement}
    return tuple(sorted(lines))
