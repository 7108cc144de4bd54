"""A reverse process ready to run: sampler, model and grid, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddm_pyro.infer.rows import select_rows
from ddm_pyro.infer.timeless import TimeOfMasks
from ddm_pyro.samplers import Sampler
from ddm_pyro.samplers.blocks import BlockSampler
from ddm_pyro.sampling.arguments import as_samplers, leaves_noise, resolve_observed, resolve_times

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.processes import Process
    from ddm_pyro.spaces import StateSpace


@dataclass(frozen=True, eq=False)
class Reverse:
    """What runs: the samplers, the model, the grid, and whether noise left at its end is drawn from the x0-posterior.

    Attributes:
        samplers: one, or a predictor and correctors.
        model: the parameterization; ``TimeOfMasks`` of it where the steps happen at random times.
        times: (N + 1,) float64, decreasing.
        denoise: whether a final denoising follows.
        own_grid: whether the grid is the sampler's own.
    """

    samplers: tuple[Sampler, ...]
    model: Parameterization
    times: Tensor
    denoise: bool
    own_grid: bool

    @classmethod
    def of(
        cls,
        sampler: Sampler | Sequence[Sampler],
        model: Parameterization,
        steps: int | None = None,
        times: Sequence[float] | Tensor | None = None,
    ) -> Reverse:
        """Check and build. Raises ValueError or TypeError as ``ddm_pyro.sample`` does."""
        samplers, process = as_samplers(sampler), model.process
        resolve_observed(samplers, process, None, 1, torch.device("cpu"), has_start=False)
        blocks = any(isinstance(one, BlockSampler) for one in samplers)
        if blocks and model.primary == "x0" and not model.time_free:
            model = TimeOfMasks(model)
        grid, last = resolve_times(samplers, model, steps, times)
        return cls(tuple(samplers), model, grid.to(model.device), leaves_noise(samplers, process, last), times is None)

    @property
    def sampler(self) -> Sampler:
        """The first (usually the only) sampler."""
        return self.samplers[0]

    @property
    def process(self) -> Process:
        """The forward process that is reversed."""
        return self.model.process

    @property
    def space(self) -> StateSpace:
        """The space of the data."""
        return self.process.space.data

    @property
    def length(self) -> int:
        """L."""
        return self.process.space.length

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.times.device

    @cached_property
    def planned(self) -> bool:
        """Whether a plan that ignores tokens says which step draws each position, as in ``ddm_pyro.sample``."""
        if len(self.samplers) > 1 or not self.process.is_masked or self.model.primary != "x0":
            return False
        return self.sampler.plan(self.process, self.masks(1), self.times) is not None

    def masks(self, rows: int) -> Tensor:
        """All masks, (rows, L); zeros where the process has none."""
        return torch.full((rows, self.length), self.process.space.mask or 0, device=self.device)

    def rows(self, index: Tensor) -> Reverse:
        """The same for flat batch rows ``index`` of a conditioned model."""
        return replace(self, model=select_rows(self.model, index))
