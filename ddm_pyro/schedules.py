"""Noise schedules: how much of the data survives at time t.

Time runs over [0, 1], t = 0 data and t = 1 noise. ``alpha(t)`` is the probability that a token has not been
refreshed, ``sigma(t) = -log alpha(t)`` the integral of the rate, ``rate(t) = sigma'(t)``, ``decay(t) = -alpha'(t)``
(finite also where the rate is not), all in float64.
"""

from __future__ import annotations

import math
from abc import ABC
from dataclasses import dataclass

import torch
from torch import Tensor

from ddm_pyro.arrays import float64

#: Halvings of [0, 1] in the default inverse: past these a float64 does not change.
BISECTIONS = 60


class NoiseSchedule(ABC):  # noqa: B024 (one of two methods is required, not either one)
    """A decreasing survival probability with alpha(0) = 1; alpha(1) = 0 is allowed.

    A subclass gives ``alpha`` or ``sigma`` (better both, and ``decay``); the rest follows: derivatives by forward-mode
    differentiation, the inverse by bisection. Methods take and return float64 tensors of any shape.
    """

    def alpha(self, t: Tensor) -> Tensor:
        """Survival probability exp(-sigma(t))."""
        if type(self).sigma is NoiseSchedule.sigma:
            raise NotImplementedError(f"{type(self).__name__} must define alpha(t) or sigma(t).")
        return torch.exp(-self.sigma(t))

    def sigma(self, t: Tensor) -> Tensor:
        """Total noise -log alpha(t), with sigma(0) = 0."""
        if type(self).alpha is NoiseSchedule.alpha:
            raise NotImplementedError(f"{type(self).__name__} must define alpha(t) or sigma(t).")
        return -torch.log(self.alpha(t))

    def rate(self, t: Tensor) -> Tensor:
        """Jump rate sigma'(t) = -alpha'(t) / alpha(t); infinite where alpha is 0."""
        return self.decay(t) / self.alpha(t)

    def decay(self, t: Tensor) -> Tensor:
        """-alpha'(t)."""
        t = float64(t).clone()  # forward mode refuses expanded tensors
        return -torch.func.jvp(self.alpha, (t,), (torch.ones_like(t),))[1]

    def inverse(self, alpha: Tensor) -> Tensor:
        """The time t with alpha(t) = alpha; values outside [alpha(1), 1] go to the nearer end."""
        alpha = float64(alpha)
        low, high = torch.zeros_like(alpha), torch.ones_like(alpha)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            above = self.alpha(middle) > alpha
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        return (low + high) / 2


@dataclass(frozen=True)
class Linear(NoiseSchedule):
    """alpha(t) = 1 - t.

    Example:
        >>> Linear().rate(torch.tensor(0.5)).item()
        2.0
    """

    def alpha(self, t: Tensor) -> Tensor:
        """1 - t."""
        return 1.0 - float64(t)

    def sigma(self, t: Tensor) -> Tensor:
        """-log(1 - t)."""
        return -torch.log1p(-float64(t))

    def decay(self, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(float64(t))

    def inverse(self, alpha: Tensor) -> Tensor:
        """1 - alpha."""
        return (1.0 - float64(alpha)).clamp(0.0, 1.0)


@dataclass(frozen=True)
class LogLinear(NoiseSchedule):
    """alpha(t) = 1 - (1 - eps) t, so that sigma(1) = -log eps is finite (SEDD, MDLM).

    Args:
        eps: survival probability at t = 1.
    """

    eps: float = 1e-3

    def __post_init__(self) -> None:
        if not 0.0 < self.eps < 1.0:
            raise ValueError(f"eps={self.eps} must lie strictly between 0 and 1; Linear() is the case eps = 0.")

    def alpha(self, t: Tensor) -> Tensor:
        """1 - (1 - eps) t."""
        return 1.0 - (1.0 - self.eps) * float64(t)

    def sigma(self, t: Tensor) -> Tensor:
        """-log(1 - (1 - eps) t)."""
        return -torch.log1p(-(1.0 - self.eps) * float64(t))

    def decay(self, t: Tensor) -> Tensor:
        """1 - eps."""
        return torch.full_like(float64(t), 1.0 - self.eps)

    def inverse(self, alpha: Tensor) -> Tensor:
        """(1 - alpha) / (1 - eps)."""
        return ((1.0 - float64(alpha)) / (1.0 - self.eps)).clamp(0.0, 1.0)


@dataclass(frozen=True)
class Cosine(NoiseSchedule):
    """alpha(t) = 1 - cos(pi (1 - t) / 2)."""

    def alpha(self, t: Tensor) -> Tensor:
        """1 - sin(pi t / 2), written 2 sin^2(pi (1 - t) / 4) past the middle, to stay exact near both ends."""
        t = float64(t)
        late = 2.0 * torch.sin(math.pi / 4 * (1.0 - t)) ** 2
        return torch.where(t < 0.5, 1.0 - torch.sin(math.pi / 2 * t), late)

    def sigma(self, t: Tensor) -> Tensor:
        """-log alpha(t), by 1 - alpha = sin(pi t / 2) in the first half and by alpha itself in the second."""
        t = float64(t)
        return torch.where(t < 0.5, -torch.log1p(-torch.sin(math.pi / 2 * t)), -torch.log(self.alpha(t)))

    def decay(self, t: Tensor) -> Tensor:
        """pi / 2 cos(pi t / 2)."""
        return math.pi / 2 * torch.sin(math.pi / 2 * (1.0 - float64(t)))

    def rate(self, t: Tensor) -> Tensor:
        """decay(t) / alpha(t) = pi / 2 / tan(pi (1 - t) / 4)."""
        return math.pi / 2 / torch.tan(math.pi / 4 * (1.0 - float64(t)))

    def inverse(self, alpha: Tensor) -> Tensor:
        """2 / pi arcsin(1 - alpha)."""
        return 2 / math.pi * torch.arcsin((1.0 - float64(alpha)).clamp(0.0, 1.0))


@dataclass(frozen=True)
class Geometric(NoiseSchedule):
    """sigma(t) = smin^(1-t) smax^t - smin (SEDD's geometric noise, shifted to start at 0).

    Args:
        smin: scale of the noise near t = 0.
        smax: scale at t = 1; exp(-smax) of the tokens survive.
    """

    smin: float = 1e-4
    smax: float = 20.0

    def __post_init__(self) -> None:
        if not 0.0 < self.smin < self.smax < math.inf:
            raise ValueError(f"smin={self.smin} and smax={self.smax} must satisfy 0 < smin < smax.")

    @property
    def _log_ratio(self) -> float:
        return math.log(self.smax / self.smin)

    def sigma(self, t: Tensor) -> Tensor:
        """smin ((smax / smin)^t - 1)."""
        return self.smin * torch.expm1(float64(t) * self._log_ratio)

    def rate(self, t: Tensor) -> Tensor:
        """log(smax / smin) smin^(1-t) smax^t."""
        return self._log_ratio * self.smin * torch.exp(float64(t) * self._log_ratio)

    def decay(self, t: Tensor) -> Tensor:
        """rate(t) alpha(t)."""
        return self.rate(t) * self.alpha(t)

    def inverse(self, alpha: Tensor) -> Tensor:
        """log1p(-log(alpha) / smin) / log(smax / smin)."""
        noise = -torch.log(float64(alpha).clamp(0.0, 1.0))
        return (torch.log1p(noise / self.smin) / self._log_ratio).clamp(0.0, 1.0)


@dataclass(frozen=True)
class Constant(NoiseSchedule):
    """sigma(t) = total * t: a constant rate run for time ``total``."""

    total: float = 8.0

    def __post_init__(self) -> None:
        if not 0.0 < self.total < math.inf:
            raise ValueError(f"total={self.total} must be positive and finite.")

    def sigma(self, t: Tensor) -> Tensor:
        """total * t."""
        return self.total * float64(t)

    def rate(self, t: Tensor) -> Tensor:
        """total."""
        return torch.full_like(float64(t), self.total)

    def decay(self, t: Tensor) -> Tensor:
        """total exp(-total t)."""
        return self.total * self.alpha(t)

    def inverse(self, alpha: Tensor) -> Tensor:
        """-log(alpha) / total."""
        return (-torch.log(float64(alpha).clamp(0.0, 1.0)) / self.total).clamp(0.0, 1.0)
