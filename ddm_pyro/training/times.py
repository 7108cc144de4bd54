"""Where in [0, 1] a batch looks: laws of its times whose weighted mean is the integral over t ~ U(0, 1)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from ddm_pyro import random

#: Equal slices of [0, 1] on which ``times="importance"`` keeps one density each.
TIME_BINS = 32
#: Share of the proposal that stays uniform: no weight is above its inverse.
UNIFORM_SHARE = 0.1
#: What a step leaves of the moments of the steps before it.
MOMENT_DECAY = 0.95
#: The largest float64 below 1: noise has time 1 only where a grid says so.
BELOW_ONE = 1.0 - 2.0**-53


class Times(ABC):
    """The law of the numbers u in [0, 1) of a batch, and the weights that keep the mean of a loss unbiased.

    E[sum_i w_i f(u_i)] / B = integral of f over [0, 1], for every f and whatever state the law is in.
    """

    @abstractmethod
    def draw(self, size: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """u (B,) float64 and weights (B,), None for weights of 1."""

    def update(self, u: Tensor, values: Tensor) -> None:  # noqa: B027
        """Take in the losses (B,) at ``u``."""

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must keep."""
        return {}

    def load(self, state: dict[str, Tensor]) -> None:  # noqa: B027
        """The state of a checkpoint."""


class UniformTimes(Times):
    """Independent times."""

    def draw(self, size: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """One uniform a row."""
        return random.uniform((size,), device), None


class StratifiedTimes(Times):
    """One time in each of B equal slices, in order."""

    def draw(self, size: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """(i + uniform) / B."""
        return strata(size, device), None


class AntitheticTimes(Times):
    """Rows 2k and 2k + 1 of a batch at u and 1 - u."""

    def draw(self, size: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Pairs that mirror each other; the last row of an odd batch is alone."""
        u = random.uniform((size,), device)
        mirrored = 1.0 - u.roll(1)
        odd = torch.arange(size, device=device) % 2 == 1
        return torch.where(odd, mirrored, u).clamp(max=BELOW_ONE), None


class WeightedTimes(Times):
    """Times of a density that is constant on equal slices of [0, 1], stratified by its own quantiles.

    Args:
        law: probabilities of the slices, (K,) float64, positive.

    Example:
        >>> u, weight = WeightedTimes(torch.tensor([0.25, 0.75])).draw(1000, torch.device("cpu"))
        >>> float((u < 0.5).double().mean()), sorted(set(weight.tolist()))  # 1 / (2 * 0.75) and 1 / (2 * 0.25)
        (0.25, [0.6666666666666666, 2.0])
    """

    def __init__(self, law: Tensor) -> None:
        self._law = law.double()

    def law(self) -> Tensor:
        """Probabilities of the slices, (K,)."""
        return self._law

    def draw(self, size: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """F^-1 of stratified uniforms, and 1 / density."""
        law = self.law().to(device)
        edges = law.cumsum(0)
        v = strata(size, device) * edges[-1]
        slice_ = torch.searchsorted(edges, v, right=True).clamp(max=len(law) - 1)
        inside = (v - (edges[slice_] - law[slice_])) / law[slice_]
        u = (slice_ + inside.clamp(0.0, 1.0)) / len(law)
        return u.clamp(max=BELOW_ONE), edges[-1] / (len(law) * law[slice_])


class ImportanceTimes(WeightedTimes):
    """Density proportional to the root of a running mean of loss^2, slice by slice, mixed with the uniform one.

    That root is the density of least variance of the weighted loss. The law a batch is drawn from depends on earlier
    batches only, so that its weighted mean is unbiased; slices not seen so far count as the average one.
    """

    def __init__(self, device: torch.device) -> None:
        self.squares = torch.zeros(TIME_BINS, dtype=torch.float64, device=device)
        self.counts = torch.zeros_like(self.squares)

    def law(self) -> Tensor:
        """(1 - UNIFORM_SHARE) of the estimate and UNIFORM_SHARE of the uniform law, (K,)."""
        seen = self.counts > 0
        root = torch.where(seen, self.squares / torch.where(seen, self.counts, 1.0), 0.0).sqrt()
        average = root.sum() / seen.sum().clamp(min=1)
        root = torch.where(seen, root, average)
        total = root.sum()
        estimate = torch.where(total > 0, root / torch.where(total > 0, total, 1.0), 1.0 / TIME_BINS)
        return (1.0 - UNIFORM_SHARE) * estimate + UNIFORM_SHARE / TIME_BINS

    def update(self, u: Tensor, values: Tensor) -> None:
        """squares <- MOMENT_DECAY squares + sum of loss^2 in the slice, and the counts likewise."""
        slice_ = (u * TIME_BINS).long().clamp(max=TIME_BINS - 1)
        self.squares = (MOMENT_DECAY * self.squares).index_add(0, slice_, values.double().square())
        self.counts = (MOMENT_DECAY * self.counts).index_add(0, slice_, torch.ones_like(u))

    def state(self) -> dict[str, Tensor]:
        """The two running sums."""
        return {"squares": self.squares, "counts": self.counts}

    def load(self, state: dict[str, Tensor]) -> None:
        """The sums of a checkpoint."""
        self.squares, self.counts = (state[name].to(self.squares) for name in ("squares", "counts"))


def strata(size: int, device: torch.device) -> Tensor:
    """(i + uniform) / size, i = 0 .. size - 1."""
    return (torch.arange(size, device=device) + random.uniform((size,), device)) / size


def open_times(times: str | Sequence[float], device: torch.device) -> Times:
    """The law a (checked) setting names; a sequence holds the weights of equal slices."""
    if not isinstance(times, str):
        weights = torch.tensor(list(times), dtype=torch.float64, device=device)
        return WeightedTimes(weights / weights.sum())
    if times == "importance":
        return ImportanceTimes(device)
    plain: dict[str, type[Times]] = {
        "uniform": UniformTimes,
        "stratified": StratifiedTimes,
        "antithetic": AntitheticTimes,
    }
    return plain[times]()
