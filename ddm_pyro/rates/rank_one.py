"""Chains that refresh a token from a fixed law at rate 1: uniform, masked, any law; closed forms, no A x A matrix."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.arrays import OnDevice, float64
from ddm_pyro.rates.base import RateMatrix

#: How far the total of a refreshing law may be from one.
MASS_TOLERANCE = 1e-6


class RankOneRate(RateMatrix):
    """Q = 1 pi^T - I: every token is refreshed from the law pi at rate 1. Abstract; see its three cases.

    exp(sigma Q) = a I + (1 - a) 1 pi^T with a = exp(-sigma), so nothing of size A x A is ever made.

    Attributes:
        has_full_support: whether pi is nowhere zero.
    """

    has_full_support: bool = False

    def pi(self, device: torch.device | str | None = None) -> Tensor:
        """The refreshing law, (A,) float64."""
        raise NotImplementedError(f"{type(self).__name__} must define pi().")

    def pi_at(self, x: Tensor) -> Tensor:
        """pi[x], (...)."""
        return self.pi(x.device)[x]

    def matrix(self) -> Tensor:
        """1 pi^T - I."""
        pi = self.pi()
        return pi.expand(len(pi), -1) - torch.eye(len(pi), dtype=pi.dtype, device=pi.device)

    def out_rates(self, x: Tensor) -> Tensor:
        """pi[v] for v != x."""
        return self.pi(x.device) * (self.moves(x) != x.unsqueeze(-1))

    def in_rates(self, x: Tensor) -> Tensor:
        """pi[x] for v != x."""
        return self.pi_at(x).unsqueeze(-1) * (self.moves(x) != x.unsqueeze(-1))

    def kernel(self, sigma: Tensor) -> Tensor:
        """a I + (1 - a) 1 pi^T."""
        pi = self.pi(sigma.device)
        kept, refreshed = torch.exp(-sigma)[..., None, None], -torch.expm1(-sigma)[..., None, None]
        return kept * torch.eye(len(pi), dtype=pi.dtype, device=pi.device) + refreshed * pi

    def row(self, x: Tensor, sigma: Tensor) -> Tensor:
        """a 1[v = x] + (1 - a) pi[v]."""
        kept, refreshed = torch.exp(-sigma).unsqueeze(-1), -torch.expm1(-sigma).unsqueeze(-1)
        return kept * (self.moves(x) == x.unsqueeze(-1)) + refreshed * self.pi(x.device)

    def likelihood(self, x: Tensor, sigma: Tensor) -> Tensor:
        """a 1[v = x] + (1 - a) pi[x]."""
        kept, refreshed = torch.exp(-sigma).unsqueeze(-1), -torch.expm1(-sigma) * self.pi_at(x)
        return kept * (self.moves(x) == x.unsqueeze(-1)) + refreshed.unsqueeze(-1)

    def evolve(self, p: Tensor, sigma: Tensor) -> Tensor:
        """a p + (1 - a) |p| pi."""
        kept, refreshed = torch.exp(-sigma).unsqueeze(-1), -torch.expm1(-sigma).unsqueeze(-1)
        return kept * p + refreshed * p.sum(-1, keepdim=True) * self.pi(p.device)

    def stationary(self) -> TorchDistribution:
        """pi."""
        return dist.Categorical(self.pi())

    def exit_bound(self) -> float:
        """1 - min pi."""
        return 1.0 - float(self.pi().detach().min())


class Uniform(RankOneRate):
    """Q = 11^T / V - I: a token is replaced by a uniform one at rate 1 (SEDD's uniform graph has V times this).

    Example:
        >>> Uniform(4).matrix()[0].tolist()
        [-0.75, 0.25, 0.25, 0.25]
    """

    has_full_support = True

    vocab_size: int

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = check_vocabulary(vocab_size)

    def pi(self, device: torch.device | str | None = None) -> Tensor:
        """1 / V."""
        return torch.full((self._finite(),), 1.0 / self._finite(), dtype=torch.float64, device=device)

    def pi_at(self, x: Tensor) -> Tensor:
        """1 / V."""
        return torch.full_like(x, 1.0 / self._finite(), dtype=torch.float64)

    def exit_bound(self) -> float:
        """1 - 1 / V."""
        return 1.0 - 1.0 / self._finite()

    def __repr__(self) -> str:
        return f"Uniform({self.vocab_size})"


class Masked(RankOneRate):
    """Every token turns into the mask (symbol V) at rate 1, and stays there.

    Example:
        >>> Masked(2).matrix().tolist()
        [[-1.0, 0.0, 1.0], [0.0, -1.0, 1.0], [0.0, 0.0, 0.0]]
    """

    has_mask = True
    vocab_size: int

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = check_vocabulary(vocab_size)

    @property
    def masking_speed(self) -> float:
        """1."""
        return 1.0

    def pi(self, device: torch.device | str | None = None) -> Tensor:
        """All mass on the mask."""
        return torch.arange(self._finite(), device=device).eq(self.vocab_size).double()

    def pi_at(self, x: Tensor) -> Tensor:
        """1[x = mask]."""
        return x.eq(self.vocab_size).double()

    def exit_bound(self) -> float:
        """1."""
        return 1.0

    def __repr__(self) -> str:
        return f"Masked({self.vocab_size})"


class RankOne(RankOneRate):
    """Tokens are refreshed from any law at rate 1: Q = 1 pi^T - I, without a V x V matrix.

    A law that requires grad is not detached, so that it can be learned.

    Args:
        stationary: (V,) probabilities.

    Raises:
        ValueError: not a law.

    Example:
        >>> RankOne(torch.tensor([0.25, 0.75])).matrix().tolist()
        [[-0.75, 0.75], [0.25, -0.25]]
    """

    def __init__(self, stationary: Any) -> None:
        law = float64(stationary)
        pi = law.detach()
        if pi.dim() != 1 or len(pi) == 0:
            raise ValueError(f"stationary has shape {tuple(pi.shape)}; give one probability a token, (V,).")
        if not bool(torch.isfinite(pi).all()) or bool((pi < 0).any()) or abs(float(pi.sum()) - 1.0) > MASS_TOLERANCE:
            raise ValueError(
                f"stationary={describe(pi)} is no law: entries must be >= 0 and sum to 1 "
                f"(they sum to {float(pi.sum()):.9g})."
            )
        self.vocab_size = len(pi)
        self.has_full_support = bool((pi > 0).all())
        self._pi = OnDevice(law / law.sum())

    def pi(self, device: torch.device | str | None = None) -> Tensor:
        """The refreshing law."""
        return self._pi.values if device is None else self._pi.on(device)

    def __repr__(self) -> str:
        return f"RankOne({describe(self.pi())})"


def check_vocabulary(size: Any) -> int:
    """Return a vocabulary size of at least 1, or raise ValueError."""
    if isinstance(size, bool) or int(size) != size or size < 1:
        raise ValueError(f"vocab_size={size!r} must be a whole number of at least 1.")
    return int(size)


def describe(p: Tensor) -> str:
    """A short form of a vector for messages."""
    head = ", ".join(f"{value:.4g}" for value in p[:4].tolist())
    return f"[{head}{', ...' if len(p) > 4 else ''}]"
