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

#: Tokens (n, L) -> the law of a step from each, batch (n,), event (L,).
Step = Callable[[Tensor], TorchDistribution]


def expectation(step: Step, v: Tensor, space: StateSpace) -> Tensor:
    """E v under ``step(x)`` for every state x, flat (num_states,) float64.

    Args:
        step: the law of a step.
        v: flat function on the states.
        space: the states.
    """
    out = torch.empty_like(v)
    for index in _chunks(space):
        law = _built(step, index, space)
        if _has_table(law):
            out[index] = _of_table(law, _table(law, len(index)), [], v, space)[0]
        else:
            out[index] = _of_density(step, index, v, space)
    return out


def replacing(step: Step, other: Step, v: Tensor, space: StateSpace) -> Tensor | None:
    """E v as ``step`` is replaced by ``other`` position by position, from the first on: (L + 1, num_states).

    Row l has the first l positions drawn from ``other`` and the rest from ``step``. None when the laws are not made of
    independent positions.
    """
    out = torch.empty(space.length + 1, len(v), dtype=torch.float64)
    for index in _chunks(space):
        law, new = _built(step, index, space), _built(other, index, space)
        if not (_has_table(law) and type(law) is type(new)):
            return None
        tables = _table(law, len(index)), _table(new, len(index))
        out[:, index] = _of_table(law, tables[0], [tables[1]], v, space)
    return out


def _chunks(space: StateSpace) -> tuple[Tensor, ...]:
    total = space.require_enumerable("A decomposition")
    width = max(space.length * max(space.radices), 2 * math.isqrt(total) * max(space.radices))
    return torch.arange(total).split(max(1, CHUNK_ENTRIES // width))


def _built(step: Step, index: Tensor, space: StateSpace) -> TorchDistribution:
    law = step(space.unindex(index))
    return law.law if isinstance(law, LazyLaw) else law


def _has_table(law: TorchDistribution) -> bool:
    return isinstance(law, (SequenceLaw, JumpLaw, RevealSubset))


def _table(law: TorchDistribution, rows: int) -> Tensor:
    """Probabilities of the symbols at each position (for a random subset: stay and reveal added up), (n, L, A)."""
    if not isinstance(law, RevealSubset):
        return law.table().expand(rows, -1, -1)
    own = torch.arange(law.num_symbols) == law.x.unsqueeze(-1)
    values = torch.nn.functional.pad(law.log_probs.double().softmax(-1), (0, 1))
    return own + torch.where(law.masked.unsqueeze(-1), values, 0.0)


def _of_table(law: TorchDistribution, table: Tensor, new: list[Tensor], v: Tensor, space: StateSpace) -> Tensor:
    if not isinstance(law, RevealSubset):
        return of_product(table, new, v, space)
    # The product of (stay + reveal), v kept where the count of masks is right.
    before, left = law.masked.sum(-1), mask_counts(space)
    pairs = torch.stack([before, law.count.expand(before.shape)], -1)
    out = torch.zeros(1 + space.length * len(new), len(table), dtype=torch.float64)
    for m, b in torch.unique(pairs, dim=0).tolist():
        rows = (pairs == torch.tensor([m, b])).all(-1)
        kept = torch.where(left == m - b, v, 0.0)
        mean = of_product(table[rows], [one[rows] for one in new], kept, space)
        out[:, rows] = mean * torch.exp(-log_binomial(before[rows], pairs[rows, 1]))
    return out


def _of_density(step: Step, index: Tensor, v: Tensor, space: StateSpace) -> Tensor:
    states, pieces = space.enumerate(), []
    for few in index.split(max(1, CHUNK_ENTRIES // (len(v) * space.length))):
        density = step(space.unindex(few)).log_prob(states.unsqueeze(1).expand(-1, len(few), -1)).exp()
        pieces.append(density.to(torch.float64).T @ v)
    return torch.cat(pieces)


def of_product(table: Tensor, new: list[Tensor], v: Tensor, space: StateSpace) -> Tensor:
    """E v under independent positions: outer products inside two halves, v in between.

    Args:
        table: (n, L, A) with symbols as in padded arrays.
        new: nothing, or one table that replaces it position by position.

    Returns:
        (1, n), or (L + 1, n) with a table to replace by.
    """
    old = _factors(table, space)
    half = min(range(len(old) + 1), key=lambda k: abs(math.prod(space.radices[:k]) ** 2 - space.num_states))
    middle = v.reshape(math.prod(space.radices[:half]), -1)
    right = _outer(old[half:], len(table))
    out = [((_outer(old[:half], len(table)) @ middle) * right).sum(-1)]
    for replacement in new:
        factors = _factors(replacement, space)
        for position in range(1, half + 1):
            left = _outer([*factors[:position], *old[position:half]], len(table)) @ middle
            out.append((left * right).sum(-1))
        left = _outer(factors[:half], len(table)) @ middle
        for position in range(half + 1, len(old) + 1):
            out.append((left * _outer([*factors[half:position], *old[position:]], len(table))).sum(-1))
    return torch.stack(out)


def _factors(table: Tensor, space: StateSpace) -> list[Tensor]:
    columns = [[*range(size), *([space.mask] if space.mask is not None else [])] for size in space.position_sizes]
    return [table[:, position, symbols] for position, symbols in enumerate(columns)]


def _outer(factors: list[Tensor], rows: int) -> Tensor:
    out = torch.ones(rows, 1, dtype=torch.float64)
    for factor in factors:
        out = (out.unsqueeze(-1) * factor.unsqueeze(-2)).flatten(1)
    return out
