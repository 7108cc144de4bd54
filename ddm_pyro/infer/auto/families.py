"""What a family of guides for token sequences is: a law of paths that end in tokens, and the law of the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ddm_pyro import random
from ddm_pyro.rates import Masked, Uniform
from ddm_pyro.spaces import StateSpace

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization

#: Most noised sequences a particle of the denoising objective.
NOISED = 4


class Family(nn.Module, ABC):
    """A law q of paths, each of which ends in a token sequence x, beside r(path | x), a fixed law of the path given x.

    A target p(x) extends to p(x) r(path | x), whose marginal on x is p; then E_q[log p(x) + log r - log q] is a lower
    bound on log Z whatever q is, and p(x) r / q is an unbiased weight. ``log_density`` is log q - log r.

    Attributes:
        space: StateSpace of x, without masks.
        network: the nn.Module that q is made of, (x, t) -> (..., L, V).
        path_shape: shape of a path, int64.
    """

    path_shape: torch.Size

    def __init__(self, space: StateSpace, network: nn.Module) -> None:
        super().__init__()
        self.space, self.network = space, network

    @abstractmethod
    def sample(self, n: int) -> Tensor:
        """n independent paths, (n, *path_shape) int64, by ``ddm_pyro.random.uniform``; no gradient."""

    @abstractmethod
    def log_density(self, path: Tensor) -> Tensor:
        """log q(path) - log r(path | x), (n, *path_shape) -> (n,) float64, differentiable in the network."""

    @abstractmethod
    def tokens(self, path: Tensor) -> Tensor:
        """x, (..., *path_shape) -> (..., L)."""

    def denoising(self, x: Tensor) -> Tensor:
        """An unbiased estimate of -E[log_density(path)] over path ~ r(. | x), (n, L) -> (n,).

        From at most ``NOISED`` steps of the path, spread evenly over it at a random offset: all of them if it is short.
        """
        n, steps = len(x), self.num_steps
        chosen = min(NOISED, steps)
        u = random.uniform((n, 1), x.device)
        step = ((torch.arange(chosen, device=x.device) + u) * (steps / chosen)).long().clamp(max=steps - 1)
        return self.denoising_steps(x, step).mean(-1)

    @property
    @abstractmethod
    def num_steps(self) -> int:
        """Steps of a path: its density is a product of as many factors."""

    @abstractmethod
    def denoising_steps(self, x: Tensor, step: Tensor) -> Tensor:
        """``num_steps`` times the loss of the given steps of a path ~ r(. | x), (n, L) and (n, J) in 0 .. -> (n, J)."""

    @abstractmethod
    def denoiser(self) -> Parameterization:
        """The network as a model of the package's samplers."""

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return next((p.device for p in self.network.parameters()), torch.get_default_device())

    def logits(self, x: Tensor, t: Tensor) -> Tensor:
        """The network's logits at x (..., L) and t (...,), -inf off a position's alphabet, float64 (..., L, V).

        Raises:
            ValueError: logits of another width than V.
        """
        dtype = next((p.dtype for p in self.network.parameters() if p.is_floating_point()), torch.get_default_dtype())
        return self.inside(self.network(x, t.to(dtype)))

    def inside(self, logits: Tensor, at: Tensor | None = None) -> Tensor:
        """Logits in float64 with -inf at tokens that a position does not have; ``at`` (n,): of one position a row."""
        rows = (self.space.length,) if at is None else at.shape
        if logits.shape[-2:] != (*rows, self.space.vocab_size):
            raise ValueError(
                f"The network returned logits of shape {tuple(logits.shape)}; the latent sites are "
                f"{self.space.length} tokens of {self.space.vocab_size} values, so it must end in "
                f"({self.space.length}, {self.space.vocab_size})."
            )
        logits = logits.double()
        if isinstance(self.space.sizes, int):
            return logits
        sizes = self.space.sizes_on.on(logits.device)
        inside = torch.arange(self.space.vocab_size, device=logits.device) < sizes.unsqueeze(-1)
        return torch.where(inside if at is None else inside[at], logits, -torch.inf)


def rates_of(rate: type[Masked] | type[Uniform], space: StateSpace) -> list[Masked | Uniform]:
    """One rate matrix a position, for its number of values."""
    return [rate(size) for size in space.position_sizes]
