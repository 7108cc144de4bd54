"""Everything a plan names is looked up before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from ddm_pyro.evaluation.arguments import check_buildable, check_types, refusal
from ddm_pyro.evaluation.errors import PlanError
from ddm_pyro.evaluation.keys import READS_PATH, namespace
from ddm_pyro.evaluation.parsing import check_keys
from ddm_pyro.evaluation.plan import Experiment, Plan, Ref
from ddm_pyro.plugins import BrokenPluginError, PluginError, Registry, did_you_mean

#: Parameters that the evaluation fills in when the plan does not.
FILLED: Mapping[str, tuple[str, ...]] = {
    "rates": ("vocab_size",),
    "parameterizations": ("network", "process", "target"),
    "losses": ("exact", "target", "process"),
}
#: Arguments of ``fit`` that a plan may set, beyond its own signature's names.
FIT_RESERVED = ("model", "data", "loss", "seed", "checkpoint", "checkpoint_every", "progress", "device")


def check_plan(plan: Plan, registry: Registry) -> None:
    """Refuse a plan that names what does not exist.

    Components of plugins that are broken or switched off pass: they cost their own cells, and the rows say why.

    Raises:
        PlanError: an unknown id, parameter or setting, with the closest known one; a missing parameter; a network,
            loss or step budget that is needed and not given.
    """
    for k, experiment in enumerate(plan.experiments):
        where = f"experiments[{k}]"
        for key, kind, ref in references(experiment):
            check_reference(registry, kind, ref, f"{where}: {key}")
        _check_training(registry, experiment, where)
        if not experiment.steps:
            for sampler in experiment.samplers:
                if not fixes_steps(registry, sampler):
                    raise PlanError(f"{where}: steps is missing, and {sampler[0].id!r} needs it; add steps = [16].")


def references(experiment: Experiment) -> Iterator[tuple[str, str, Ref]]:
    """Every component an experiment names: (key, kind, reference)."""
    lists = {
        "target": ("targets", experiment.targets),
        "rate": ("rates", experiment.rates),
        "schedule": ("schedules", experiment.schedules),
        "parameterization": ("parameterizations", experiment.parameterizations),
        "loss": ("losses", experiment.losses),
        "samplers": ("samplers", tuple(ref for one in experiment.samplers for ref in one)),
        "metrics": ("metrics", experiment.metrics),
        "bounds": ("bounds", experiment.bounds),
    }
    for key, (kind, refs) in lists.items():
        for ref in refs:
            yield key, kind, ref


def check_reference(registry: Registry, kind: str, ref: Ref, where: str) -> None:
    """Refuse an id or a parameter that nobody has, a file that cannot be read, and what can never be built."""
    try:
        component = registry.component(kind, ref.id)
        filled = {name: None for name in FILLED.get(kind, ()) if name in parameter_names(registry, kind, ref)}
        registry.validate(kind, ref.id, {**filled, **ref.params})
        check_types(registry, kind, component.id, ref.params, where)
    except BrokenPluginError:
        return
    except PluginError as error:
        hint = (
            " An evaluation fills in vocab_size and nothing else." if kind == "rates" and "needs" in str(error) else ""
        )
        raise PlanError(f"{where}: {error}{hint}") from None
    alone = namespace(component.id) == "core" and not _is_deferred(registry, kind, ref)
    if alone or READS_PATH in component.spec.capabilities:
        check_buildable(registry, kind, component.id, ref.params, where)


def _is_deferred(registry: Registry, kind: str, ref: Ref) -> bool:
    """Whether a component needs something that only a cell knows."""
    infos = registry.signature(kind, ref.id).infos
    waits = any(one.required and one.name in FILLED.get(kind, ()) and one.name not in ref.params for one in infos)
    return waits or ref.params.get("sizes") == BALANCED or (kind == "losses" and ref.params.get("kind") == EXPLICIT)


def parameter_names(registry: Registry, kind: str, ref: Ref) -> tuple[str, ...]:
    """Names of a factory's parameters; none when it cannot be imported."""
    try:
        return registry.signature(kind, ref.id).names
    except BrokenPluginError:
        return ()


def learns(registry: Registry, ref: Ref) -> bool:
    """Whether a parameterization has a network to train; one made from the target has none."""
    return "target" not in parameter_names(registry, "parameterizations", ref)


def fixes_steps(registry: Registry, sampler: tuple[Ref, ...]) -> bool:
    """Whether a sampler decides itself how many steps it takes, so that budgets do not apply to it."""
    from ddm_pyro.samplers import Sampler

    if sampler[0].params.get("sizes") == BALANCED:
        return False
    try:
        factory = registry.load("samplers", sampler[0].id)
    except BrokenPluginError:
        return False
    return getattr(factory, "num_steps", Sampler.num_steps) is not Sampler.num_steps


#: Value of a loss's ``kind`` that stands for: compared with the exact model, which the evaluation fills in.
EXPLICIT = "explicit"
#: Value of a sampler's ``sizes`` that stands for: the length cut into as many nearly equal blocks as the budget says.
BALANCED = "balanced"


def _check_training(registry: Registry, experiment: Experiment, where: str) -> None:
    trained = [ref for ref in experiment.parameterizations if learns(registry, ref)]
    if not trained:
        return
    if not experiment.losses:
        raise PlanError(f'{where}: {trained[0].id!r} is trained, but there is no loss; add loss = "core/nelbo".')
    if experiment.network is None:
        raise PlanError(
            f'{where}: {trained[0].id!r} needs a network; add network = {{ kind = "transformer", width = 64 }}.'
        )
    check_network(experiment.network, f"{where}: network")
    check_train(experiment.train, f"{where}: train")


def network_class(kind: str) -> Any:
    """The network of a name, or PlanError."""
    from ddm_pyro import networks

    known = {
        "mlp": networks.MLP,
        "transformer": networks.Transformer,
        "hollow-mlp": networks.HollowMLP,
        "hollow-transformer": networks.HollowTransformer,
    }
    if kind not in known:
        raise PlanError(
            f"network.kind = {kind!r} is unknown.{did_you_mean(str(kind), known)} Known: {', '.join(known)}."
        )
    return known[kind]


def check_network(network: Mapping[str, Any], where: str) -> None:
    """Refuse a network that does not exist or has no such parameter."""
    if "kind" not in network:
        raise PlanError(f'{where} has no kind; add kind = "mlp" or kind = "transformer".')
    names = set(inspect.signature(network_class(network["kind"])).parameters) - {"num_symbols", "length", "out"}
    check_keys(network, ("kind", *sorted(names)), where)
    _try_network({**network}, where)


def _try_network(config: dict[str, Any], where: str) -> None:
    """Build the network for a process of one bit: what fails there fails on every target."""
    import torch

    from ddm_pyro import rates, schedules
    from ddm_pyro.processes import ForwardProcess

    kind = config.pop("kind")
    try:
        with torch.random.fork_rng(devices=[]):
            process = ForwardProcess(rates.Masked(2), schedules.Linear(), length=1)
            network_class(kind).for_process(process, **config)
    except Exception as error:
        raise PlanError(f"{where}: {refusal(error, kind, config)}") from None


def check_train(train: Mapping[str, Any], where: str) -> None:
    """Refuse a training setting that ``fit`` does not have or would refuse, or training without steps."""
    from ddm_pyro.training import fit
    from ddm_pyro.training.settings import Settings, check_whole

    names = [name for name in inspect.signature(fit).parameters if name not in FIT_RESERVED]
    check_keys(train, names, where)
    if "steps" not in train:
        raise PlanError(f"{where} has no steps; add train = {{ steps = 500 }}.")
    defaults = {name: one.default for name, one in inspect.signature(fit).parameters.items()}
    settings = {one.name: train.get(one.name, defaults.get(one.name)) for one in fields(Settings) if one.name != "loss"}
    try:
        check_whole("steps", train["steps"], 1)
        Settings(**settings, loss="")
    except (ValueError, TypeError) as error:
        raise PlanError(f"{where}: {refusal(error, 'train', train)}") from None
