"""Leaping: Poisson numbers of steps up and down at rates held over the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import LazyLaw, SequenceLaw, inverse_cdf
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.samplers import Sampler
from ddm_pyro_lattice.laws import poisson_quantile
from ddm_pyro_lattice.rates import LatticeRate, lattice_rate

#: Poisson numbers are listed up to this many standard deviations, and as many again, above their mean.
REACH = 12.0
#: Largest mean number of steps for which densities are computed.
MAX_MEAN = 2000.0


@dataclass(frozen=True)
class Leap(Sampler):
    """Tau-leaping on a lattice: K+ ~ Poisson(h r+) steps up and K- ~ Poisson(h r-) steps down a coordinate.

    Rates r are those at (t, x), held over the step h = t - s; the sum is taken modulo m on a circle, and cut at the
    ends elsewhere. Unlike ``core/tau-leaping``, which keeps one jump a coordinate, every jump counts.

    Raises:
        ValueError: a process that is no lattice walk; rates that are not finite.
    """

    uses_rates: ClassVar[bool] = True

    def step(self, model: Parameterization, x: Tensor, t: Tensor, s: Tensor) -> TorchDistribution:
        """Law of X_s given X_t = x."""
        rate = lattice_rate(model.process)
        return LazyLaw(
            lambda: LeapLaw(rate, x, (t - s)[..., None, None] * model.reverse_rate(x, t)).on(model.process.space),
            x.shape[:-1],
            x.shape[-1],
        )


class LeapLaw(SequenceLaw):
    """place(x + K+ - K-) with K+-, Poisson of the given means, a coordinate.

    Args:
        rate: the chain, which says how numbers are read as tokens.
        x: (..., L) tokens.
        jumps: (..., L, 2) mean numbers of steps up and down.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    parameter_dims: ClassVar[dict[str, int]] = {"x": 1, "jumps": 2}

    def __init__(self, rate: LatticeRate, x: Tensor, jumps: Tensor) -> None:
        if not bool(torch.isfinite(jumps).all()):
            raise ValueError("The reverse rates of this step are not finite; start the grid elsewhere with times=.")
        self.rate, self.x, self.jumps = rate, x, jumps.to(torch.float64)
        super().__init__(x.shape[:-1], x.shape[-1:], validate_args=False)

    @property
    def num_symbols(self) -> int | None:
        """m, or None on the natural numbers."""
        return self.rate.vocab_size

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Independent draws, (*sample_shape, *batch, L)."""
        shape = (*sample_shape, *self.x.shape)
        u = random.uniform((*shape, 2), self.x.device).cpu().numpy()
        up, down = poisson_quantile(u, self.jumps.expand(*shape, 2)).unbind(-1)
        return self.rate.place(self.x + up - down)

    def increments(self) -> Tensor:
        """P(K+ - K- = d) for d = -K .. K, (..., L, 2K + 1): a sum of positive terms."""
        top = float(self.jumps.max()) if self.jumps.numel() else 0.0
        if top > MAX_MEAN:
            raise ValueError(
                f"A step of lattice/leap has up to {top:.4g} jumps a coordinate, too many for its density; "
                "use more steps."
            )
        last = math.ceil(top + REACH * math.sqrt(top) + REACH)
        k = torch.arange(last + 1, dtype=torch.float64, device=self.jumps.device)
        mean = self.jumps.unsqueeze(-1)
        counts = torch.exp(torch.xlogy(k, mean) - mean - torch.lgamma(k + 1))
        up, down = counts.unbind(-2)
        out = up.new_zeros(*up.shape[:-1], 2 * last + 1)
        for j in range(last + 1):
            out[..., last - j : 2 * last - j + 1] += up * down[..., j : j + 1]
        return out

    def _places(self, steps: Tensor) -> Tensor:
        reach = steps.shape[-1] // 2
        return self.rate.place(self.x.unsqueeze(-1) + torch.arange(-reach, reach + 1, device=self.x.device))

    def table(self) -> Tensor:
        """Probabilities of all tokens, (..., L, A)."""
        if self.num_symbols is None:
            return super().table()
        steps = self.increments()
        out = steps.new_zeros(*steps.shape[:-1], self.num_symbols)
        return out.scatter_add(-1, self._places(steps).expand(steps.shape), steps)

    def token_log_prob(self, value: Tensor) -> Tensor:
        """log-probability of each token, (..., L)."""
        steps = self.increments()
        hit = self._places(steps) == value.unsqueeze(-1)
        return torch.where(hit, steps, 0.0).sum(-1).log()

    def icdf(self, u: Tensor) -> Tensor:
        """Tokens from uniforms, (..., L)."""
        steps = self.increments()
        drawn = inverse_cdf(steps.expand(*u.shape, -1), u)
        return self.rate.place(self.x + drawn - steps.shape[-1] // 2)
