"""The forward process R_t = schedule.rate(t) Q, positions independent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.arrays import float64
from ddm_pyro.distributions import AtomMixture, FactorizedCategorical
from ddm_pyro.paths import TimeChange
from ddm_pyro.processes.base import Process, time_on
from ddm_pyro.rates import KroneckerSum, RankOneRate, RateMatrix
from ddm_pyro.schedules import NoiseSchedule


class ForwardProcess(Process):
    """Positions evolve independently with generator schedule.rate(t) * Q.

    Args:
        rate: one RateMatrix for all positions, one a position, or a KroneckerSum.
        schedule: the noise schedule.
        length: L; needed only with a single rate.

    Raises:
        ValueError: length missing or disagreeing with the number of rates.

    Example:
        >>> from ddm_pyro.rates import Masked
        >>> from ddm_pyro.schedules import Linear
        >>> forward = ForwardProcess(Masked(3), Linear(), length=4)
        >>> forward.marginal(torch.tensor([0, 1, 2, 0]), 0.25).log_prob(torch.tensor([0, 3, 2, 0])).exp()
        tensor(0.1055, dtype=torch.float64)
    """

    def __init__(
        self,
        rate: RateMatrix | Sequence[RateMatrix] | KroneckerSum,
        schedule: NoiseSchedule,
        length: int | None = None,
    ) -> None:
        if not isinstance(schedule, NoiseSchedule):
            raise TypeError(f"schedule={schedule!r} must be a NoiseSchedule such as ddm_pyro.schedules.Linear().")
        if isinstance(rate, RateMatrix):
            if length is None:
                raise ValueError(f"ForwardProcess({rate!r}, ...) needs length=, the number of positions.")
            if length < 1:
                raise ValueError(f"length={length} must be at least 1.")
            joint = KroneckerSum([rate] * length)
        else:
            joint = rate if isinstance(rate, KroneckerSum) else KroneckerSum(rate)
            if length is not None and length != len(joint.rates):
                raise ValueError(f"length={length} disagrees with the {len(joint.rates)} rates given.")
        self.rate, self.joint, self.schedule, self.space = rate, joint, schedule, joint.space

    @property
    def length(self) -> int:
        """L, the number of positions."""
        return self.space.length

    @property
    def has_full_moves(self) -> bool:
        """Whether ``moves`` lists all A symbols in order."""
        return self.joint.has_full_moves

    @property
    def has_full_reach(self) -> bool:
        """Whether every token is refreshed from a law that is nowhere zero."""
        return all(isinstance(rate, RankOneRate) and rate.has_full_support for rate, _ in self.joint.groups)

    @property
    def time_change(self) -> TimeChange:
        """The schedule and the joint generator."""
        return TimeChange(self.schedule, self.joint)

    def prior(self) -> TorchDistribution:
        """All masks, or the product of the stationary laws."""
        if self.space.is_countable:
            return self._stationary_tokens().expand((self.length,)).to_event(1)
        if self._is_rank_one:
            base = self._base(torch.get_default_device())
            atoms = torch.zeros(self.length, 1, dtype=torch.int64)
            weights = torch.zeros(self.length, 1, dtype=torch.float64)
            return AtomMixture(atoms, weights, base, validate_args=False).on(self.space)
        table = torch.zeros(self.length, self.space.num_symbols, dtype=torch.float64)
        for rate, positions in self.joint.groups:
            columns = [*range(rate.vocab_size or 0), *([self.space.vocab_size] if rate.has_mask else [])]
            table[torch.tensor(positions).unsqueeze(-1), torch.tensor(columns)] = rate.stationary().probs.to(table)
        return FactorizedCategorical(table, validate_args=False).on(self.space)

    def _stationary_tokens(self) -> TorchDistribution:
        if not self.joint.is_homogeneous:
            raise NotImplementedError(
                "A countable process with different rates a position has no built-in prior; give start= to sample()."
            )
        return self.joint.rates[0].stationary()

    def moves(self, x: Tensor) -> Tensor:
        """Symbols each position can jump to or from, (..., L, M)."""
        return self.joint.moves(x)

    def out_rates(self, x: Tensor, t: Tensor) -> Tensor:
        """schedule.rate(t) Q[x^l, move]."""
        return self._timed(self.joint.out_rates(x), x, t)

    def in_rates(self, x: Tensor, t: Tensor) -> Tensor:
        """schedule.rate(t) Q[move, x^l]."""
        return self._timed(self.joint.in_rates(x), x, t)

    def _timed(self, rates: Tensor, x: Tensor, t: Any) -> Tensor:
        rate = self.schedule.rate(time_on(x, t))[..., None, None]
        # An infinite rate times a forbidden jump is no jump.
        return torch.where(rates > 0, rate * rates, 0.0)

    def exit_bound(self, s: float, t: float) -> float:
        """max of schedule.rate over 65 points of [s, t], times the largest total exit rate."""
        times = torch.linspace(s, t, 65, dtype=torch.float64, device="cpu")
        return float(self.schedule.rate(times).max()) * self.joint.exit_bound()

    def noise(self, s: Any, t: Any) -> Tensor:
        """sigma(t) - sigma(s); 0 when both are at the same infinite end."""
        high, low = self.schedule.sigma(float64(t)), self.schedule.sigma(float64(s))
        return torch.where(high == low, 0.0, high - low)

    def evolve(self, p: Tensor, s: Any, t: Any) -> Tensor:
        """p exp((sigma(t) - sigma(s)) Q) a position."""
        return self.joint.evolve(p, self.noise(time_on(p, s), time_on(p, t)))

    def likelihood(self, x: Tensor, s: Any, t: Any) -> Tensor:
        """v -> exp((sigma(t) - sigma(s)) Q)[v, x]."""
        return self.joint.likelihood(x, self.noise(time_on(x, s), time_on(x, t)))

    def row(self, x: Tensor, s: Any, t: Any) -> Tensor:
        """exp((sigma(t) - sigma(s)) Q)[x, .]."""
        return self.joint.row(x, self.noise(time_on(x, s), time_on(x, t)))

    def push(self, pmf: Tensor, s: Any, t: Any) -> Tensor:
        """A flat pmf over ``space`` carried from s to t, exactly."""
        return self.joint.push(pmf, self.noise(s, t))

    @property
    def is_masked(self) -> bool:
        """Whether all the noise does is turn every token into the mask, at one speed."""
        return self._masking_speed is not None

    @cached_property
    def _masking_speed(self) -> float | None:
        speeds = {rate.masking_speed for rate, _ in self.joint.groups}
        return speeds.pop() if len(speeds) == 1 else None

    def mask_probability(self, t: Tensor) -> Tensor:
        """1 - alpha(t)^c of a process that masks at speed c (1 for ``Masked``)."""
        return -torch.expm1(-self._speed() * self.schedule.sigma(float64(t)))

    def mask_decay(self, t: Tensor) -> Tensor:
        """d/dt of ``mask_probability``: -alpha'(t) c alpha(t)^(c-1)."""
        speed, t = self._speed(), float64(t)
        decay = self.schedule.decay(t)
        return decay if speed == 1.0 else speed * decay * self.schedule.alpha(t) ** (speed - 1.0)

    def _speed(self) -> float:
        if self._masking_speed is None:
            raise NotImplementedError(
                f"{self!r} is not a masked process: its noise is not a mask that every token reaches at one speed."
            )
        return self._masking_speed

    @property
    def _is_rank_one(self) -> bool:
        return all(isinstance(rate, RankOneRate) for rate, _ in self.joint.groups)

    def _base(self, device: torch.device) -> Tensor:
        if self.joint.is_homogeneous:
            return self.joint.rates[0].pi(device).unsqueeze(0)  # type: ignore[attr-defined]
        return self.joint.row(
            torch.zeros(self.length, dtype=torch.int64, device=device),
            torch.full((), torch.inf, dtype=torch.float64, device=device),
        )

    def _pi_at(self, x: Tensor) -> Tensor:
        if self.joint.is_homogeneous:
            return self.joint.rates[0].pi_at(x)  # type: ignore[attr-defined]
        base = self._base(x.device)
        return base.expand(*x.shape, -1).gather(-1, x.unsqueeze(-1)).squeeze(-1)

    def _transition(self, xs: Tensor, s: Tensor, t: Tensor) -> TorchDistribution:
        noise = self.noise(s, t).unsqueeze(-1)
        if self.space.is_countable:
            parts = [rate.transition(xs[..., positions], noise) for rate, positions in self.joint.groups]
            if len(parts) > 1:
                raise NotImplementedError("Countable alphabets need one rate object for all positions.")
            return parts[0].to_event(1)
        if not self._is_rank_one:
            return super()._transition(xs, s, t)
        weights = torch.exp(-noise).expand(torch.broadcast_shapes(noise.shape, xs.shape)).unsqueeze(-1)
        return AtomMixture(xs.unsqueeze(-1), weights, self._base(xs.device), validate_args=False)

    def _bridge(self, x0: Tensor, xt: Tensor, s: Tensor, t: Tensor) -> TorchDistribution:
        if not self._is_rank_one:
            return super()._bridge(x0, xt, s, t)
        x0, xt = torch.broadcast_tensors(x0, xt)
        first, last = self.noise(torch.zeros_like(s), s).unsqueeze(-1), self.noise(s, t).unsqueeze(-1)
        pi = self._pi_at(xt)
        # P_s(x0, v) P_st(v, xt) expands into: no refresh on one side, the other, both, or neither.
        at_start = torch.exp(-first) * -torch.expm1(-last) * pi + torch.exp(-first - last) * (x0 == xt)
        at_end = -torch.expm1(-first) * torch.exp(-last) * self._pi_at(xt)
        free = torch.expm1(-first) * torch.expm1(-last) * pi
        weights = torch.stack([at_start, at_end], -1) / (at_start + at_end + free).unsqueeze(-1)
        return AtomMixture(torch.stack([x0, xt], -1), weights, self._base(xt.device), validate_args=False)

    def __repr__(self) -> str:
        return f"ForwardProcess({self.joint!r}, {self.schedule!r})"
