"""What every target is: a law on token sequences with a space, an entropy, a pmf and an exact denoiser."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddm_pyro import distributions
from ddm_pyro.distributions.token_law import TokenLaw
from ddm_pyro.spaces import StateSpace

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.processes import Process

#: States whose log-probability is computed at once while a pmf is listed.
TABULAR_CHUNK = 2**18


class Target(TokenLaw):
    """A law P to learn and to be judged on: batch shape (), event shape (L,), tokens int64.

    A subclass gives ``log_prob``, ``sample`` and ``posterior``; the last one is what makes the exact denoiser of every
    forward process available. ``entropy`` is in nats, or None where it is not known.

    Attributes:
        space: the StateSpace of the data, without masks.
    """

    def __init__(self, space: StateSpace, validate_args: bool | None = None) -> None:
        self.space = space
        super().__init__(torch.Size(), torch.Size((space.length,)), validate_args=validate_args)

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), (..., L) -> (...,), float64; -inf off the support."""

    @abstractmethod
    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Independent draws, (*sample_shape, *batch, L), int64."""

    @abstractmethod
    def posterior(self, log_evidence: Tensor) -> Tensor:
        """Log marginals of the law proportional to P(x) prod_l exp(log_evidence[l, x_l]).

        Args:
            log_evidence: (..., L, V), -inf allowed, +inf and NaN not.

        Returns:
            (..., L, V) float64, log p(x_l = v | evidence). A row of total zero gives the uniform law over the
            position's tokens; tokens past a position's size get -inf.
        """

    def entropy(self) -> Tensor | None:
        """H(P) in nats, or None where it is not known."""
        return None

    def tabular(self) -> distributions.Tabular:
        """The pmf. Raises ValueError naming the size when the space is too large to list."""
        total = self.space.require_enumerable("A pmf")
        batch = self.batch_shape
        chunks = torch.arange(total, device=self._device).split(max(1, TABULAR_CHUNK // max(1, batch.numel())))
        pieces = []
        for index in chunks:
            x = self.space.unindex(index).reshape(-1, *(1,) * len(batch), self.space.length)
            # Of an expanded law, whose batch elements are all the same, the first one.
            pieces.append(self.log_prob(x).reshape(len(index), -1)[:, 0])
        return distributions.Tabular(torch.cat(pieces).exp(), space=self.space)

    def denoiser(self, process: Process) -> Parameterization:
        """The exact model of this law under ``process``: every x0-posterior and score from ``posterior``."""
        from ddm_pyro.parameterizations import Exact

        return Exact(self, process)

    @property
    def _device(self) -> torch.device:
        tensors = [value for value in self.__dict__.values() if isinstance(value, Tensor)]
        return tensors[0].device if tensors else torch.get_default_device()

    def _rows(self, value: Tensor) -> tuple[Tensor, Tensor, torch.Size]:
        """Tokens as (N, L), which of them lie in the space (N,) (the others are replaced by zeros), and the batch."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        rows = value.long().expand(*shape, self.space.length).reshape(-1, self.space.length)
        inside = self.space.contains(rows)
        return torch.where(inside.unsqueeze(-1), rows, 0), inside, shape

    def _evidence(self, log_evidence: Tensor) -> tuple[Tensor, torch.Size]:
        """Evidence as (B, L, V) float64 with -inf on padding, and the batch shape it came in."""
        length, vocab = self.space.length, self.space.vocab_size
        if log_evidence.dim() < 2 or tuple(log_evidence.shape[-2:]) != (length, vocab):
            raise ValueError(
                f"log_evidence has shape {tuple(log_evidence.shape)}; {self} needs (..., {length}, {vocab})."
            )
        rows = log_evidence.to(torch.float64).reshape(-1, length, vocab)
        if not isinstance(self.space.sizes, int):
            rows = rows.masked_fill(~tokens_of(self.space, rows.device), -torch.inf)
        return rows, log_evidence.shape[:-2]


def tokens_of(space: StateSpace, device: torch.device | None = None) -> Tensor:
    """Which of the V tokens each position has, (L, V) bool.

    Example:
        >>> tokens_of(StateSpace((1, 2), 2)).tolist()
        [[True, False], [True, True]]
    """
    sizes = torch.tensor(space.position_sizes, device=device)
    return torch.arange(space.vocab_size, device=device) < sizes.unsqueeze(-1)


def normalize(log_weights: Tensor, space: StateSpace) -> Tensor:
    """Log marginals (B, L, V) from their logs up to a factor a position; uniform in rows of total zero, never NaN.

    Example:
        >>> weights = torch.tensor([[[0.0, 3.0]], [[0.0, 0.0]]]).log()
        >>> normalize(weights, StateSpace(2, 1)).exp().tolist()
        [[[0.0, 1.0]], [[0.5, 0.5]]]
    """
    log_total = log_weights.logsumexp(-1, keepdim=True)
    possible = (log_total > -torch.inf).all(-2, keepdim=True)
    tokens = tokens_of(space, log_weights.device)
    uniform = (tokens / tokens.sum(-1, keepdim=True)).to(log_weights.dtype).log()
    return torch.where(possible, log_weights - log_total, uniform)
