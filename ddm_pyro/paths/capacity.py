"""How many jumps a path can have, and which chains have infinitely many."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddm_pyro.rates import Masked, RankOneRate, RateMatrix

if TYPE_CHECKING:
    from ddm_pyro.processes import Process

#: Probability that a path overflows the default max_jumps (which raises).
OVERFLOW = 1e-9


def default_max_jumps(process: Process, s: Tensor, t: Tensor) -> int:
    """Rows that a path on [s, t] fits into, but for a probability of 1e-9: one a masked position, else Poisson.

    The number of jumps is at most Poisson with mean the bound on the exit rate times the clock that passes.

    Raises:
        ValueError: no bound exists, or infinitely many jumps.
    """
    check_finitely_many(process, s, t)
    change = process.time_change
    if change is None:
        once, mean = 0, process.exit_bound(float(s.min()), float(t.max())) * float((t - s).max())
    else:
        groups = change.generator.groups
        once = sum(len(positions) for rate, positions in groups if isinstance(rate, Masked))
        bound = sum(rate.exit_bound() * len(positions) for rate, positions in groups if not isinstance(rate, Masked))
        mean = bound * float(change.elapsed(s, t).max()) if bound > 0 else 0.0
    if not math.isfinite(mean):
        raise ValueError(
            f"The exit rate of {process!r} has no finite bound on this interval, so the number of jumps has none; "
            "give max_jumps=."
        )
    return once + poisson_quantile(mean, OVERFLOW)


def poisson_quantile(mean: float, tail: float) -> int:
    """The smallest n with P(Poisson(mean) > n) <= tail.

    Example:
        >>> poisson_quantile(1.0, 0.3), poisson_quantile(0.0, 0.3)
        (1, 0)
    """
    low, high, expected = -1, 1, torch.tensor(mean, dtype=torch.float64)
    while poisson_tail(high, expected) > tail:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if poisson_tail(middle, expected) <= tail else (middle, high)
    return high


def poisson_tail(n: int, mean: Tensor) -> Tensor:
    """P(Poisson(mean) > n), of the shape of ``mean``."""
    return torch.special.gammainc(torch.full_like(mean, n + 1.0), mean)


def check_finitely_many(process: Process, s: Tensor, t: Tensor) -> None:
    """Raise ValueError when a path on [s, t] has infinitely many jumps."""
    change = process.time_change
    if change is None or bool(torch.isfinite(change.elapsed(s, t)).all()):
        return
    for rate, positions in change.generator.groups:
        if not _comes_to_rest(rate):
            raise ValueError(
                f"A path of {rate!r} at position {positions[0]} up to t={float(t.max()):.6g} has infinitely many "
                f"jumps, because {change.schedule!r} has alpha = 0 there; end the path earlier."
            )


def _comes_to_rest(rate: RateMatrix) -> bool:
    """Whether the chain is absorbed from every start. A countable one is taken to be: overflow stops the others."""
    if isinstance(rate, Masked) or rate.num_symbols is None:
        return True
    if isinstance(rate, RankOneRate):
        return int((rate.pi() > 0).sum()) == 1
    jumps = rate.matrix() > 0
    resting = ~jumps.any(-1)
    for _ in range(rate.num_symbols):
        resting = resting | (jumps & resting).any(-1)
    return bool(resting.all())
