"""Token-level rate matrices: time-homogeneous generators Q with Q[x, y] the rate from x to y, rows summing to 0.

The time-inhomogeneous generator of a process is ``schedule.rate(t) * Q``, its kernel exp(sigma Q) with sigma the
integrated rate. ``sigma`` broadcasts against ``x``; everything is float64.
"""

from __future__ import annotations

from abc import ABC

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.arrays import has_data

#: Squarings of exp(Q / |Q|) that stand for the limit sigma -> infinity.
LIMIT_SQUARINGS = 64


class RateMatrix(ABC):
    """A generator on one token. Finite alphabets give ``matrix()``, countable ones ``moves`` with rates.

    Everything else has a dense default, right for any finite generator, which closed forms override. ``A`` is the
    number of symbols (V tokens, and the mask if the chain has one).

    Attributes:
        vocab_size: V, the number of tokens data may hold; None when countable.
        has_mask: whether symbol V is an absorbing mask that data never holds.
    """

    vocab_size: int | None
    has_mask: bool = False

    @property
    def num_symbols(self) -> int | None:
        """A = V, or V + 1 with a mask; None when countable."""
        return None if self.vocab_size is None else self.vocab_size + self.has_mask

    def _finite(self) -> int:
        size = self.num_symbols
        if size is None:
            raise ValueError(
                f"{type(self).__name__} has a countable alphabet: it has moves and rates but no finite matrix."
            )
        return size

    def matrix(self) -> Tensor:
        """The generator, (A, A) float64."""
        raise NotImplementedError(
            f"{type(self).__name__} must define matrix(), or moves() with out_rates() and in_rates()."
        )

    @property
    def masking_speed(self) -> float | None:
        """c when all the chain does is turn every token into the mask at rate c; None for any other chain."""
        if not self.has_mask:
            return None
        matrix = self.matrix().detach()
        speed = float(matrix[0, -1])
        wanted = torch.zeros_like(matrix)
        wanted[:-1, -1] = speed
        wanted.diagonal()[:-1] = -speed
        return speed if speed > 0.0 and bool(torch.equal(matrix, wanted)) else None

    def moves(self, x: Tensor) -> Tensor:
        """Symbols the chain can go to (or come from), (..., M): by default all A of them."""
        size = self._finite()
        return torch.arange(size, device=x.device).expand(*x.shape, size)

    def out_rates(self, x: Tensor) -> Tensor:
        """Q[x, move] along ``moves(x)``, (..., M); 0 at x itself."""
        return self._table(x, self.matrix_on(x.device))

    def in_rates(self, x: Tensor) -> Tensor:
        """Q[move, x] along ``moves(x)``, (..., M); 0 at x itself."""
        return self._table(x, self.matrix_on(x.device).T)

    def _table(self, x: Tensor, table: Tensor) -> Tensor:
        return table[x] * (self.moves(x) != x.unsqueeze(-1))

    def kernel(self, sigma: Tensor) -> Tensor:
        """exp(sigma Q), (..., A, A); sigma may be infinite (the limit law) or negative (the inverse)."""
        matrix = self.matrix_on(sigma.device)
        infinite = torch.isinf(sigma)[..., None, None]
        finite = torch.linalg.matrix_exp(torch.where(infinite, 0.0, sigma[..., None, None]) * matrix)
        return torch.where(infinite, self.limit_on(sigma.device), finite)

    def matrix_on(self, device: torch.device) -> Tensor:
        """``matrix()`` on a device."""
        return self.matrix().to(device)

    def limit_on(self, device: torch.device) -> Tensor:
        """The kernel as sigma -> infinity, (A, A), on a device."""
        matrix = self.matrix_on(device)
        power = torch.linalg.matrix_exp(matrix / matrix.diagonal().abs().amax().clamp(min=1.0))
        for _ in range(LIMIT_SQUARINGS):
            power = power @ power
            power = power / power.sum(-1, keepdim=True)
        return power

    def row(self, x: Tensor, sigma: Tensor) -> Tensor:
        """exp(sigma Q)[x, .], the law of the token after noise sigma, (..., A)."""
        kernel = self.kernel(sigma)
        index = x[..., None, None].expand(*torch.broadcast_shapes(x.shape, sigma.shape), 1, kernel.shape[-1])
        return kernel.expand(*index.shape[:-2], -1, -1).gather(-2, index).squeeze(-2)

    def transition(self, x: Tensor, sigma: Tensor) -> TorchDistribution:
        """Law of the token after noise sigma from x: batch (...), event ()."""
        return dist.Categorical(self.row(x, sigma))

    def likelihood(self, x: Tensor, sigma: Tensor) -> Tensor:
        """v -> exp(sigma Q)[v, x], (..., A)."""
        kernel = self.kernel(sigma)
        index = x[..., None, None].expand(*torch.broadcast_shapes(x.shape, sigma.shape), kernel.shape[-1], 1)
        return kernel.expand(*index.shape[:-2], -1, -1).gather(-1, index).squeeze(-1)

    def evolve(self, p: Tensor, sigma: Tensor) -> Tensor:
        """p exp(sigma Q): measures (or signed measures) on the symbols, (..., A) -> (..., A)."""
        return (p.unsqueeze(-2) @ self.kernel(sigma)).squeeze(-2)

    def stationary(self) -> TorchDistribution:
        """The limit law as sigma -> infinity. Raises ValueError when it depends on where the chain starts."""
        limit = self.limit_on(self.matrix().device)
        if has_data(limit) and bool((limit - limit[:1]).abs().max() > 1e-6):
            raise ValueError(f"{self!r} is reducible: its limit depends on the start, so it has no one stationary law.")
        return dist.Categorical(limit.mean(0), validate_args=None if has_data(limit) else False)

    def exit_bound(self) -> float:
        """max_x -Q[x, x], the largest total rate out of a symbol."""
        return float(-self.matrix().detach().diagonal().min())
