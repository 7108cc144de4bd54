"""The bridge averaged over the x0-posterior, drawn in two cheap steps instead of from a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import SequenceLaw, inverse_cdf
from ddm_pyro.parameterizations.conversions import over_likelihood

if TYPE_CHECKING:
    from ddm_pyro.processes import Process


class AveragedBridge(SequenceLaw):
    """P(x_s) = prod_l sum_u p_l(u) q(x_s^l | x_0^l = u, x_t^l = x^l).

    A draw takes x_0 from p and then the bridge, so only p is ever read at full width; densities use the table. The
    process must let every token follow from every other, else posterior mass on an impossible x_0 has no bridge.

    Args:
        process: the forward process.
        x: (..., L) tokens at t.
        t, s: times, s < t, broadcasting against the batch.
        log_p: (..., L, V) log p(x_0^l = u | x).
    """

    arg_constraints: ClassVar = {}
    parameter_dims: ClassVar = {"x": 1, "t": 0, "s": 0, "log_p": 2}

    def __init__(self, process: Process, x: Tensor, t: Tensor, s: Tensor, log_p: Tensor) -> None:
        batch = x.shape[:-1]
        self.process, self.x, self.log_p = process, x, log_p
        self.t, self.s = t.expand(batch), s.expand(batch)
        super().__init__(batch, x.shape[-1:], validate_args=False)
        self.on(process.space)

    @property
    def num_symbols(self) -> int:
        """A."""
        return self.process.space.num_symbols

    def table(self) -> Tensor:
        """Probabilities of all symbols, (..., L, A) float64."""
        quotient = over_likelihood(self.process, self.x, self.t, self.log_p)
        at_s = self.process.evolve(quotient, torch.zeros_like(self.s), self.s)
        table = at_s * self.process.likelihood(self.x, self.s, self.t)
        return table / table.sum(-1, keepdim=True)

    def token_log_prob(self, value: Tensor) -> Tensor:
        """log-probability of each token, (..., L)."""
        table = self.table()
        shape = torch.broadcast_shapes(value.shape, table.shape[:-1])
        return table.expand(*shape, -1).gather(-1, value.expand(shape).unsqueeze(-1)).squeeze(-1).log()

    def icdf(self, u: Tensor) -> Tensor:
        """Tokens (..., L) from uniforms (..., L)."""
        return inverse_cdf(self.table().expand(*u.shape, -1), u)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Independent draws, (*sample_shape, *batch, L)."""
        shape = (*sample_shape, *self.x.shape)
        with torch.no_grad():
            x0 = inverse_cdf(self.log_p.exp().expand(*shape, -1), random.uniform(shape, self.x.device))
            return self.process.bridge(x0, self.x.expand(shape), self.s, self.t, validate_args=False).sample()
