"""Independent tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import inverse_cdf
from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets.base import Target, normalize
from ddm_pyro.targets.checks import stochastic


class Product(Target):
    """P(x) = prod_l probs[l, x_l].

    Args:
        probs: (L, V), or a list of one vector a position (alphabets of different sizes).

    Raises:
        ValueError: no positions, negative or non-finite entries, a row that does not sum to one.

    Example:
        >>> target = Product([[0.5, 0.5], [0.2, 0.3, 0.5]])
        >>> target.log_prob(torch.tensor([1, 2])).exp().item(), target.space.sizes
        (0.25, (2, 3))
    """

    def __init__(self, probs: Any, *, validate_args: bool | None = None) -> None:
        rows = list(probs) if not isinstance(probs, Tensor) or probs.dim() == 2 else []
        if not rows:
            raise ValueError(
                "probs must have shape (L, V) or be a list of one vector a position, with at least one position."
            )
        vectors = [stochastic(row, f"probs[{position}]") for position, row in enumerate(rows)]
        if any(vector.dim() != 1 for vector in vectors):
            raise ValueError("probs must list one vector of probabilities a position.")
        space = StateSpace(tuple(len(vector) for vector in vectors), len(vectors))
        self.probs = torch.stack([torch.nn.functional.pad(v, (0, space.vocab_size - len(v))) for v in vectors])
        super().__init__(space, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), (..., L) -> (...,), float64."""
        rows, inside, shape = self._rows(value)
        log_probs = self.probs.log()[torch.arange(self.space.length, device=rows.device), rows].sum(-1)
        return log_probs.masked_fill(~inside, -torch.inf).reshape(shape)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Independent draws, (*sample_shape, *batch, L)."""
        u = random.uniform((*sample_shape, *self.batch_shape, self.space.length), self.probs.device)
        return inverse_cdf(self.probs.expand(*u.shape, -1), u)

    def entropy(self) -> Tensor:
        """Sum of the entropies of the positions, nats."""
        return torch.special.entr(self.probs).sum().expand(self.batch_shape)

    def posterior(self, log_evidence: Tensor) -> Tensor:
        """Log marginals given unary evidence, (..., L, V) -> (..., L, V)."""
        rows, shape = self._evidence(log_evidence)
        log_weights = self.probs.log().to(rows.device) + rows
        return normalize(log_weights, self.space).reshape(*shape, *rows.shape[-2:])

    def __repr__(self) -> str:
        return f"Product({self.space})"
