"""Families by name, with the network a user gave or the default one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import nn

from ddm_pyro.infer.auto.any_order import AnyOrder
from ddm_pyro.infer.auto.beliefs import BeliefNet
from ddm_pyro.infer.auto.families import Family
from ddm_pyro.infer.auto.network import TokenMLP
from ddm_pyro.infer.auto.sums import SumNet
from ddm_pyro.infer.auto.uniform_chain import UniformChain
from ddm_pyro.spaces import StateSpace

FamilyName = Literal["masked", "uniform"]
#: Steps of the uniform family when none are given: twice L within these limits.
LEAST_STEPS, MOST_STEPS = 16, 64
#: Largest number of contrasts H = L (V - 1), and of L H, numbers a particle, with beliefs by default: 512 spins.
MAX_CONTRASTS, MAX_BELIEFS = 1024, 2**18
#: Largest H with a perceptron beside the beliefs, and its width.
MAX_SUM, PERCEPTRON_WIDTH = 64, 64


def check_family(family: str, steps: int | None) -> FamilyName:
    """Return the family's name, or raise ValueError."""
    if family not in get_args(FamilyName):
        raise ValueError(f"family={family!r} must be one of {', '.join(map(repr, get_args(FamilyName)))}.")
    if steps is not None and family == "masked":
        raise ValueError(f"steps={steps!r} belongs to family='uniform'; the masked family takes one step a token.")
    if steps is not None and (isinstance(steps, bool) or int(steps) != steps or steps < 1):
        raise ValueError(f"steps={steps!r} must be a whole number of at least 1.")
    return family  # type: ignore[return-value]


def make_family(
    space: StateSpace,
    network: nn.Module | Callable[[StateSpace], nn.Module] | None,
    family: FamilyName,
    steps: int | None,
    device: torch.device | None = None,
) -> Family:
    """The family on a space. A network that is not an nn.Module is called with the space to make one."""
    if network is None:
        network = default_network(space, family)
    elif not isinstance(network, nn.Module):
        if not callable(network):
            raise TypeError(
                f"network={network!r} must be an nn.Module (x, t) -> (..., L, V) or a function that makes one."
            )
        made = network(space)
        if not isinstance(made, nn.Module):
            raise TypeError(
                f"network={network!r} made {made!r} of the space; it must make an nn.Module (x, t) -> (..., L, V)."
            )
        network = made
    if device is not None and any(parameter.device != device for parameter in network.parameters()):
        network = network.to(device)
    if family == "masked":
        return AnyOrder(space, network)
    return UniformChain(space, network, steps or min(max(2 * space.length, LEAST_STEPS), MOST_STEPS))


def default_network(space: StateSpace, family: FamilyName) -> nn.Module:
    """A ``BeliefNet``, plus a ``TokenMLP`` on small spaces, where couplings of many tokens can be learned.

    A ``TokenMLP`` alone for the uniform family, and where beliefs would take too much memory.
    """
    size = space.length * (space.vocab_size - 1)
    if family == "uniform" or size > MAX_CONTRASTS or space.length * size > MAX_BELIEFS:
        return TokenMLP(space, timed=family == "uniform")
    return SumNet(BeliefNet(space), TokenMLP(space, width=PERCEPTRON_WIDTH)) if size <= MAX_SUM else BeliefNet(space)
