"""A masked predictor that needs the time, asked without one."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ddm_pyro.arrays import OnDevice
from ddm_pyro.parameterizations import Parameterization

#: Halvings of [0, 1] that invert the mask probability; the error is far below a network's time resolution.
BISECTIONS = 60


class TimeOfMasks(Parameterization):
    """The model, asked at the time at which as many masks are expected as x has: P(masked at t) = masks / L.

    Samplers that reveal a fixed number of positions a step (first-hitting, k-unmask) have no time of their own; with
    this model their laws are functions of the order alone, and have densities.

    Args:
        model: a parameterization of a masked process, given as an x0-posterior.

    Raises:
        ValueError: a process without masks.

    Example:
        >>> import ddm_pyro as ddm
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=2)
        >>> model = TimeOfMasks(ddm.X0(ddm.networks.MLP.for_process(forward, width=8), forward))
        >>> model.time_free, model.time(torch.tensor([[3, 3], [0, 3], [0, 1]])).tolist()
        (True, [1.0, 0.5, 0.0])
    """

    time_free = True

    def __init__(self, model: Parameterization) -> None:
        super().__init__(model.process)
        if not model.process.is_masked:
            raise ValueError(f"TimeOfMasks counts masks; {model.process!r} is no masked process.")
        self.inner, self.cond = model, dict(model.cond)

    def time(self, x: Tensor) -> Tensor:
        """The time for sequences (..., L), (...) float64."""
        return self._times.on(x.device)[self.process.space.is_mask(x).sum(-1)]

    @cached_property
    def _times(self) -> OnDevice:
        length = self.process.space.length
        level = torch.arange(length + 1, dtype=torch.float64, device="cpu") / length
        low, high = torch.zeros_like(level), torch.ones_like(level)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            below = self.process.mask_probability(middle) < level
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        # The level 0 is reached at 0 itself; the level 1 (or one never reached) only at the end.
        high[0], high[-1] = 0.0, 1.0
        return OnDevice(high)

    def x0_log_probs(self, x: Tensor, t: Any, *, at: Tensor | None = None) -> Tensor:
        """log p(x_0^l = v | x), whatever ``t``."""
        inner = self.inner.bind(**self.cond) if self.cond else self.inner
        return inner.x0_log_probs(x, self.time(x), at=at)
