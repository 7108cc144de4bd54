"""How to spend steps on a masked process: mask-size schedules and time grids from the information curve.

The information curve of a law is Hbar(n), the mean entropy of one token given n others, positions and sets uniform;
n = 0 .. L-1, nats. With an exact predictor, revealing s positions at once when n are known costs
c(n, s) = sum_{k<s} Hbar(n) - Hbar(n + k) nats of mask-conditional KL (Li and Cai, arXiv 2505.21400, made exact).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddm_pyro.arrays import float64

if TYPE_CHECKING:
    from ddm_pyro.processes import Process

#: Points of alpha in [0, 1] at which the error density of a grid is integrated.
GRID_POINTS = 4097


def block_costs(curve: Any) -> Tensor:
    """c(n, s), the error of revealing s positions at once when n are known: (L, L + 1), inf where n + s > L.

    Example:
        >>> block_costs([2.0, 1.5, 1.25])[0].tolist()
        [0.0, 0.0, 0.5, 1.25]
    """
    curve = check_curve(curve)
    length = len(curve)
    known, size = torch.arange(length).unsqueeze(-1), torch.arange(length + 1)
    total = torch.cat([curve.new_zeros(1), curve.cumsum(0)])
    revealed = total[(known + size).clamp(max=length)] - total[known]
    return torch.where(known + size <= length, size * curve.unsqueeze(-1) - revealed, torch.inf)


def reveal_error(curve: Any, sizes: Sequence[int]) -> float:
    """Mask-conditional KL, in nats, of k-unmask with these sizes and an exact predictor.

    Args:
        curve: Hbar(0 .. L-1).
        sizes: positive, in generation order, summing to L.

    Raises:
        ValueError: sizes that do not sum to L.

    Example:
        >>> reveal_error([2.0, 1.5, 1.25], [2, 1]), reveal_error([2.0, 1.5, 1.25], [1, 1, 1])
        (0.5, 0.0)
    """
    costs = block_costs(curve)
    if min(sizes, default=0) < 1 or sum(sizes) != len(costs):
        raise ValueError(f"sizes={list(sizes)} must be positive and sum to the length {len(costs)}.")
    known = [sum(sizes[:k]) for k in range(len(sizes))]
    return float(sum(costs[n, s] for n, s in zip(known, sizes, strict=True)))


def balanced_sizes(length: int, steps: int) -> tuple[int, ...]:
    """``steps`` sizes as equal as can be, the larger ones first in generation order.

    Example:
        >>> balanced_sizes(32, 5)
        (7, 7, 6, 6, 6)
    """
    check_steps(length, steps)
    size, extra = divmod(length, steps)
    return (size + 1,) * extra + (size,) * (steps - extra)


def optimal_sizes(curve: Any, steps: int) -> tuple[int, ...]:
    """The sizes of k-unmask that minimize ``reveal_error`` in ``steps`` steps, by dynamic programming, O(T L^2).

    Example:
        >>> optimal_sizes([2.0, 1.0, 1.0, 1.0], 2)
        (1, 3)
    """
    costs = block_costs(curve)
    length = len(costs)
    check_steps(length, steps)
    # best[n] = least error of revealing positions n .. L-1 in the steps left; choice records the first size.
    best = torch.full((length + 1,), torch.inf, dtype=torch.float64)
    best[length] = 0.0
    choices = []
    known, size = torch.arange(length).unsqueeze(-1), torch.arange(1, length + 1)
    after = (known + size).clamp(max=length)
    for _ in range(steps):
        best_now, choice = (costs[:, 1:] + best[after]).min(-1)
        best = torch.cat([best_now, best.new_full((1,), torch.inf)])
        choices.append(choice + 1)
    sizes, n = [], 0
    for choice in reversed(choices):
        sizes.append(int(choice[n]))
        n += sizes[-1]
    return tuple(sizes)


def grid_error(curve: Any, process: Process, times: Any) -> float:
    """Path KL, in nats, of the ancestral sampler of a masked process on a grid, with an exact predictor.

    sum_k E c(n_k, s_k): n_k of the L positions are known at t_k, s_k are revealed in the step, both binomial. The grid
    starts from all masks; what is left at its end counts as revealed at once (the final denoising).

    Example:
        >>> from ddm_pyro.processes import ForwardProcess
        >>> from ddm_pyro.rates import Masked
        >>> from ddm_pyro.schedules import Linear
        >>> round(grid_error([2.0, 1.0], ForwardProcess(Masked(9), Linear(), length=2), [1.0, 0.5, 0.0]), 4)
        0.5
    """
    costs = block_costs(curve)
    length = len(costs)
    masked = process.mask_probability(float64(times))
    masked = torch.cat([masked / masked[0], masked.new_zeros(1)]) if float(masked[-1]) > 0 else masked / masked[0]
    total = 0.0
    for now, after in zip(masked[:-1].tolist(), masked[1:].tolist(), strict=True):
        known = _binomial(length, 1.0 - now)
        reveal = 1.0 - after / now
        for n in range(length):
            if known[n] > 0:
                weights = _binomial(length - n, reveal)
                total += float(known[n] * (weights * costs[n, : length - n + 1]).sum())
    return total


def information_grid(curve: Any, process: Process, steps: int) -> Tensor:
    """Times (steps + 1,) from 1 to 0 at which the ancestral sampler makes equal errors a step, to leading order.

    A step that takes alpha to alpha + d costs w(alpha) d^2 / 2 to leading order, with
    w(alpha) = L (L-1) E[Hbar(n) - Hbar(n+1)], n ~ Binomial(L-2, alpha); the least total puts the times at equal
    increments of the integral of sqrt(w).

    Raises:
        ValueError: a process without masks, or steps below 1.
    """
    curve = check_curve(curve)
    length = len(curve)
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1.")
    ends = process.mask_probability(torch.tensor([1.0, 0.0], dtype=torch.float64))
    alpha = torch.linspace(0.0, 1.0, GRID_POINTS, dtype=torch.float64)
    if length < 2 or float(curve[0] - curve[-1]) <= 0.0:
        wanted = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)
    else:
        drop = (curve[:-1] - curve[1:]).clamp(min=0.0)
        density = (_binomial(length - 2, alpha.unsqueeze(-1)) @ drop).sqrt()
        mass = torch.cat([density.new_zeros(1), torch.cumulative_trapezoid(density, alpha)])
        wanted = _interpolate(torch.linspace(0.0, float(mass[-1]), steps + 1, dtype=torch.float64), mass, alpha)
    # alpha runs from that of t = 1 to 1: the error lives on the share of positions revealed since the start.
    return _time_of(process, 1.0 - ends[0] * (1.0 - wanted))


def check_curve(curve: Any) -> Tensor:
    """Return an information curve as float64, or raise ValueError: it must be finite and must not increase."""
    curve = float64(curve).detach().cpu()
    if curve.dim() != 1 or len(curve) == 0 or not bool(torch.isfinite(curve).all()):
        raise ValueError(f"The information curve has shape {tuple(curve.shape)}; give L finite entropies in nats.")
    rises = (curve[1:] - curve[:-1]) > 1e-9
    if bool(rises.any()):
        n = int(rises.nonzero()[0])
        raise ValueError(
            f"The information curve rises from {float(curve[n]):.6g} to {float(curve[n + 1]):.6g} at n={n + 1}; "
            "knowing more never adds entropy."
        )
    return curve


def check_steps(length: int, steps: int) -> None:
    """Raise ValueError unless 1 <= steps <= length."""
    if not 1 <= steps <= length:
        raise ValueError(f"steps={steps} must lie between 1 and {length}: every step reveals at least one position.")


def _binomial(n: int, p: float | Tensor) -> Tensor:
    """Binomial probabilities of 0 .. n, (..., n + 1) for p (..., 1)."""
    k = torch.arange(n + 1, dtype=torch.float64)
    p_ = float64(p).clamp(0.0, 1.0)
    log_choose = math.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    return (log_choose + torch.xlogy(k, p_) + torch.special.xlog1py(n - k, -p_)).exp()


def _interpolate(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    right = torch.searchsorted(xs, x).clamp(1, len(xs) - 1)
    low, high = xs[right - 1], xs[right]
    share = torch.where(high > low, (x - low) / (high - low), 0.0)
    return ys[right - 1] + share * (ys[right] - ys[right - 1])


def _time_of(process: Process, alpha: Tensor) -> Tensor:
    schedule = getattr(process, "schedule", None)
    if schedule is None:
        raise ValueError(f"{process!r} has no schedule to invert.")
    times = schedule.inverse(alpha)
    times[0], times[-1] = 1.0, 0.0
    return times
