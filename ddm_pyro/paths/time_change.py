"""The change of time that makes R_t = schedule.rate(t) Q a homogeneous chain."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ddm_pyro.arrays import float64
from ddm_pyro.rates import KroneckerSum
from ddm_pyro.schedules import NoiseSchedule


@dataclass(frozen=True)
class TimeChange:
    """On the clock sigma(t) the process with R_t = schedule.rate(t) Q runs with the one generator Q.

    Args:
        schedule: gives the clock sigma and its inverse.
        generator: Q of every position.

    Example:
        >>> from ddm_pyro.rates import Uniform
        >>> from ddm_pyro.schedules import Constant
        >>> change = TimeChange(Constant(4.0), KroneckerSum([Uniform(2)]))
        >>> change.clock(0.25).item(), change.time(torch.tensor(1.0).double()).item()
        (1.0, 0.25)
    """

    schedule: NoiseSchedule
    generator: KroneckerSum

    def clock(self, t: Tensor | float) -> Tensor:
        """sigma(t); infinite where alpha(t) = 0."""
        return self.schedule.sigma(float64(t))

    def time(self, clock: Tensor) -> Tensor:
        """The time t with sigma(t) = clock."""
        return self.schedule.inverse(torch.exp(-clock))

    def elapsed(self, s: Tensor, t: Tensor) -> Tensor:
        """sigma(t) - sigma(s); 0 when both are at the same infinite end."""
        low, high = self.clock(s), self.clock(t)
        return torch.where(high == low, 0.0, high - low)
