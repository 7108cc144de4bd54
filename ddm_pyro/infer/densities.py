"""What a diffusion prior can say of the probability of a sequence: four answers, each with its own way to draw."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ddm_pyro.arrays import has_data
from ddm_pyro.infer.plans import Unmasking, follow
from ddm_pyro.infer.reverse import Reverse
from ddm_pyro.infer.routes import Route
from ddm_pyro.samplers.thinning import RateSampler

#: Chains of weight zero that are looked at for the reason.
LOOKED_AT = 64


class Density(ABC):
    """Draws and log-probabilities of rows (n, L) of a reverse process."""

    @abstractmethod
    def sample(self, reverse: Reverse, count: int) -> Tensor:
        """Draws, (count, L); the model's conditions have ``count`` rows if any."""

    @abstractmethod
    def log_prob(self, reverse: Reverse, x: Tensor) -> Tensor:
        """log-probabilities of rows (n, L), (n,) float64."""


@dataclass(frozen=True, eq=False)
class Fixed(Density):
    """One plan for all: an autoregressive law over the plan's steps."""

    plan: Tensor

    def sample(self, reverse: Reverse, count: int) -> Tensor:
        """Draws along the plan."""
        return follow(reverse, self.plan.expand(count, -1))

    def log_prob(self, reverse: Reverse, x: Tensor) -> Tensor:
        """log P(x | plan)."""
        return Unmasking(reverse, self.plan.expand(len(x), -1), validate_args=False).log_prob(x)


@dataclass(frozen=True, eq=False)
class Estimated(Density):
    """From m auxiliary draws a: plans, or chains of states (see ``routes``).

    log (1/m) sum_j w_j, w_j = p(x, a_j) / r(a_j | x), is the log of an unbiased estimate of p(x); with ``mean_log``
    the mean of the log w_j, which lies below log p(x) in the mean.
    """

    draws: int
    mean_log: bool

    def sample(self, reverse: Reverse, count: int) -> Tensor:
        """Draws of the sampler."""
        return self.sample_making(reverse, count)[0]

    def sample_making(self, reverse: Reverse, count: int) -> tuple[Tensor, Tensor]:
        """Draws of the sampler and how they came to be, (count, L) and (1, count, ...)."""
        x, auxiliary = Route.of(reverse).draw(count)
        return x, auxiliary.unsqueeze(0)

    def propose(self, reverse: Reverse, x: Tensor, known: Tensor | None) -> Tensor:
        """m auxiliary draws a row, (m, n, ...), those already known among them."""
        missing = self.draws - (0 if known is None else len(known))
        if missing <= 0 and known is not None:
            return known
        rows = x.repeat(missing, 1)
        new = Route.of(reverse).propose(rows).unflatten(0, (missing, len(x)))
        return new if known is None else torch.cat([known, new])

    def log_prob(self, reverse: Reverse, x: Tensor) -> Tensor:
        """The estimate from fresh draws."""
        return self.estimate(reverse, x, self.propose(reverse, x, None))

    def estimate(self, reverse: Reverse, x: Tensor, auxiliary: Tensor) -> Tensor:
        """The estimate from given draws (m, n, ...)."""
        m = len(auxiliary)
        index, rows, made = torch.arange(len(x), device=x.device).repeat(m), x.repeat(m, 1), auxiliary.flatten(0, 1)
        weights = Route.of(reverse.rows(index)).log_weight(rows, made)
        if isinstance(reverse.sampler, RateSampler) and not reverse.planned and has_data(weights):
            self._explain(reverse, index, rows, made, weights == -torch.inf)
        weights = weights.reshape(m, len(x))
        return weights.mean(0) if self.mean_log else torch.logsumexp(weights, 0) - math.log(m)

    def _explain(self, reverse: Reverse, index: Tensor, rows: Tensor, made: Tensor, lost: Tensor) -> None:
        """Say so where weights are zero because of the sampler's steps, not of the model."""
        some = lost.nonzero().squeeze(-1)[:LOOKED_AT]
        if not len(some) or not Route.of(reverse.rows(index[some])).forbids(rows[some], made[some]):
            return
        share = float(lost.double().mean())
        cause = (
            f"{reverse.sampler} surely leaves a token where a step is clipped, but noised states may stay: {share:.0%} "
            "of the proposed chains have weight zero"
        )
        remedy = "Use Ancestral(), more steps, or diffusion_sample, which names the states"
        if self.mean_log:
            raise ValueError(f"{cause}, so that density='bound' is -inf. {remedy}.")
        warnings.warn(f"{cause}, and density='pseudo' is unbiased but rarely near its mean. {remedy}.", stacklevel=2)
