"""Components made from identities, with what they need from each other filled in."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

from ddm_pyro.evaluation.cells import Cell, Line
from ddm_pyro.evaluation.errors import NotApplicable
from ddm_pyro.evaluation.keys import Identity
from ddm_pyro.evaluation.validation import BALANCED, EXPLICIT, network_class
from ddm_pyro.processes import ForwardProcess
from ddm_pyro.random import derive_seed
from ddm_pyro.rates import KroneckerSum, RateMatrix
from ddm_pyro.schedules import NoiseSchedule

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.plugins import Registry
    from ddm_pyro.processes import Process


def make(registry: Registry, identity: Identity, **filled: Any) -> Any:
    """Build one component; a parameter of the plan wins over one that is filled in."""
    names = registry.signature(identity.kind, identity.id).names
    known = {name: value for name, value in filled.items() if name in names}
    return registry.create(identity.kind, identity.id, **{**known, **identity.params})


def make_target(registry: Registry, identity: Identity) -> Any:
    """A target; what its file had to be warned of was told when the plan was checked."""
    from ddm_pyro.targets import ReadingWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReadingWarning)
        return make(registry, identity)


def make_process(registry: Registry, line: Line, target: Any) -> Process:
    """The forward process on the target's space: one rate for all positions, or one for each alphabet size."""
    space = target.space
    schedule = made(make(registry, line.schedule), NoiseSchedule, line.schedule)
    if space.is_countable:
        return ForwardProcess(_rate(registry, line.rate), schedule, space.length)
    rates = {size: _rate(registry, line.rate, vocab_size=size) for size in dict.fromkeys(space.position_sizes)}
    if len(rates) == 1:
        return ForwardProcess(next(iter(rates.values())), schedule, space.length)
    return ForwardProcess([rates[size] for size in space.position_sizes], schedule)


def _rate(registry: Registry, identity: Identity, **filled: Any) -> Any:
    return made(make(registry, identity, **filled), RateMatrix | KroneckerSum, identity)


def made(value: Any, kind: Any, identity: Identity) -> Any:
    """What a factory returned, or a TypeError that says what it should have."""
    if not isinstance(value, kind):
        wanted = "RateMatrix, such as Dense(matrix)" if identity.kind == "rates" else kind.__name__
        raise TypeError(f"The factory of {identity.id!r} returned {type(value).__name__}; it must return a {wanted}.")
    return value


def make_model(registry: Registry, line: Line, target: Any, process: Process) -> Parameterization:
    """The parameterization: exact ones from the target, others with a fresh network (weights by the line's seed)."""
    if not line.is_trained:
        if line.parameterization.id == "core/exact":
            model: Parameterization = target.denoiser(process)
            return model
        exact: Parameterization = make(registry, line.parameterization, target=target, process=process)
        return exact
    config = dict(line.network)
    kind = config.pop("kind")
    factory = registry.load("parameterizations", line.parameterization.id)
    primary = getattr(factory, "primary", "x0")
    # A head that is no table over symbols (a countable alphabet has none) builds the network it reads.
    own = getattr(factory, "network_for", None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(line.train_seed, "weights"))
        if own is not None:
            network = own(process, kind=kind, **config)
        else:
            network = network_class(kind).for_process(process, head=primary, **config)
        trained: Parameterization = make(registry, line.parameterization, network=network, process=process)
    return trained


def make_loss(registry: Registry, loss: Identity, target: Any, process: Process) -> Any:
    """The training loss; one that compares with the exact model (``kind = "explicit"``) gets it."""
    filled = {"exact": target.denoiser(process)} if loss.params.get("kind") == EXPLICIT else {}
    return make(registry, loss, **filled)


def make_samplers(registry: Registry, cell: Cell, process: Process) -> list[Any]:
    """The predictor and its correctors; ``sizes = "balanced"`` becomes the budget's blocks."""
    samplers = []
    for identity in cell.sampler:
        filled = dict(identity.params)
        if filled.get("sizes") == BALANCED:
            filled["sizes"] = balanced(process.space.length, cell.steps or 1)
        samplers.append(registry.create("samplers", identity.id, **filled))
    return samplers


def balanced(length: int, blocks: int) -> tuple[int, ...]:
    """``length`` cut into blocks whose sizes differ by at most one, larger ones first.

    Raises:
        NotApplicable: more blocks than positions.

    Example:
        >>> balanced(8, 3)
        (3, 3, 2)
    """
    if blocks > length:
        raise NotApplicable(f"{length} positions cannot be cut into {blocks} blocks; a block reveals at least one.")
    return tuple(length // blocks + (k < length % blocks) for k in range(blocks))
