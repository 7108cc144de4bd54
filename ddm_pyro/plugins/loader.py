"""One plugin at a time through the door: whatever it does, it is admitted whole or refused with a reason."""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from pluggy import PluginManager, PluginValidationError

from ddm_pyro.plugins import hookspecs
from ddm_pyro.plugins.api import PROJECT, RESERVED
from ddm_pyro.plugins.compatibility import api_problem, requirement_problem
from ddm_pyro.plugins.discovery import Candidate
from ddm_pyro.plugins.errors import did_you_mean, quote_exception
from ddm_pyro.plugins.kinds import KINDS, hook_of
from ddm_pyro.plugins.records import PluginRecord, Status
from ddm_pyro.plugins.registrar import Registrar
from ddm_pyro.plugins.specs import Spec

#: Libraries that registration should not import; a factory may.
HEAVY: Final = ("torch", "pyro", "numpy", "scipy", "pandas", "matplotlib", "sklearn", "jax", "transformers")
#: What a plugin may raise without ending the program. SystemExit is here: a plugin must not stop its host.
PLUGIN_FAULTS: Final = (Exception, SystemExit)
_HOOKS: Final = {hook_of(kind): kind for kind in KINDS}


class Refused(Exception):
    """The plugin is not admitted; carries the status and the reason."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class Loaded:
    """A plugin's record and the specs it registered."""

    record: PluginRecord
    specs: tuple[Spec, ...] = ()


def load(candidate: Candidate, core_version: str | None) -> Loaded:
    """Check, import and admit one candidate; what it raises ends up in its record."""
    before, start = set(sys.modules), time.perf_counter()
    hooks: tuple[str, ...] = ()
    specs: tuple[Spec, ...] = ()
    status: Status = "active"
    reason = trace = ""
    try:
        hooks, specs = _admit_candidate(candidate, core_version)
    except Refused as refusal:
        status, reason, cause = refusal.status, refusal.reason, refusal.__cause__
        # As text: a live traceback would keep the plugin's frames alive.
        trace = "".join(traceback.format_exception(cause)) if cause is not None else ""
    record = candidate.record(
        status,
        reason,
        hooks=hooks,
        provides=provided(candidate.namespace, specs),
        seconds=time.perf_counter() - start,
        heavy=tuple(name for name in HEAVY if name in sys.modules and name not in before),
        traceback=trace,
    )
    return Loaded(record, specs)


def admit(plugin: object, name: str, namespace: str) -> tuple[tuple[str, ...], tuple[Spec, ...]]:
    """Check a plugin object's hooks and call them; returns their names and the specs they registered.

    Each plugin has a pluggy manager of its own, so a refused one leaves nothing behind, and one that raises
    cannot silence the hooks of another.

    Raises:
        Refused: an unknown hook, a signature that does not fit, a hook that raised or registered nonsense.
    """
    pm = PluginManager(PROJECT)
    pm.add_hookspecs(hookspecs)
    try:
        hooks = _known_hooks(pm, plugin)
        pm.register(plugin, name)
    except PluginValidationError as exc:
        raise Refused("incompatible", f"a hook has the wrong signature: {quote_exception(exc)}") from exc
    except PLUGIN_FAULTS as exc:
        if isinstance(exc, Refused):
            raise
        raise Refused("error", f"{quote_exception(exc)} (while its hooks were looked up)") from exc
    return hooks, tuple(spec for hook in hooks for spec in _call(pm, hook, namespace))


def provided(namespace: str, specs: tuple[Spec, ...]) -> tuple[tuple[str, str], ...]:
    """(kind, id) pairs, sorted, so that no order of calls can show."""
    return tuple(sorted((spec.kind, f"{namespace}/{spec.name}") for spec in specs))


def refuse(loaded: Loaded, status: Status, reason: str) -> Loaded:
    """The same plugin, no longer admitted; its record still says what it claimed."""
    return replace(loaded, record=replace(loaded.record, status=status, reason=reason), specs=())


def _admit_candidate(candidate: Candidate, core_version: str | None) -> tuple[tuple[str, ...], tuple[Spec, ...]]:
    if candidate.problem:
        raise Refused("error", candidate.problem)
    if candidate.namespace in RESERVED or candidate.namespace == PROJECT.replace("_", "-"):
        raise Refused("conflict", f"the namespace '{candidate.namespace}/' is reserved; rename the distribution")
    problem = requirement_problem(candidate.requires, core_version)
    if problem:
        raise Refused("incompatible", problem)
    with _quiet():
        try:
            plugin = candidate.load()
            problem = api_problem(plugin)
        except PLUGIN_FAULTS as exc:
            raise Refused("error", f"{quote_exception(exc)} (while importing {candidate.value})") from exc
        if problem:
            raise Refused("incompatible", problem)
        return admit(plugin, candidate.name, candidate.namespace)


def _known_hooks(pm: PluginManager, plugin: object) -> tuple[str, ...]:
    """Hooks that the plugin implements, in the core's order; pluggy itself is silent about unknown ones."""
    marked = {name: marks for name in dir(plugin) if (marks := pm.parse_hookimpl_opts(plugin, name)) is not None}
    if not marked:
        bare = [name for name in _HOOKS if callable(getattr(plugin, name, None))]
        what = f"{bare[0]} without @hookimpl" if bare else "no hook of ddm_pyro"
        raise Refused("error", f"it defines {what}, so it registers nothing")
    found = set()
    for name, marks in marked.items():
        hook = marks.get("specname") or name
        if marks.get("wrapper") or marks.get("hookwrapper"):
            raise Refused("incompatible", f"{name} is a hook wrapper; no plugin wraps another's registration")
        if hook in _HOOKS:
            found.add(hook)
        elif not marks.get("optionalhook"):
            raise Refused("incompatible", f"unknown hook '{hook}'.{did_you_mean(hook, _HOOKS)}")
    return tuple(hook for hook in _HOOKS if hook in found)


def _call(pm: PluginManager, hook: str, namespace: str) -> list[Spec]:
    registrar = Registrar(_HOOKS[hook], namespace)
    arguments = {"register": registrar}
    for implementation in getattr(pm.hook, hook).get_hookimpls():
        try:
            result = implementation.function(*[arguments[name] for name in implementation.argnames])
        except PLUGIN_FAULTS as exc:
            raise Refused("error", f"{quote_exception(exc)} (raised in {hook})") from exc
        if result is not None:
            raise Refused("error", f"{hook} returned a {type(result).__name__}; call register(...) and return nothing")
    registrar.closed = True
    return registrar.specs


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What a plugin prints while loading goes to stderr: stdout may be read by a program."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
