"""What a sampler's step does to functions: (K v)(x) = E[v(X_s) | X_t = x] at every state, without the step matrix."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.bounds.decomposition.reference import mask_counts
from ddm_pyro.distributions import JumpLaw, LazyLaw, SequenceLaw
from ddm_pyro.samplers.reveal import RevealSubset, log_binomial
from ddm_pyro.spaces import StateSpace

#: Numbers worked on at once.
CHUNK_ENTRIES = 2**22


def expectation(step: Callable[[Tensor], TorchDistribution], v: Tensor, space: StateSpace) -> Tensor:
    """E v under ``step(x)`` for every state x, flat (num_states,) float64.

    Args:
        step: tokens (n, L) -> law with batch (n,) and event (L,).
        v: flat function on the states.
    """
    total = space.require_enumerable("A decomposition")
    width = max(space.length * max(space.radices), 2 * math.isqrt(total) * max(space.radices))
    out = torch.empty(total, dtype=torch.float64)
    for index in torch.arange(total).split(max(1, CHUNK_ENTRIES // width)):
        law = step(space.unindex(index))
        law = law.law if isinstance(law, LazyLaw) else law
        if isinstance(law, (SequenceLaw, JumpLaw)):
            out[index] = of_product(law.table().expand(len(index), -1, -1), v, space)
        elif isinstance(law, RevealSubset):
            out[index] = _of_subset(law, v, space)
        else:
            out[index] = _of_density(step, index, v, space)
    return out


def _of_density(step: Callable[[Tensor], TorchDistribution], index: Tensor, v: Tensor, space: StateSpace) -> Tensor:
    states, pieces = space.enumerate(), []
    for few in index.split(max(1, CHUNK_ENTRIES // (len(v) * space.length))):
        density = step(space.unindex(few)).log_prob(states.unsqueeze(1).expand(-1, len(few), -1)).exp()
        pieces.append(density.to(torch.float64).T @ v)
    return torch.cat(pieces)


def of_product(table: Tensor, v: Tensor, space: StateSpace) -> Tensor:
    """E v under independent positions, (n,): outer products inside two halves, v in between.

    ``table`` (n, L, A) with symbols as in padded arrays.
    """
    columns = [[*range(size), *([space.mask] if space.mask is not None else [])] for size in space.position_sizes]
    factors = [table[:, position, symbols] for position, symbols in enumerate(columns)]
    half = min(range(len(factors) + 1), key=lambda k: abs(math.prod(space.radices[:k]) ** 2 - space.num_states))
    left, right = _outer(factors[:half], len(table)), _outer(factors[half:], len(table))
    return ((left @ v.reshape(left.shape[1], -1)) * right).sum(-1)


def _outer(factors: list[Tensor], rows: int) -> Tensor:
    out = torch.ones(rows, 1, dtype=torch.float64)
    for factor in factors:
        out = (out.unsqueeze(-1) * factor.unsqueeze(-2)).flatten(1)
    return out


def _of_subset(law: RevealSubset, v: Tensor, space: StateSpace) -> Tensor:
    """The product of (stay + reveal), v kept where the count of masks is right."""
    own = torch.arange(law.num_symbols) == law.x.unsqueeze(-1)
    values = torch.nn.functional.pad(law.log_probs.double().softmax(-1), (0, 1))
    table = own + torch.where(law.masked.unsqueeze(-1), values, 0.0)
    before, left = law.masked.sum(-1), mask_counts(space)
    out = torch.zeros(len(law.x), dtype=torch.float64)
    pairs = torch.stack([before, law.count.expand(before.shape)], -1)
    for m, b in torch.unique(pairs, dim=0).tolist():
        rows = (pairs == torch.tensor([m, b])).all(-1)
        mean = of_product(table[rows], torch.where(left == m - b, v, 0.0), space)
        out[rows] = mean * torch.exp(-log_binomial(before[rows], pairs[rows, 1]))
    return out
