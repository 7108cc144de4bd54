"""Chains of one coordinate that move one step up or one step down."""

from __future__ import annotations

import math
from typing import ClassVar

import pyro.distributions as dist
import scipy.special
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.processes import Process
from ddm_pyro.rates import RateMatrix
from ddm_pyro_lattice.laws import ThinnedPlusPoisson

#: Images of the walk that are summed reach this many standard deviations past the farthest point asked for.
REACH = 12.0


class LatticeRate(RateMatrix):
    """A chain with the two moves x + 1 and x - 1, in this order. Abstract; see its two cases.

    Attributes:
        cyclic: whether the largest token is next to 0.
    """

    cyclic: ClassVar[bool] = False

    def place(self, x: Tensor) -> Tensor:
        """Whole numbers read as tokens: modulo m on a circle, else cut at the ends."""
        if self.vocab_size is None:
            return x.clamp(min=0)
        return x.remainder(self.vocab_size) if self.cyclic else x.clamp(0, self.vocab_size - 1)

    def moves(self, x: Tensor) -> Tensor:
        """x + 1 and x - 1, (..., 2); a step over an end is the token itself."""
        return self.place(torch.stack([x + 1, x - 1], -1))


class CyclicWalk(LatticeRate):
    """Random walk on Z_m: x -> x + 1 and x -> x - 1 at ``rate`` / 2 each; for m = 2 one flip at ``rate``.

    exp(s Q)[x, y] = sum_n exp(-z) I_{y - x + n m}(z) = 1/m sum_j cos(2 pi j (y - x) / m) exp(-z (1 - cos(2 pi j / m)))
    with z = rate s. The first sum has positive terms, so small probabilities are accurate as well; it is used while
    it is short, the second for long and for negative times.

    Args:
        vocab_size: m, the number of tokens on the circle.
        rate: total rate of leaving a token.

    Raises:
        ValueError: m below 2, a rate that is not positive.

    Example:
        >>> CyclicWalk(4).matrix()[0].tolist()
        [-1.0, 0.5, 0.0, 0.5]
        >>> CyclicWalk(2).matrix()[0].tolist()
        [-1.0, 1.0]
    """

    cyclic = True
    vocab_size: int

    def __init__(self, vocab_size: int, rate: float = 1.0) -> None:
        if isinstance(vocab_size, bool) or int(vocab_size) != vocab_size or vocab_size < 2:
            raise ValueError(f"vocab_size={vocab_size!r} must be a whole number of at least 2: a walk needs neighbors.")
        self.vocab_size, self.rate = int(vocab_size), positive(rate, "rate")

    def matrix(self) -> Tensor:
        """The generator."""
        own = torch.arange(self.vocab_size)
        out = torch.diag(torch.full((self.vocab_size,), -self.rate, dtype=torch.float64))
        for step in self.moves(own).unbind(-1):
            out[own, step] += self.rate / 2
        return out

    def out_rates(self, x: Tensor) -> Tensor:
        """rate / 2 each way."""
        return torch.full((*x.shape, 2), self.rate / 2, dtype=torch.float64, device=x.device)

    def in_rates(self, x: Tensor) -> Tensor:
        """rate / 2 each way."""
        return self.out_rates(x)

    def displacement(self, sigma: Tensor) -> Tensor:
        """P(y - x = k mod m) for k = 0 .. m - 1, (..., m)."""
        m, z = self.vocab_size, self.rate * sigma.to(torch.float64)
        angle = 2.0 * math.pi / m * torch.arange(m, dtype=torch.float64, device=z.device)
        damping = torch.where(angle > 0, torch.exp(-z.unsqueeze(-1) * (1.0 - angle.cos())), 1.0)
        spectral = damping @ torch.cos(angle * torch.arange(m, device=z.device).unsqueeze(-1)) / m
        short = (z >= 0) & (z <= m * m / 4)
        if not bool(short.any()):
            return spectral
        inside = torch.where(short, z, 0.0)
        top = float(inside.max())
        wraps = math.ceil((top + REACH * math.sqrt(top) + 20.0) / m) + 1
        places = torch.arange(-wraps * m, (wraps + 1) * m, dtype=torch.float64).abs()
        terms = torch.from_numpy(scipy.special.ive(places.numpy(), inside.detach().cpu().unsqueeze(-1).numpy()))
        images = terms.reshape(*z.shape, -1, m).sum(-2).to(z.device)
        return torch.where(short.unsqueeze(-1), images, spectral)

    def _law(self, x: Tensor, sigma: Tensor) -> Tensor:
        chance = self.displacement(sigma)
        offset = (torch.arange(self.vocab_size, device=x.device) - x.unsqueeze(-1)).remainder(self.vocab_size)
        shape = torch.broadcast_shapes(chance.shape, offset.shape)
        return chance.expand(shape).gather(-1, offset.expand(shape))

    def kernel(self, sigma: Tensor) -> Tensor:
        """exp(sigma Q), circulant."""
        return self._law(torch.arange(self.vocab_size, device=sigma.device), sigma.unsqueeze(-1))

    def row(self, x: Tensor, sigma: Tensor) -> Tensor:
        """P(y - x) for all y."""
        return self._law(x, sigma)

    def likelihood(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The same: the walk is symmetric."""
        return self._law(x, sigma)

    def stationary(self) -> TorchDistribution:
        """The uniform law."""
        return dist.Categorical(torch.full((self.vocab_size,), 1.0 / self.vocab_size, dtype=torch.float64))

    def exit_bound(self) -> float:
        """The rate."""
        return self.rate

    def __repr__(self) -> str:
        return f"CyclicWalk({self.vocab_size}, rate={self.rate:g})"


class ImmigrationDeath(LatticeRate):
    """M/M/infinity: x -> x + 1 at rate ``birth``, x -> x - 1 at rate ``death`` x, on the natural numbers.

    After time s: Binomial(x, a) + Poisson(rho (1 - a)), a = exp(-death s), rho = birth / death; stationary law
    Poisson(rho).

    Args:
        birth: rate of immigration.
        death: rate at which each individual dies.
        vocab_size: None for all natural numbers; else the chain on 0 .. vocab_size - 1 without births at the top,
            which is finite, so that laws can be pushed exactly. The mass it cuts off is for the user to judge.

    Raises:
        ValueError: a rate that is not positive, a box below 1.

    Example:
        >>> law = ImmigrationDeath(2.0, 1.0).transition(torch.tensor(3), torch.tensor(0.5))
        >>> [round(p, 4) for p in law.log_prob(torch.arange(3)).exp().tolist()]
        [0.0277, 0.1501, 0.3072]
    """

    def __init__(self, birth: float = 1.0, death: float = 1.0, vocab_size: int | None = None) -> None:
        self.birth, self.death = positive(birth, "birth"), positive(death, "death")
        if vocab_size is not None and (int(vocab_size) != vocab_size or vocab_size < 1):
            raise ValueError(f"vocab_size={vocab_size!r} must be None (all natural numbers) or a whole number above 0.")
        self.vocab_size = None if vocab_size is None else int(vocab_size)

    @property
    def mean(self) -> float:
        """rho = birth / death, the mean of the stationary law."""
        return self.birth / self.death

    def box(self, vocab_size: int) -> ImmigrationDeath:
        """The same chain on 0 .. vocab_size - 1, without births at the top."""
        return ImmigrationDeath(self.birth, self.death, vocab_size)

    def matrix(self) -> Tensor:
        """The generator on the box."""
        x = torch.arange(self._finite())
        out = torch.zeros(len(x), len(x), dtype=torch.float64)
        for move, rate in zip(self.moves(x).unbind(-1), self.out_rates(x).unbind(-1), strict=True):
            out[x, move] += rate
        return out - torch.diag(out.sum(-1))

    def out_rates(self, x: Tensor) -> Tensor:
        """birth (0 at the top of a box) and death x."""
        up = torch.where(self._is_top(x), 0.0, self.birth)
        return torch.stack([up.double(), self.death * x.double()], -1)

    def in_rates(self, x: Tensor) -> Tensor:
        """death (x + 1) from above, birth from below."""
        above = torch.where(self._is_top(x), 0.0, self.death * (x + 1).double())
        return torch.stack([above, torch.where(x > 0, self.birth, 0.0).double()], -1)

    def _is_top(self, x: Tensor) -> Tensor:
        return x == (-1 if self.vocab_size is None else self.vocab_size - 1)

    def transition(self, x: Tensor, sigma: Tensor) -> TorchDistribution:
        """Binomial(x, a) + Poisson(rho (1 - a))."""
        if self.vocab_size is not None:
            return super().transition(x, sigma)
        noise = self.death * sigma.to(torch.float64)
        return ThinnedPlusPoisson(x, torch.exp(-noise), -self.mean * torch.expm1(-noise))

    def stationary(self) -> TorchDistribution:
        """Poisson(rho), conditioned on the box where there is one."""
        if self.vocab_size is None:
            return dist.Poisson(torch.tensor(self.mean, dtype=torch.float64))
        return dist.Categorical(
            logits=dist.Poisson(torch.tensor(self.mean, dtype=torch.float64)).log_prob(
                torch.arange(self.vocab_size, dtype=torch.float64)
            )
        )

    def exit_bound(self) -> float:
        """Infinite on the natural numbers, where deaths have no bound."""
        return math.inf if self.vocab_size is None else super().exit_bound()

    def __repr__(self) -> str:
        box = "" if self.vocab_size is None else f", vocab_size={self.vocab_size}"
        return f"ImmigrationDeath(birth={self.birth:g}, death={self.death:g}{box})"


def positive(value: float, what: str) -> float:
    """Return a positive finite number, or raise ValueError."""
    number = float(value)
    if not 0.0 < number < math.inf:
        raise ValueError(f"{what}={value!r} must be a positive finite number.")
    return number


def lattice_rate(process: Process) -> LatticeRate:
    """The chain all coordinates follow. Raises ValueError when they do not follow one lattice chain."""
    rates = getattr(getattr(process, "joint", None), "rates", ())
    if not rates or not isinstance(rates[0], LatticeRate) or any(rate is not rates[0] for rate in rates):
        raise ValueError(
            f"{process!r} is no walk on a lattice; use one CyclicWalk or ImmigrationDeath for all coordinates."
        )
    return rates[0]
