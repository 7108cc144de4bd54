"""Plans: the part of a masked sampler's randomness that ignores tokens, drawn before the loop.

Which positions are revealed in which step never depends on the network, so it is drawn first; a step then runs the
network only where something is revealed (on the CPU), or at fixed shapes without reading anything back (elsewhere).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.arrays import has_data
from ddm_pyro.distributions import AtomMixture, JumpLaw, LazyLaw, TokenLaw
from ddm_pyro.samplers.base import Sampler
from ddm_pyro.samplers.reveal import RevealAt, ranks_among
from ddm_pyro.spaces import StateSpace

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.processes import Process


def reveal_law(model: Parameterization, x: Tensor, t: Tensor, rho: Tensor) -> LazyLaw:
    """Masked positions take a value from p(v | x) with probability ``rho``, others stay."""

    def build() -> JumpLaw:
        space = model.process.space
        jump = torch.where(space.is_mask(x), rho, 0.0).double()
        return JumpLaw(x, jump, model.x0_log_probs(x, t).exp(), num_symbols=space.num_symbols, validate_args=False)

    return LazyLaw(build, x.shape[:-1], x.shape[-1])


def hazard_plan(reveal: Callable[[Tensor, Tensor], Tensor], x: Tensor, times: Tensor) -> AtomMixture:
    """Law of the step that reveals each position when step k does so with probability reveal(t_k, t_{k+1}).

    Values 0 .. N; N stands for the final denoising. Masked positions only are meant.
    """
    rho = reveal(times[:-1], times[1:])
    survive = torch.cat([torch.ones_like(rho[:1]), (1.0 - rho).cumprod(0)])
    base = torch.cat([survive[:-1] * rho, survive[-1:]]).unsqueeze(0)
    atoms = torch.zeros(*x.shape, 1, dtype=torch.int64, device=x.device)
    law = AtomMixture(atoms, torch.zeros_like(atoms, dtype=torch.float64), base, validate_args=False)
    return law.on(StateSpace(len(times), x.shape[-1]))


class OrderPlan(TokenLaw):
    """Masked positions in a uniform random order, cut into blocks: value = the block of a position, (n, L).

    Positions that are not masked get the number of blocks, which no step draws.

    Args:
        masked: (n, L) bool.
        blocks: (L,) int64, the block of each rank in the order, nondecreasing.
        steps: the number of blocks.
    """

    expand = TorchDistribution.expand

    def __init__(self, masked: Tensor, blocks: Tensor, steps: int) -> None:
        self.masked, self.blocks, self.steps = masked, blocks, steps
        self.space = StateSpace(steps + 1, masked.shape[-1])
        super().__init__(masked.shape[:-1], masked.shape[-1:])

    @property
    def _device(self) -> torch.device:
        return self.masked.device

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws, (*sample_shape, n, L)."""
        masked = self.masked.expand(*sample_shape, *self.masked.shape)
        ranks = ranks_among(masked, random.uniform(masked.shape, masked.device))
        return torch.where(masked, self.blocks[ranks], self.steps)

    def log_prob(self, value: Tensor) -> Tensor:
        """-log of the number of ways to fill the blocks, or -inf for wrong block sizes."""
        if self._validate_args:
            self._validate_sample(value)
        ranks = torch.arange(self.blocks.shape[0], device=value.device)
        filled = ranks < self.masked.sum(-1, keepdim=True)
        steps = torch.arange(self.steps, device=value.device)
        sizes = ((self.blocks.unsqueeze(-1) == steps) & filled.unsqueeze(-1)).sum(-2)
        counts = ((value.unsqueeze(-1) == steps) & self.masked.unsqueeze(-1)).sum(-2)
        right = (sizes == counts).all(-1) & ((value == self.steps) | self.masked).all(-1)
        ways = torch.lgamma(self.masked.sum(-1).double() + 1.0) - torch.lgamma(sizes.double() + 1.0).sum(-1)
        return torch.where(right, -ways, -torch.inf)


@dataclass(frozen=True, eq=False)
class Planned(Sampler):
    """A masked sampler whose reveal steps are drawn: step k draws the positions with plan == k, and no others.

    Attributes:
        positions: (n, L) the step of each position; -1 where nothing is to be drawn.
        split: flat indices by step when they are known on the host, else None.
        clock: (n, steps) network time of each row and step, when it is not the grid's.
        index: k, the step to come.
    """

    positions: Tensor
    split: tuple[Tensor, ...] | None
    clock: Tensor | None = None
    index: int = 0

    @classmethod
    def of(cls, process: Process, x: Tensor, times: Tensor, plan: Tensor, clock: Tensor | None = None) -> Planned:
        """The planned sampler for a start ``x`` and reveal steps ``plan``, (n, L)."""
        plan = torch.where(process.space.is_mask(x), plan, -1)
        return cls(plan, _by_step(plan, len(times) - 1) if is_host(plan) else None, clock)

    def step(self, model: Parameterization, x: Tensor, t: Tensor, s: Tensor) -> TorchDistribution:
        """Law of X_s given X_t = x and the plan."""
        time = t if self.clock is None else self.clock[:, self.index]
        if self.split is None:
            return reveal_law(model, x, time, (self.positions == self.index).double())
        here = self.split[self.index]
        return LazyLaw(lambda: RevealAt.of(model, x, time, here), x.shape[:-1], x.shape[-1])

    def after(self, x: Tensor, y: Tensor, law: TorchDistribution) -> Planned:
        """The next step of the plan."""
        return replace(self, index=self.index + 1)


def is_host(x: Tensor) -> bool:
    """Whether tokens can be looked at without waiting for a device."""
    # On the host the rows of a step are known without waiting for a device.
    return x.device.type == "cpu" and has_data(x)


def _by_step(plan: Tensor, steps: int) -> tuple[Tensor, ...]:
    flat = plan.reshape(-1).numpy()
    order = flat.argsort(kind="stable")
    edges = flat[order].searchsorted(range(steps + 1))
    return tuple(torch.from_numpy(order[low:high]) for low, high in pairwise(edges))
