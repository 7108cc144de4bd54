"""Masked samplers that fix how many positions a step reveals: k-unmask and first hitting."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.arrays import OnDevice
from ddm_pyro.distributions import LazyLaw
from ddm_pyro.samplers.base import Sampler
from ddm_pyro.samplers.plans import OrderPlan, Planned
from ddm_pyro.samplers.reveal import RevealSubset

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.processes import Process


class BlockSampler(Sampler):
    """Each step reveals a uniformly chosen set of masked positions of a size fixed in advance."""

    masked_only: ClassVar[bool] = True

    @abstractmethod
    def sizes_for(self, free: int) -> tuple[int, ...]:
        """Block sizes in generation order for a row with ``free`` masked positions."""

    def num_steps(self, process: Process, steps: int | None) -> int:
        """The number of blocks; another value is refused."""
        fixed = len(self.sizes_for(process.space.length))
        if steps is not None and steps != fixed:
            raise ValueError(f"{self} takes {fixed} steps on {process.space.length} positions, not steps={steps}.")
        return fixed

    def step(self, model: Parameterization, x: Tensor, t: Tensor, s: Tensor) -> TorchDistribution:
        """Law of the next block's outcome given x. Raises ValueError for a model that depends on time."""
        if not model.time_free:
            raise ValueError(f"{self} without a plan needs a time-free model: its steps happen at random times.")
        space = model.process.space

        def build() -> RevealSubset:
            return RevealSubset(x, self.next_size(space.is_mask(x).sum(-1)), model.x0_log_probs(x, t))

        return LazyLaw(build, x.shape[:-1], x.shape[-1])

    @abstractmethod
    def next_size(self, masks: Tensor) -> Tensor:
        """Size of the next block by the number of masks left, (...) -> (...)."""

    def plan(self, process: Process, x: Tensor, times: Tensor) -> TorchDistribution:
        """A uniform random order of the masked positions, cut into blocks."""
        steps = len(times) - 1
        blocks = [k for k, size in enumerate(self._plan_sizes(process.space.length)) for _ in range(size)]
        # A row with known tokens has ranks past the last block; no step draws them.
        blocks += [steps] * (x.shape[-1] - len(blocks))
        return OrderPlan(process.space.is_mask(x), torch.tensor(blocks, device=x.device), steps)

    def _plan_sizes(self, length: int) -> tuple[int, ...]:
        return self.sizes_for(length)


@dataclass(frozen=True)
class KUnmask(BlockSampler):
    """Step k reveals ``sizes[k]`` masked positions at once, drawn independently given what is revealed.

    The sampler of Li and Cai (arXiv 2505.21400) with any mask-size schedule; ``sizes`` is in generation order and sums
    to the number of masked positions. Expected mask-conditional KL is exact on the information curve.

    Args:
        sizes: positive whole numbers, e.g. (4, 4, 2).

    Raises:
        ValueError: a size below 1, or a total other than the number of masked positions.
    """

    sizes: Sequence[int]

    def __post_init__(self) -> None:
        sizes = tuple(int(size) for size in self.sizes)
        if not sizes or min(sizes) < 1 or sizes != tuple(self.sizes):
            raise ValueError(f"sizes={self.sizes!r} must be whole numbers of at least 1, in generation order.")
        object.__setattr__(self, "sizes", sizes)

    def sizes_for(self, free: int) -> tuple[int, ...]:
        """``sizes``; refused unless they sum to ``free``."""
        return tuple(self.sizes)

    def check_free(self, free: int) -> None:
        """Raise ValueError unless the sizes sum to the number of positions to fill."""
        if sum(self.sizes) != free:
            raise ValueError(
                f"sizes={self.sizes} reveal {sum(self.sizes)} positions but {free} are masked; they must sum to {free}."
            )

    @cached_property
    def _by_masks(self) -> OnDevice:
        # masks left before step k = sizes[k] + sizes[k + 1] + ...; the last entry stands for more masks than that
        before = list(accumulate(reversed(self.sizes)))[::-1]
        table = [0] * (sum(self.sizes) + 2)
        for masks, size in zip(before, self.sizes, strict=True):
            table[masks] = size
        return OnDevice(table)

    def next_size(self, masks: Tensor) -> Tensor:
        """The size whose turn it is with so many masks left; 0 when none is."""
        table = self._by_masks.on(masks.device)
        return table[masks.clamp(max=len(table) - 1)]

    def prepare(self, process: Process, x: Tensor, times: Tensor, plan: Tensor | None) -> Sampler:
        """Follow the plan."""
        return self if plan is None else Planned.of(process, x, times, plan)


@dataclass(frozen=True)
class FirstHitting(BlockSampler):
    """Positions are revealed one by one in a uniform random order at their exact hitting times.

    The first-hitting sampler: exact in law but for the predictor's error. ``refresh=b`` renews the predictor only
    every b hits, for the whole batch at once: b positions are then drawn independently. A predictor that depends on
    time sees the time of its block's first hit, 1 - alpha(t') = (1 - alpha(t)) U^(1/m) with m masks left.

    Args:
        refresh: hits a network call, at least 1.

    Raises:
        ValueError: refresh below 1.
    """

    refresh: int = 1

    def __post_init__(self) -> None:
        if self.refresh != int(self.refresh) or self.refresh < 1:
            raise ValueError(f"refresh={self.refresh!r} must be a whole number of at least 1.")

    def sizes_for(self, free: int) -> tuple[int, ...]:
        """refresh, refresh, ..., and the rest."""
        blocks = math.ceil(free / self.refresh)
        return tuple(min(self.refresh, free - k * self.refresh) for k in range(blocks))

    def next_size(self, masks: Tensor) -> Tensor:
        """``refresh``, or all that are left."""
        return masks.clamp(max=self.refresh)

    def prepare(self, process: Process, x: Tensor, times: Tensor, plan: Tensor | None) -> Sampler:
        """Follow the plan, the network's time running with the hits."""
        return self if plan is None else Planned.of(process, x, times, plan, self._clock(process, x, times))

    def _clock(self, process: Process, x: Tensor, times: Tensor) -> Tensor | None:
        schedule = getattr(process, "schedule", None)
        if schedule is None:
            return None
        masks = process.space.is_mask(x).sum(-1, keepdim=True)
        left = masks - torch.arange(x.shape[-1], device=x.device)
        # log of the shrinking factor of 1 - alpha at each hit; rows without masks left stay where they are.
        log_u = torch.log1p(-random.uniform(x.shape, x.device)) / left.clamp(min=1)
        level = torch.where(left > 0, log_u, 0.0).cumsum(-1).exp()
        start = process.mask_probability(times[0])
        return schedule.inverse(1.0 - start * level)[:, :: self.refresh][:, : len(times) - 1]
