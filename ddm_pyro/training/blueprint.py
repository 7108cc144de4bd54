"""What a checkpoint says about a model, so that ``load`` builds it again from plain values, never from code."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor

from ddm_pyro import networks, parameterizations, random, rates, schedules
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.processes import ForwardProcess, Process

_VIEWS = {
    cls.__name__: cls
    for cls in (
        parameterizations.X0,
        parameterizations.LeaveOneOut,
        parameterizations.Score,
        parameterizations.MaskPredictor,
    )
}
_NETWORKS = {
    cls.__name__: cls for cls in (networks.MLP, networks.Transformer, networks.HollowMLP, networks.HollowTransformer)
}
_SCHEDULES = {
    cls.__name__: cls
    for cls in (schedules.Linear, schedules.LogLinear, schedules.Cosine, schedules.Geometric, schedules.Constant)
}
_SIZED = {cls.__name__: cls for cls in (rates.Uniform, rates.Masked)}
_GIVEN = {cls.__name__: cls for cls in (rates.Dense, rates.RankOne)}

Blueprint = dict[str, Any]


def describe(model: Parameterization) -> tuple[Blueprint, dict[str, Tensor]]:
    """A blueprint in plain JSON values and the tensors it refers to; parts that are not the core's are None."""
    network = getattr(model, "network", None)
    process, tensors = describe_process(model.process)
    built = None
    if isinstance(network, networks.Network) and _is_one_of(network, _NETWORKS):
        built = {"type": type(network).__name__, "config": network.config}
    view = type(model).__name__ if _is_one_of(model, _VIEWS) else None
    return {"parameterization": view, "network": built, "process": process}, tensors


def describe_process(process: Process) -> tuple[Blueprint | None, dict[str, Tensor]]:
    """The part of a blueprint that rebuilds the process; None for one that is not the core's."""
    if type(process) is not ForwardProcess or not _is_one_of(process.schedule, _SCHEDULES):
        return None, {}
    tensors: dict[str, Tensor] = {}
    parts: list[Blueprint] = []
    positions = [0] * process.length
    for number, (rate, where) in enumerate(process.joint.groups):
        if _is_one_of(rate, _SIZED):
            parts.append({"type": type(rate).__name__, "vocab_size": rate.vocab_size})
        elif isinstance(rate, (rates.Dense, rates.RankOne)) and _is_one_of(rate, _GIVEN):
            name = f"rate.{number}"
            tensors[name] = rate.matrix() if isinstance(rate, rates.Dense) else rate.pi()
            parts.append({"type": type(rate).__name__, "tensor": name})
        else:
            return None, {}
        for position in where:
            positions[position] = number
    schedule = {"type": type(process.schedule).__name__, "config": dataclasses.asdict(process.schedule)}  # type: ignore[call-overload]
    return {"rates": parts, "positions": positions, "schedule": schedule}, tensors


def build(blueprint: Blueprint, tensors: dict[str, Tensor]) -> Parameterization:
    """The model of a blueprint, its weights still to be loaded. The global generator is left as found.

    Raises:
        ValueError: a part that is not the core's, or a name or argument that this version does not know.
    """
    foreign = [name for name, part in blueprint.items() if part is None]
    if foreign:
        raise ValueError(
            f"The checkpoint holds a model whose {' and '.join(foreign)} are not the core's: build it and pass model=."
        )
    try:
        process = _build_process(blueprint["process"], tensors)
        with random.indexed(0, range(1)):
            network = _NETWORKS[blueprint["network"]["type"]](**blueprint["network"]["config"])
        return _VIEWS[blueprint["parameterization"]](network, process)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"The checkpoint describes a model that this version of ddm_pyro cannot build ({error!r}); pass model=."
        ) from None


def _build_process(part: Blueprint, tensors: dict[str, Tensor]) -> ForwardProcess:
    schedule = _SCHEDULES[part["schedule"]["type"]](**part["schedule"]["config"])
    kinds = [
        _SIZED[rate["type"]](rate["vocab_size"])
        if rate["type"] in _SIZED
        else _GIVEN[rate["type"]](tensors[rate["tensor"]])
        for rate in part["rates"]
    ]
    positions: list[int] = part["positions"]
    if len(kinds) == 1:
        return ForwardProcess(kinds[0], schedule, len(positions))
    return ForwardProcess([kinds[number] for number in positions], schedule)


def _is_one_of(value: object, known: dict[str, Any]) -> bool:
    # Exactly the core's class: a subclass may compute something else.
    return known.get(type(value).__name__) is type(value)
