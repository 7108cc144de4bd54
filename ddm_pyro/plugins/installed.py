"""All installed plugins together: what is switched off, what clashes, what is left."""

from __future__ import annotations

import importlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from ddm_pyro.plugins.api import CORE, DISTRIBUTION
from ddm_pyro.plugins.discovery import Candidate
from ddm_pyro.plugins.errors import PluginError, listed, quote_exception, stop
from ddm_pyro.plugins.kinds import singular
from ddm_pyro.plugins.loader import PLUGIN_FAULTS, Loaded, Refused, admit, load, provided, refuse
from ddm_pyro.plugins.options import LoadOptions, normalize
from ddm_pyro.plugins.records import PluginRecord


def load_core(modules: Sequence[str], version: str | None) -> list[Loaded]:
    """Register the built-ins through the same hooks as everyone else, under ``core/``.

    Raises:
        PluginError: a built-in module fails; a core that does not load is no core.
    """
    core = []
    for module in modules:
        try:
            hooks, specs = admit(importlib.import_module(module), CORE, CORE)
        except PLUGIN_FAULTS as exc:
            raise PluginError(f"The core's own components in {module} cannot be registered: {stop(_say(exc))}") from exc
        record = PluginRecord(
            CORE,
            CORE,
            "active",
            dist=DISTRIBUTION,
            dist_version=version or "unknown",
            hooks=hooks,
            provides=provided(CORE, specs),
        )
        core.append(Loaded(record, specs))
    for _, sentence in collisions(core):
        raise PluginError(f"The core's own components clash: {sentence}.")
    return core


def load_installed(
    candidates: Sequence[Candidate], options: LoadOptions, version: str | None, core: Sequence[str] = ()
) -> list[Loaded]:
    """Load candidates in the order given; ``core`` names modules that no plugin can pass off as its own.

    Clashes refuse everyone who takes part, never all but the first: which one comes first depends on names and
    paths that nobody chose for the purpose.

    Raises:
        PluginError: a plugin is refused and ``options.strict`` is set.
    """
    wanted = [one for one in candidates if not options.refusal(one.names)]
    plugins = []
    for candidate in candidates:
        reason = options.refusal(candidate.names)
        clash = "" if reason else _twice(candidate, wanted, core)
        if reason:
            plugins.append(Loaded(candidate.record("disabled", reason)))
        elif clash:
            plugins.append(Loaded(candidate.record("conflict", clash)))
        else:
            plugins.append(load(candidate, version))
        _insist(plugins[-1], options)
    reasons: defaultdict[int, list[str]] = defaultdict(list)
    for members, sentence in collisions(plugins):
        for member in members:
            reasons[member].append(sentence)
    for index, sentences in reasons.items():
        plugins[index] = refuse(plugins[index], "conflict", "; ".join(sentences))
        _insist(plugins[index], options)
    return plugins


def collisions(plugins: Sequence[Loaded]) -> Iterator[tuple[list[int], str]]:
    """Indices of the plugins that claim one id, with a sentence that names them, for each such id."""
    claims: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for index, loaded in enumerate(plugins):
        for spec in loaded.specs:
            for name in (spec.name, *spec.aliases):
                claims[spec.kind, f"{loaded.record.namespace}/{name}"].append(index)
    for (kind, id), members in sorted(claims.items()):
        if len(members) > 1:
            providers = [_origin(plugins[member].record) for member in members]
            yield members, f"the {singular(kind)} '{id}' is registered by {' and by '.join(providers)}"


def _twice(candidate: Candidate, wanted: Sequence[Candidate], core: Sequence[str]) -> str:
    if candidate.problem:
        return ""
    if candidate.value in core:
        return f"{candidate.value} is a module of the core"
    same = [one for one in wanted if one.value == candidate.value and one.dist != candidate.dist and not one.problem]
    if same:
        return f"the module {candidate.value} is also the plugin of {listed(one.provider for one in same)}"
    named = Counter((normalize(one.dist), one.name) for one in wanted)
    if named[normalize(candidate.dist), candidate.name] > 1:
        return f"{candidate.provider} has the entry point '{candidate.name}' more than once"
    return ""


def _origin(record: PluginRecord) -> str:
    return f"{record.provider} ({record.entry_point})" if record.entry_point else record.provider


def _insist(loaded: Loaded, options: LoadOptions) -> None:
    if options.strict and loaded.record.status not in ("active", "disabled"):
        raise PluginError(loaded.record.sentence)


def _say(exc: BaseException) -> str:
    return exc.reason if isinstance(exc, Refused) else quote_exception(exc)
