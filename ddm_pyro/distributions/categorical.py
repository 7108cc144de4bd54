"""Independent categorical tokens from a table of probabilities."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from ddm_pyro.distributions.inverse_cdf import inverse_cdf
from ddm_pyro.distributions.sequence import SequenceLaw


class FactorizedCategorical(SequenceLaw):
    """P(x) = prod_l probs[..., l, x_l].

    Args:
        probs: (..., L, A) nonnegative weights; each row is normalised to sum to one.

    Raises:
        ValueError: with validation on, a row that is negative, not finite, or sums to zero.

    Example:
        >>> law = FactorizedCategorical(torch.tensor([[0.5, 0.5], [0.25, 0.75]]))
        >>> round(law.log_prob(torch.tensor([0, 1])).exp().item(), 4)
        0.375
    """

    arg_constraints: ClassVar = {"probs": constraints.independent(constraints.simplex, 1)}
    parameter_dims: ClassVar = {"probs": 2}

    def __init__(self, probs: Tensor, validate_args: bool | None = None) -> None:
        if probs.dim() < 2:
            raise ValueError(f"probs has shape {tuple(probs.shape)}; give (..., length, symbols).")
        probs = probs.double()
        self.probs = probs / probs.sum(-1, keepdim=True)
        super().__init__(probs.shape[:-2], probs.shape[-2:-1], validate_args=validate_args)

    @property
    def num_symbols(self) -> int:
        """A."""
        return int(self.probs.shape[-1])

    def token_log_prob(self, value: Tensor) -> Tensor:
        """log-probability of each token, (..., L)."""
        shape = torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape)
        table = self.probs.expand(*shape, -1)
        return table.gather(-1, value.expand(shape).unsqueeze(-1)).squeeze(-1).log()

    def icdf(self, u: Tensor) -> Tensor:
        """Tokens (..., L) from uniforms (..., L)."""
        return inverse_cdf(self.probs, u)

    def table(self) -> Tensor:
        """``probs``, (..., L, A) float64."""
        return self.probs
