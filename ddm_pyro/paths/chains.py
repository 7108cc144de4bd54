"""The discrete chains that uniformization runs, and how many of their events lie between two endpoints."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ddm_pyro.paths.capacity import poisson_quantile, poisson_tail
from ddm_pyro.rates import RankOneRate, RateMatrix

#: Mass of the number of events that may be left out, relative to the probability of the endpoints.
TAIL = 1e-15
#: Largest table of matrix powers, in float64 numbers.
MAX_TABLE = 2**26


class UniformizedChain(ABC):
    """exp(T Q) = sum_n Poisson(n; r T) P^n with the event rate r and the stochastic matrix P = I + Q / r.

    Endpoints x and y and the noise T have broadcasting shapes (...); symbols are the rate's own.
    """

    @abstractmethod
    def counts(self, x: Tensor, y: Tensor, noise: Tensor) -> Tensor:
        """Poisson(n; r T) P^n[x, y] for n = 0 .. N, (..., N + 1); the rest is below ``TAIL`` of the sum."""

    @abstractmethod
    def weights(self, z: Tensor, y: Tensor, left: Tensor) -> Tensor:
        """P[z, .] P^left[., y]: where the next event leads when ``left`` follow it, (..., A)."""


class PowerChain(UniformizedChain):
    """Any finite generator: r is its largest exit rate and powers of P are tabulated.

    Args:
        rate: the generator.

    Raises:
        ValueError: a table of powers beyond ``MAX_TABLE`` numbers.

    Example:
        >>> from ddm_pyro.rates import Dense
        >>> chain = PowerChain(Dense([[-1.0, 1.0], [2.0, -2.0]]))
        >>> chain.counts(torch.tensor(0), torch.tensor(1), torch.tensor(0.5).double()).sum()  # (1 - exp(-1.5)) / 3
        tensor(0.2590, dtype=torch.float64)
    """

    def __init__(self, rate: RateMatrix) -> None:
        self.rate, self.event_rate = rate, rate.exit_bound()
        self._powers: Tensor | None = None

    @property
    def step(self) -> Tensor:
        """P, (A, A)."""
        matrix = self.rate.matrix()
        identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
        # The diagonal of the fastest symbol may round below zero.
        return (identity + matrix / self.event_rate).clamp(min=0.0) if self.event_rate > 0 else identity

    def powers(self, largest: int) -> Tensor:
        """P^0 .. P^largest or further, (largest + 1 or more, A, A); kept unless they carry a gradient."""
        if self._powers is not None and len(self._powers) > largest and not self._learning:
            return self._powers
        step = self.step
        if (largest + 1) * step.numel() > MAX_TABLE:
            raise ValueError(
                f"A bridge of {self.rate!r} needs {largest + 1} powers of a {len(step)} x {len(step)} matrix, more "
                "than fits the table; take a shorter interval."
            )
        found = [torch.eye(len(step), dtype=step.dtype, device=step.device)]
        for _ in range(largest):
            found.append(found[-1] @ step)
        powers = torch.stack(found)
        if not self._learning:
            self._powers = powers
        return powers

    @property
    def _learning(self) -> bool:
        return torch.is_grad_enabled() and self.rate.matrix().requires_grad

    def counts(self, x: Tensor, y: Tensor, noise: Tensor) -> Tensor:
        """See the class above."""
        mean = (self.event_rate * noise).detach()
        high = float(mean.max())
        largest = max(poisson_quantile(high, TAIL), self.rate.num_symbols or 0)
        while True:
            n = torch.arange(largest + 1, dtype=torch.float64, device=x.device)
            rate = self.event_rate * noise.unsqueeze(-1)
            events = torch.exp(torch.xlogy(n, rate) - rate - torch.lgamma(n + 1.0))
            table = events * self.powers(largest)[: largest + 1, x, y].movedim(0, -1)
            total = table.detach().sum(-1)
            left_out = poisson_tail(largest, mean)
            # Endpoints that P joins at all are joined within A events, so a total of 0 stays 0.
            if bool(((left_out <= TAIL * total) | (total == 0)).all()):
                return table
            largest *= 2

    def weights(self, z: Tensor, y: Tensor, left: Tensor) -> Tensor:
        """See the class above."""
        onward = self.powers(int(left.max()))[left, :, y]
        return self.step[z] * onward


class RefreshChain(UniformizedChain):
    """Q = 1 pi^T - I: events ring at rate 1 and each draws from pi, so no matrix is made.

    Args:
        rate: the rank-one generator.
    """

    def __init__(self, rate: RankOneRate) -> None:
        self.rate = rate

    def counts(self, x: Tensor, y: Tensor, noise: Tensor) -> Tensor:
        """Poisson(0; T) 1[x = y], then Poisson(n; T) pi[y]."""
        high = float(noise.detach().max())
        largest = max(poisson_quantile(high, TAIL), 2)
        n = torch.arange(largest + 1, dtype=torch.float64, device=x.device)
        noise = noise.unsqueeze(-1)
        events = torch.exp(torch.xlogy(n, noise) - noise - torch.lgamma(n + 1.0))
        reach = torch.where(n == 0, (x == y).double().unsqueeze(-1), self.rate.pi_at(y).unsqueeze(-1))
        return events * reach

    def weights(self, z: Tensor, y: Tensor, left: Tensor) -> Tensor:
        """pi, or y itself when no event follows."""
        pi = self.rate.pi(z.device)
        arrived = torch.arange(len(pi), device=z.device) == y.unsqueeze(-1)
        return torch.where(left.unsqueeze(-1) > 0, pi, arrived.double())


def chain_of(rate: RateMatrix) -> UniformizedChain:
    """The chain that uniformizes ``rate``. Raises ValueError for countable alphabets."""
    if rate.num_symbols is None:
        raise ValueError(f"{rate!r} has a countable alphabet; bridges by uniformization need a finite one.")
    return RefreshChain(rate) if isinstance(rate, RankOneRate) else PowerChain(rate)
