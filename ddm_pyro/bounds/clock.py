"""The variable that reverse rates are integrated in: one in which they stay tame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddm_pyro.arrays import float64

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.processes import Process

#: Noise sigma = -log alpha past which integrals are cut where alpha(1) = 0; exp(-36) is rounding.
NOISE_END = 36.0

#: First panel of an integral that starts at t = 0, where rates of unseen states may be singular.
FIRST_PANEL = 1e-9

#: Each further panel ends so many times later.
GROWTH = 8.0

#: Equal parts of [0, 1] that no panel reaches across for a model that depends on time: what it does within a
#: hundredth of the time is then seen, whatever the noise.
PARTS = 16

#: Halvings that invert a monotone function of time.
BISECTIONS = 64


@dataclass(frozen=True)
class Clock:
    """A change of time u: integrals over [low, high] of f(t(u)) dt/du.

    Attributes:
        low, high: u at the end of the reverse process and at t = 1.
        time: u -> t.
        pace: t -> dt/du.
        edges: panels to start from.
        cut: whether the integral would go on to infinity.
    """

    low: float
    high: float
    time: Callable[[Tensor], Tensor]
    pace: Callable[[Tensor], Tensor]
    edges: tuple[float, ...]
    cut: bool = False


def clock_of(process: Process, model: Parameterization, stop: float) -> Clock:
    """The probability of a mask for masked processes, the noise sigma for other schedules, else t itself."""
    schedule = getattr(process, "schedule", None)
    if process.is_masked:
        low, high = (float(process.mask_probability(float64(t))) for t in (stop, 1.0))
        edges = (low, high) if model.time_free else _parted(_graded(low, high), process.mask_probability)

        def pace(t: Tensor) -> Tensor:
            return 1.0 / process.mask_decay(t)

        return Clock(low, high, lambda q: _inverse(process.mask_probability, q), pace, edges)
    if schedule is not None:
        low, end = (float(schedule.sigma(float64(t))) for t in (stop, 1.0))
        high = min(end, NOISE_END)
        time = lambda u: schedule.inverse(torch.exp(-u))  # noqa: E731
        edges = _parted(_graded(low, high), schedule.sigma)
        return Clock(low, high, time, lambda t: 1.0 / schedule.rate(t), edges, cut=end > NOISE_END)
    return Clock(stop, 1.0, lambda u: u, torch.ones_like, _parted(_graded(stop, 1.0), lambda t: t))


def _graded(low: float, high: float) -> tuple[float, ...]:
    """Panels that grow geometrically away from 0."""
    first = FIRST_PANEL if low == 0.0 else low * GROWTH
    inner = []
    while first < high:
        inner.append(first)
        first *= GROWTH
    return (low, *inner, high)


def _parted(edges: tuple[float, ...], of_time: Callable[[Tensor], Tensor]) -> tuple[float, ...]:
    """With the values at equal parts of time as well, past the first two panels, which are for singularities."""
    parts = [float(of_time(float64(k / PARTS))) for k in range(1, PARTS)]
    after = edges[2] if len(edges) > 2 else edges[0]
    return tuple(sorted({*edges, *(u for u in parts if after < u < edges[-1])}))


def _inverse(f: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    """The time at which an increasing f takes a value."""
    low, high = torch.zeros_like(value), torch.ones_like(value)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = f(middle) < value
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2
