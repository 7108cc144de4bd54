"""All plugins of a process: the built-ins, the installed ones, and what the process itself registers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

from ddm_pyro.plugins import discovery
from ddm_pyro.plugins.api import BUILTINS, LOCAL
from ddm_pyro.plugins.discovery import Candidate
from ddm_pyro.plugins.errors import PluginError, stop
from ddm_pyro.plugins.installed import collisions, load_core, load_installed
from ddm_pyro.plugins.kinds import singular
from ddm_pyro.plugins.loader import Loaded, Refused, admit, provided
from ddm_pyro.plugins.options import LoadOptions
from ddm_pyro.plugins.records import Component, PluginRecord
from ddm_pyro.plugins.specs import NAME, Spec

_log = logging.getLogger(__name__)


class Manager:
    """Loads plugins once, at first use, and keeps a record of each.

    ``generation`` grows whenever what is registered changes. ``builtins`` names modules registered as the core;
    ``candidates`` replaces the installed entry points, ``core_version`` the installed core's version (for tests).
    A plugin that is refused is reported by one line of the ``ddm_pyro.plugins`` logger.

    Raises (at first use):
        PluginError: the core's own modules fail, or any plugin does under ``LoadOptions(strict=True)``.

    Example:
        >>> from ddm_pyro.plugins import RateSpec
        >>> manager = Manager(LoadOptions(only=frozenset()), builtins=())
        >>> manager.add(RateSpec("ring", factory="fractions:Fraction")).provides
        (('rates', 'local/ring'),)
        >>> [component.id for component in manager.components], manager.generation
        (['local/ring'], 2)
    """

    def __init__(
        self,
        options: LoadOptions | None = None,
        *,
        builtins: Sequence[str] = BUILTINS,
        candidates: Sequence[Candidate] | None = None,
        core_version: str | None = None,
    ) -> None:
        self.options = LoadOptions.from_environment() if options is None else options
        self._builtins = tuple(builtins)
        self._candidates = candidates
        self._core_version = core_version
        self._lock = threading.RLock()
        self._state = "new"
        self._generation = 0
        self._installed: list[Loaded] = []
        self._local: dict[str, Loaded] = {}
        self._unmatched: tuple[str, ...] = ()

    @property
    def generation(self) -> int:
        """Counts the changes of what is registered, the first load included."""
        self._load()
        return self._generation

    @property
    def records(self) -> tuple[PluginRecord, ...]:
        """Every plugin: the core, then installed ones by name, then this process's own."""
        return tuple(loaded.record for loaded in self._plugins())

    @property
    def components(self) -> tuple[Component, ...]:
        """Everything the active plugins registered."""
        return tuple(Component(spec, loaded.record) for loaded in self._plugins() for spec in loaded.specs)

    @property
    def unmatched(self) -> tuple[str, ...]:
        """Names in the switches that no installed plugin has."""
        self._load()
        return self._unmatched

    @property
    def arguments(self) -> dict[str, Any]:
        """Keywords of an equal manager in another process (which knows nothing that this process registered itself)."""
        return {
            "options": self.options,
            "builtins": self._builtins,
            "candidates": self._candidates,
            "core_version": self._core_version,
        }

    def register(self, plugin: object, name: str, *, replace: bool = False) -> PluginRecord:
        """Register a module or object with hooks for this process only; its ids start with ``local/``.

        Raises:
            PluginError: the plugin is refused (nothing of it stays), or the name is taken and ``replace`` is False.
            TypeError: a class was given where an instance is meant.
        """
        if isinstance(plugin, type):
            raise TypeError(f"Register an instance, {plugin.__name__}(), not the class {plugin.__name__}.")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise PluginError(f"Plugin name {name!r} must be lower-case letters and digits joined by hyphens.")
        self._load()
        try:
            hooks, specs = admit(plugin, name, LOCAL)
            return self._keep(name, hooks, specs, replace)
        except Refused as refusal:
            raise PluginError(f"Plugin '{name}' was not registered: {stop(refusal.reason)}") from refusal.__cause__

    def add(self, spec: Spec, *, replace: bool = False) -> PluginRecord:
        """Register one spec for this process only, as ``local/name``, under the plugin name ``kind-name``.

        A class defined in a notebook has the factory ``"__main__:ClassName"``.

        Raises:
            PluginError: the id is taken and ``replace`` is False.
            TypeError: not a spec.
        """
        if not isinstance(spec, Spec):
            raise TypeError(f"add() takes a spec such as RateSpec(...), but was given {spec!r}.")
        try:
            return self._keep(f"{singular(spec.kind)}-{spec.name}", (), (spec,), replace)
        except Refused as refusal:
            raise PluginError(f"'{LOCAL}/{spec.name}' was not registered: {stop(refusal.reason)}") from None

    def unregister(self, name: str) -> None:
        """Remove what ``register`` or ``add`` registered under this plugin name.

        Raises:
            PluginError: no plugin of this process has the name.
        """
        with self._lock:
            self._load()
            if name not in self._local:
                raise PluginError(f"This process has registered no plugin {name!r}.")
            del self._local[name]
            self._generation += 1

    def _plugins(self) -> list[Loaded]:
        with self._lock:
            self._load()
            return [*self._installed, *self._local.values()]

    def _load(self) -> None:
        with self._lock:
            if self._state == "loaded":
                return
            if self._state == "loading":
                raise PluginError(
                    "Components were asked for while plugins are being loaded; a plugin registers lazy factories "
                    "and builds nothing itself."
                )
            self._state = "loading"
            try:
                self._read()
            except BaseException:
                self._state = "new"
                raise
            self._state = "loaded"
            self._generation += 1

    def _read(self) -> None:
        version = self._core_version or discovery.core_version()
        candidates = discovery.discover() if self._candidates is None else tuple(self._candidates)
        core = load_core(self._builtins, version)
        plugins = load_installed(candidates, self.options, version, self._builtins)
        for loaded in plugins:
            if loaded.record.status not in ("active", "disabled"):
                _log.warning("%s The other plugins are not affected.", loaded.record.sentence)
        self._installed = core + plugins
        self._unmatched = self.options.unmatched({name for one in candidates for name in one.names})

    def _keep(self, name: str, hooks: tuple[str, ...], specs: tuple[Spec, ...], replace: bool) -> PluginRecord:
        with self._lock:
            self._load()
            if name in self._local and not replace:
                raise Refused("conflict", f"this process has already registered '{name}'; pass replace=True")
            record = PluginRecord(name, LOCAL, "active", hooks=hooks, provides=provided(LOCAL, specs))
            local = {**self._local, name: Loaded(record, specs)}
            for _, sentence in collisions(list(local.values())):
                raise Refused("conflict", sentence)
            self._local = local
            self._generation += 1
            return record
