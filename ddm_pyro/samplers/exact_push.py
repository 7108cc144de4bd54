"""The exact law after a step, from the law of the step at every state."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.distributions import JumpLaw, LazyLaw, SequenceLaw
from ddm_pyro.spaces import StateSpace

#: Table entries worked on at once; bounds the memory of a push to about this many doubles.
CHUNK_ENTRIES = 2**23


def push_step(step: Callable[[Tensor], TorchDistribution], pmf: Tensor, space: StateSpace) -> Tensor:
    """sum_x pmf[x] P(. | x) over the states of positive probability, flat (num_states,) float64."""
    total = space.require_enumerable("push")
    support = pmf.nonzero().squeeze(-1)
    out = torch.zeros(total, dtype=torch.float64, device=pmf.device)
    for index in support.split(max(1, CHUNK_ENTRIES // total)):
        law = step(space.unindex(index))
        law = law.law if isinstance(law, LazyLaw) else law
        weights = pmf[index]
        if isinstance(law, (SequenceLaw, JumpLaw)):
            out += push_product(weights, law.table().expand(len(index), -1, -1), space)
        elif hasattr(law, "push"):
            out += law.push(weights, space)
        else:
            out += _push_density(weights, law, space)
    return out


def _push_density(weights: Tensor, law: TorchDistribution, space: StateSpace) -> Tensor:
    states = space.enumerate(weights.device).unsqueeze(1).expand(-1, len(weights), -1)
    return law.log_prob(states).exp().to(torch.float64) @ weights


def push_product(weights: Tensor, table: Tensor, space: StateSpace) -> Tensor:
    """sum_b weights[b] prod_l table[b, l, .]: outer products inside two halves of the sites, then one product.

    ``weights`` (B,), ``table`` (B, L, A) with symbols as in padded arrays -> flat (num_states,).
    """
    columns = [[*range(size), *([space.mask] if space.mask is not None else [])] for size in space.position_sizes]
    factors = [table[:, position, symbols] for position, symbols in enumerate(columns)]
    middle = _balanced(space.radices)
    left, right = _outer(factors[:middle], weights), _outer(factors[middle:], torch.ones_like(weights))
    return (left.T @ right).reshape(-1)


def _outer(factors: list[Tensor], weights: Tensor) -> Tensor:
    out = weights.unsqueeze(-1)
    for factor in factors:
        out = (out.unsqueeze(-1) * factor.unsqueeze(-2)).flatten(1)
    return out


def _balanced(radices: tuple[int, ...]) -> int:
    half = math.prod(radices) ** 0.5
    return min(range(len(radices) + 1), key=lambda k: abs(math.prod(radices[:k]) - half))
