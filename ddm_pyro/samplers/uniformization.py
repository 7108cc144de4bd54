"""Uniformization: the reverse jump process without time discretization."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.rates import RankOneRate
from ddm_pyro.samplers.base import Sampler
from ddm_pyro.samplers.events import SampleOnly, joint_generator, simulate

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.processes import Process

#: Points of a step at which the bound of a position's reverse rate is evaluated.
BOUND_POINTS = 65
#: Relative room above the largest of them, for rounding.
BOUND_ROOM = 1e-6


@dataclass(frozen=True)
class Uniformization(Sampler):
    """Events ring at a rate that bounds the reverse rate; each is a jump with probability rate / bound.

    Exact in time for the model's rates (Chen and Ying, arXiv 2402.08095). Reverse rates blow up at t = 0, so the grid
    stops at ``early_stopping`` and the final denoising draws the rest. One network call an event and a host
    synchronisation with it.

    Args:
        bound: total reverse rate of one position over any step; None derives one from the process, valid for every
            model with an x0 head (its rates are averages over x_0 of the bridge's).
        early_stopping: last time of the grid, in (0, 1); steps are geometric.

    Raises:
        ValueError: a bound or time out of range; in a run, a rate above its bound.
    """

    bound: float | None = None
    early_stopping: float = 1e-3
    syncs: ClassVar[bool] = True
    leaves_noise: ClassVar[bool] = True
    uses_rates: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.bound is not None and not 0.0 < self.bound < np.inf:
            raise ValueError(f"bound={self.bound} must be positive and finite.")
        if not 0.0 < self.early_stopping < 1.0:
            raise ValueError(f"early_stopping={self.early_stopping} must lie strictly between 0 and 1.")

    def grid(self, process: Process, steps: int) -> Tensor:
        """Geometric times from 1 to ``early_stopping``."""
        return self.early_stopping ** torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)

    def step(self, model: Parameterization, x: Tensor, t: Tensor, s: Tensor) -> TorchDistribution:
        """Law of X_s given X_t = x; it can only be sampled."""
        process = model.process
        per_position = self.bound if self.bound is not None else reverse_rate_bound(process, float(s), float(t))

        # A masked row only ever loses masks, so its number at the start bounds the step.
        free = process.space.is_mask(x).sum(-1) if process.is_masked else torch.full_like(x[:, 0], x.shape[-1])
        draw = partial(simulate, model, x, t, s, ceiling=free.double() * per_position)
        return SampleOnly(draw, x.shape, "core/uniformization")

    def push(self, model: Parameterization, pmf: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The Kolmogorov forward equation of the reverse process from t to s, to 1e-10."""
        from scipy.integrate import solve_ivp  # here: its import changes warning filters

        space = model.process.space

        def flow(elapsed: float, p: np.ndarray) -> np.ndarray:
            return joint_generator(model, t - elapsed, space).T @ p

        solution = solve_ivp(flow, (0.0, float(t - s)), pmf.numpy(), method="DOP853", rtol=1e-10, atol=1e-13)
        if not solution.success:
            raise ValueError(
                f"The exact law of core/uniformization from t={float(t):.4g} to s={float(s):.4g} "
                f"failed: {solution.message}"
            )
        return torch.from_numpy(solution.y[:, -1]).clamp(min=0.0)


def reverse_rate_bound(process: Process, s: float, t: float) -> float:
    """A bound on the total reverse rate of a position over [s, t] for any model with an x0 head.

    Such a model's rate is an average over u of sum_y R_t[y, x] K(u, y) / K(u, x); the bound is its maximum over u, x.
    Raises ValueError where it is infinite.
    """
    times = torch.linspace(s, t, BOUND_POINTS, dtype=torch.float64, device="cpu")
    rates = _bridge_rates(process, times)
    worst = float(rates.max()) * (1.0 + BOUND_ROOM)
    if not np.isfinite(worst):
        raise ValueError(
            f"The reverse rate is unbounded on [{s:.4g}, {t:.4g}], so uniformization cannot run there; "
            "end the grid above 0, and start below 1 when alpha(1) = 0."
        )
    return worst


def _bridge_rates(process: Process, times: Tensor) -> Tensor:
    if process.is_masked:
        return process.mask_decay(times) / process.mask_probability(times)
    joint = getattr(process, "joint", None)
    if joint is not None and all(isinstance(rate, RankOneRate) for rate in joint.rates):
        schedule, refreshed = process.schedule, -torch.expm1(-process.schedule.sigma(times))  # type: ignore[attr-defined]
        worst = torch.zeros_like(times)
        for rate, _ in joint.groups:
            pi = rate.pi("cpu")
            # u != x: sum_{y != x} pi[x] K(u, y) / K(u, x) with K(u, x) = (1 - a) pi[x]; largest for the rarest x.
            worst = torch.maximum(worst, schedule.rate(times) * (1.0 / refreshed - pi[pi > 0].min()))
        return worst
    if process.space.num_symbols > 512:
        raise ValueError(
            "No reverse-rate bound is known for this process at this vocabulary; pass bound= to core/uniformization."
        )
    return torch.stack([_dense_bridge_rate(process, time) for time in times])


def _dense_bridge_rate(process: Process, time: Tensor) -> Tensor:
    symbols = torch.arange(process.space.num_symbols)
    sizes = torch.tensor(process.space.position_sizes)
    # Rows past a position's alphabet repeat its last token, which leaves the maximum as it is.
    x = torch.minimum(symbols.unsqueeze(-1), sizes - 1)
    kernel = process.likelihood(x, torch.zeros_like(time), time)  # (A, L, A): [x, l, u] = K_l(u, x)
    moves, rates = process.moves(x), process.in_rates(x, time)  # (A, L, M)
    to = torch.stack([kernel[moves[:, at], at] for at in range(process.space.length)], 1)  # (A, L, M, A): K_l(u, move)
    total = (rates.unsqueeze(-1) * to).sum(-2)
    valid = (symbols < sizes.unsqueeze(-1)) & (kernel > 0)  # tokens u that position l has, and that can become x
    return torch.where(valid, total / kernel, 0.0).max()
