"""A corrector: one heat-bath update of a random position at fixed time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import LazyLaw, TokenLaw, inverse_cdf
from ddm_pyro.samplers.base import Sampler
from ddm_pyro.spaces import StateSpace

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization


class OneSiteLaw(TokenLaw):
    """A uniformly chosen position is redrawn from ``probs`` (n, L, A); the others stay."""

    expand = TorchDistribution.expand

    def __init__(self, x: Tensor, probs: Tensor) -> None:
        self.x, self.probs = x, probs
        self.space = StateSpace(probs.shape[-1], x.shape[-1])
        super().__init__(x.shape[:-1], x.shape[-1:])

    @property
    def _device(self) -> torch.device:
        return self.x.device

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws, (*sample_shape, n, L)."""
        shape = (*sample_shape, *self.x.shape)
        values = inverse_cdf(self.probs, random.uniform(shape, self.x.device))
        chosen = (random.uniform(shape[:-1], self.x.device) * shape[-1]).long().unsqueeze(-1)
        return torch.where(torch.arange(shape[-1], device=self.x.device) == chosen, values, self.x)

    def log_prob(self, value: Tensor) -> Tensor:
        """log (1/L) sum_l probs[l, y_l] 1[y equals x elsewhere]."""
        if self._validate_args:
            self._validate_sample(value)
        differs = value != self.x
        chosen = self.probs.expand(*differs.shape, -1).gather(-1, value.expand(differs.shape).unsqueeze(-1)).squeeze(-1)
        elsewhere = differs.sum(-1, keepdim=True) - differs.long()
        return torch.where(elsewhere == 0, chosen, 0.0).mean(-1).log()


@dataclass(frozen=True)
class GibbsCorrector(Sampler):
    """Redraw one uniformly chosen position from p_s(x_l | the others), read off the ratio score at s.

    Leaves p_s unchanged when the score is exact, so it mends the error of a predictor: ``[Euler(), GibbsCorrector()]``.
    A revealed token of a masked process has no such ratios, so masked processes are refused.
    """

    def step(self, model: Parameterization, x: Tensor, t: Tensor, s: Tensor) -> TorchDistribution:
        """Law after one update at time s."""
        process = model.process
        if process.space.mask is not None:
            raise ValueError(f"GibbsCorrector needs ratios to every token; {process!r} has masks and gives none.")
        return LazyLaw(lambda: OneSiteLaw(x, model.conditionals(x, s)), x.shape[:-1], x.shape[-1])
