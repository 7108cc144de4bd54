"""What a masked sampler knows when it draws a position: the law of the number of known tokens, step by step.

A plan says which step draws each position and ignores tokens. Given the plan, the path's divergence is a sum over
positions of -log p(x_0^i | what is known at the start of i's step), less the entropy of the data; for plans that treat
positions alike it needs only counts[k, n], the mean number of positions that step k draws when n are known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.bounds.base import NotApplicable
from ddm_pyro.bounds.discrete.case import Run
from ddm_pyro.distributions import AtomMixture
from ddm_pyro.samplers import Ancestral, FirstHitting
from ddm_pyro.samplers.plans import OrderPlan, hazard_plan


@dataclass(frozen=True)
class Contexts:
    """The plan of a masked run, and what it makes of contexts.

    Attributes:
        plan: the law of the step that draws each position, batch (1,), values 0 .. N; N is the final denoising.
        times: (N + 1,) the time the model is asked at in each of them.
        counts: (N + 1, L) mean number of positions that step k draws when n are known, total L; None for a plan that
            does not treat positions alike.
        hazards: (N + 1,) chance that a position is drawn in step k, where positions are independent.
        sizes: block sizes, where they are fixed.
        clocked: whether the model is asked at random times of the sampler's own, not at ``times``.
    """

    plan: TorchDistribution
    times: Tensor
    counts: Tensor | None = None
    hazards: Tensor | None = None
    sizes: tuple[int, ...] | None = None
    clocked: bool = False

    @property
    def known(self) -> Tensor:
        """Mean number of positions drawn when n are known, (L,)."""
        if self.counts is None:
            raise ValueError("This plan does not treat positions alike.")
        return self.counts.sum(0)


def sampler_contexts(run: Run, name: str) -> Contexts:
    """Those of the sampler's own plan. Raises NotApplicable for samplers without one."""
    sampler, process = run.sampler, run.process
    if sampler is None or not process.is_masked:
        raise NotApplicable(
            f"{name} speaks of one sampler of a masked process whose plan ignores tokens; core/kernel-kl needs no plan."
        )
    if sampler.uses_rates and run.model.primary != "x0":
        raise NotApplicable(
            f"{name} does not hold for a score model, whose reveal times depend on tokens; use core/kernel-kl."
        )
    law = sampler.plan(process, all_masks(run), run.grid)
    if law is None:
        raise NotApplicable(f"{sampler!r} has no plan that ignores tokens; core/kernel-kl needs none.")
    clocked = isinstance(sampler, FirstHitting) and not run.model.time_free
    return replace(read_plan(law, run.grid, run.length), clocked=clocked)


def forward_contexts(run: Run) -> Contexts:
    """Those of the forward process given that all is masked at the first time: the ancestral sampler's plan."""
    law = hazard_plan(lambda t, s: Ancestral().reveal(run.process, t, s), all_masks(run), run.grid)
    return read_plan(law, run.grid, run.length)


def all_masks(run: Run) -> Tensor:
    """The start of a masked run, (1, L)."""
    return torch.full((1, run.length), run.space.vocab_size)


def read_plan(law: TorchDistribution, grid: Tensor, length: int) -> Contexts:
    """The contexts of a plan law; counts where its form is one whose positions are alike."""
    if isinstance(law, OrderPlan):
        sizes = torch.bincount(law.blocks, minlength=law.steps).tolist()
        return Contexts(law, grid, order_counts(sizes, length, len(grid)), sizes=tuple(sizes))
    if isinstance(law, AtomMixture) and len(law.base) == 1 and not bool(law.weights.any()):
        hazards = law.base[0]
        return Contexts(law, grid, hazard_counts(hazards, length), hazards=hazards)
    return Contexts(law, grid)


def order_counts(sizes: Sequence[int], length: int, rows: int) -> Tensor:
    """Counts of blocks of fixed sizes in a uniform random order, (rows, L).

    Example:
        >>> order_counts((2, 1), 3, 2).tolist()
        [[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    counts = torch.zeros(rows, length, dtype=torch.float64)
    for k, (known, size) in enumerate(zip(accumulate((0, *sizes)), sizes, strict=False)):
        if size:
            counts[k, known] = size
    return counts


def hazard_counts(hazards: Tensor, length: int) -> Tensor:
    """Counts where each position is drawn in step k with probability hazards[k], independently, (N + 1, L).

    Example:
        >>> hazard_counts(torch.tensor([0.5, 0.5]).double(), 2).tolist()
        [[1.0, 0.0], [0.5, 0.5]]
    """
    before = torch.cat([hazards.new_zeros(1), hazards.cumsum(0)[:-1]])
    return length * hazards.unsqueeze(-1) * torch.stack([binomial(length - 1, float(p)) for p in before])


def binomial(n: int, p: float) -> Tensor:
    """P(Binomial(n, p) = k), k = 0 .. n.

    Example:
        >>> [round(p, 6) for p in binomial(2, 0.5).tolist()]
        [0.25, 0.5, 0.25]
    """
    p = min(max(p, 0.0), 1.0)
    k = torch.arange(n + 1, dtype=torch.float64)
    ways = math.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    chance = torch.tensor(p, dtype=torch.float64)
    return (ways + torch.xlogy(k, chance) + torch.special.xlog1py(n - k, -chance)).exp()
