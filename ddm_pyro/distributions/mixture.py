"""Tokens that sit on a few atoms or fall back to a base law: the closed forms of every rank-one chain."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from ddm_pyro.distributions.sequence import SequenceLaw


class AtomMixture(SequenceLaw):
    """P(x_l = v) = sum_k weights[l, k] 1[v = atoms[l, k]] + (1 - sum_k weights[l, k]) base[l, v].

    Transitions (one atom: the token itself) and bridges (two: both ends) of a chain that refreshes from a fixed
    law have this form, so no (..., L, A) table is made, whatever the vocabulary.

    Args:
        atoms: (..., L, K) int64 symbols.
        weights: (..., L, K) their probabilities.
        base: (L, A) or (1, A) probabilities, shared by the batch.

    Example:
        >>> law = AtomMixture(torch.tensor([[2]]), torch.tensor([[0.5]]), torch.tensor([[0.25, 0.25, 0.5]]))
        >>> law.enumerate_support().squeeze(-1).tolist(), law.log_prob(torch.tensor([2])).exp().item()
        ([0, 1, 2], 0.75)
    """

    arg_constraints: ClassVar = {
        "atoms": constraints.independent(constraints.nonnegative_integer, 2),
        "weights": constraints.independent(constraints.unit_interval, 2),
        "base": constraints.independent(constraints.simplex, 1),
    }
    parameter_dims: ClassVar = {"atoms": 2, "weights": 2, "base": 2}
    shared_parameters: ClassVar = frozenset({"base"})

    def __init__(self, atoms: Tensor, weights: Tensor, base: Tensor, validate_args: bool | None = None) -> None:
        shape = torch.broadcast_shapes(atoms.shape, weights.shape)
        self.atoms, self.weights, self.base = atoms.expand(shape), weights.double().expand(shape), base.double()
        super().__init__(shape[:-2], shape[-2:-1], validate_args=validate_args)

    @property
    def num_symbols(self) -> int:
        """A."""
        return int(self.base.shape[-1])

    @property
    def rest(self) -> Tensor:
        """Probability of the base law, (..., L)."""
        return (1.0 - self.weights.sum(-1)).clamp(min=0.0)

    def token_log_prob(self, value: Tensor) -> Tensor:
        """log-probability of each token, (..., L)."""
        shape = torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape)
        value = value.expand(shape)
        at_atom = (self.weights * (value.unsqueeze(-1) == self.atoms)).sum(-1)
        positions = torch.arange(self.event_shape[0], device=value.device)
        base = self.base.expand(self.event_shape[0], -1)[positions, value]
        return (at_atom + self.rest * base).log()

    def icdf(self, u: Tensor) -> Tensor:
        """Tokens (..., L) from uniforms (..., L)."""
        # Clamped from below only in the index: a u past all atoms leaves its remainder, rescaled, to the base law.
        edges = self.weights.cumsum(-1)
        inside = (edges <= u.unsqueeze(-1)).sum(-1)
        atom = (
            self.atoms.expand(*u.shape, -1).gather(-1, inside.clamp(max=edges.shape[-1] - 1).unsqueeze(-1)).squeeze(-1)
        )
        used = edges[..., -1]
        remainder = (u - used) / (1.0 - used).clamp(min=torch.finfo(u.dtype).tiny)
        return torch.where(inside < edges.shape[-1], atom, self._base_icdf(remainder.clamp(0.0, 1.0)))

    def _base_icdf(self, u: Tensor) -> Tensor:
        cdf = self.base.cumsum(-1)
        u = torch.minimum(u * cdf[..., -1], torch.nextafter(cdf[..., -1], torch.zeros_like(cdf[..., -1])))
        if cdf.shape[0] == 1:
            return torch.searchsorted(cdf[0], u.contiguous(), right=True)
        columns = u.reshape(-1, u.shape[-1]).T.contiguous()
        return torch.searchsorted(cdf, columns, right=True).T.reshape(u.shape)
