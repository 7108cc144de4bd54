"""The bound on -log p(x_0) of a sampler that takes finitely many steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from numbers import Integral
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.arrays import OnDevice, has_data
from ddm_pyro.distributions import JumpLaw, LazyLaw, SequenceLaw
from ddm_pyro.losses.base import Loss, aligned_time
from ddm_pyro.losses.divergence import divergence, log_or_minus_infinity
from ddm_pyro.losses.masked import masked_cross_entropy, reveal_rate
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.samplers import Ancestral, Sampler

#: A time this close to a grid time is that grid time: float32 times and evenly spaced grids round.
GRID_ROUNDING = 1e-6


@dataclass(frozen=True)
class DiscreteNELBO(Loss):
    """Negative evidence lower bound of N steps (Sohl-Dickstein et al., 1503.03585; D3PM, Austin et al., 2107.03006).

    integrand at the grid time t_k = N KL(q(x_s | x_0, x_t) || p(x_s | x_t)), t = t_k, s = t_{k-1},

    p the step law of ``sampler``, 0 = t_0 < ... < t_N = 1. Its mean over k uniform in 1 .. N, plus ``constant``, is at
    least -log p(x_0) of what ``sample`` draws with that grid; the step to s = 0 contributes -log p(x_0 | x_t). As N
    grows it tends to ``NELBO``. Times are those of the grid: ``noise_time`` takes u in ((k-1)/N, k/N] to t_k, where
    ``fit`` draws x_t.

    Args:
        steps: N, for an evenly spaced grid; or
        times: the grid, decreasing from 1 to 0.
        sampler: whose steps; its step law must be independent between positions given x_t.

    Raises:
        ValueError: not exactly one of ``steps`` and ``times``, or a bad one; in a call, a time off the grid, or a step
            whose law has no table a position.

    Example:
        >>> from ddm_pyro.targets import Product
        >>> from ddm_pyro import ForwardProcess, rates, schedules
        >>> forward = ForwardProcess(rates.Masked(2), schedules.Linear(), length=1)
        >>> exact = Product(torch.tensor([[0.25, 0.75]])).denoiser(forward)
        >>> loss = DiscreteNELBO(4)  # a mask at t = 1/2 is revealed by t = 1/4 with probability 1/2
        >>> loss(exact, torch.tensor([[1]]), torch.tensor([[2]]), torch.tensor([0.5]))  # -4 log(0.75) / 2
        tensor([0.5754], dtype=torch.float64)
    """

    steps: int | None = None
    times: Sequence[float] | None = None
    sampler: Sampler = field(default_factory=Ancestral)

    is_bound = True

    def __post_init__(self) -> None:
        if not isinstance(self.sampler, Sampler):
            raise TypeError(f"sampler={self.sampler!r} must be a Sampler such as ddm_pyro.samplers.Ancestral().")
        if (self.steps is None) == (self.times is None):
            raise ValueError(
                f"DiscreteNELBO needs steps= or times=, one of them; got {self.steps!r} and {self.times!r}."
            )
        if self.times is None:
            if isinstance(self.steps, bool) or not isinstance(self.steps, Integral) or self.steps < 1:
                raise ValueError(f"steps={self.steps!r} must be a whole number of at least 1.")
            return
        times = tuple(float(time) for time in self.times)
        if len(times) < 2 or times[0] != 1.0 or times[-1] != 0.0 or not all(a > b for a, b in pairwise(times)):
            raise ValueError(f"times={list(times)} must decrease strictly from 1 to 0: t = 1 is noise, t = 0 data.")
        object.__setattr__(self, "times", times)

    @property
    def minimizer(self) -> str:
        """What the objective is minimised by."""
        if isinstance(self.sampler, Ancestral):
            return "the x0-posterior of the data"
        return "the model whose steps are nearest to the bridges of the data, in KL"

    @cached_property
    def _grid(self) -> OnDevice:
        """0 = t_0 < ... < t_N = 1."""
        if self.times is not None:
            return OnDevice(torch.tensor(self.times[::-1], dtype=torch.float64, device="cpu"))
        return OnDevice(torch.linspace(1.0, 0.0, int(self.steps or 1) + 1, dtype=torch.float64, device="cpu").flip(0))

    def noise_time(self, u: Tensor) -> Tensor:
        """t_k for u in ((k-1)/N, k/N], t_1 for u = 0."""
        grid = self._grid.on(u.device)
        steps = len(grid) - 1
        return grid[(u.double() * steps).ceil().long().clamp(1, steps)]

    def __call__(self, model: Parameterization, x0: Tensor, xt: Tensor, t: Any) -> Tensor:
        """The integrand, (...,); ``t`` on the grid, not 0."""
        time = aligned_time(model, x0, xt, t)
        time, before = self._step_at(time)
        steps = len(self._grid.on(time.device)) - 1
        process = model.process
        if type(self.sampler) is Ancestral and reveal_rate(process, time) is not None:
            # Bridge and step reveal at the same rate, so that only what is revealed differs.
            weight = self.sampler.reveal(process, time, before)
            return steps * weight * masked_cross_entropy(model, x0, xt, time).double()
        return steps * self._divergence(model, x0, xt, time, before)

    def _divergence(self, model: Parameterization, x0: Tensor, xt: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """KL(bridge || step), (...,)."""
        batch, length = xt.shape[:-1], xt.shape[-1]
        x0, xt = x0.reshape(-1, length), xt.reshape(-1, length)
        t, s = t.reshape(-1), s.reshape(-1)
        with torch.no_grad():
            bridge = table_of(model.process.bridge(x0, xt, s, t, validate_args=False), "the bridge")
        step = table_of(self.sampler.step(model, xt, t, s), f"a step of {self.sampler!r}")
        parts = divergence(log_or_minus_infinity(bridge), log_or_minus_infinity(step))
        return parts.sum((-2, -1)).reshape(batch)

    def _step_at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The grid time that ``t`` is, and the one below it."""
        grid = self._grid.on(t.device)
        k = torch.searchsorted(grid, (t - GRID_ROUNDING).contiguous()).clamp(1, len(grid) - 1)
        off = (grid[k] - t).abs() > GRID_ROUNDING
        if t.device.type == "cpu" and has_data(t) and bool(off.any()):
            raise ValueError(
                f"t={float(t[off][0]):.6g} is no time of {self!r}; draw x_t at loss.noise_time(u), u uniform on (0, 1]."
            )
        return grid[k], grid[k - 1]


def table_of(law: TorchDistribution, what: str) -> Tensor:
    """Probabilities of the symbols of independent positions, (..., L, A). Raises ValueError for any other law."""
    law = law.law if isinstance(law, LazyLaw) else law
    if not isinstance(law, (SequenceLaw, JumpLaw)) or law.num_symbols is None:
        raise ValueError(
            f"DiscreteNELBO compares tables a position, which {what} does not have: it is a {type(law).__name__}; "
            "use Ancestral(), Euler() or TauLeaping() on a finite alphabet."
        )
    table: Tensor = law.table()
    return table
