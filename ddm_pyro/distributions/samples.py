"""A law known only through draws from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions.tabular import Tabular
from ddm_pyro.distributions.token_law import TokenLaw
from ddm_pyro.spaces import StateSpace


class Samples(TokenLaw):
    """The empirical law of n independent draws, batch shape (), event shape (L,).

    Metrics treat it as a sample from an unknown law (with brackets and confidence limits), not as that law; use
    ``.tabular()`` for the empirical pmf itself.

    Args:
        x: (n, L) tokens.
        space: the space they lie in.

    Raises:
        ValueError: no rows, or tokens outside the space.

    Example:
        >>> draws = Samples(torch.tensor([[0, 1], [0, 1], [1, 1], [0, 0]]), StateSpace(2, 2))
        >>> len(draws), draws.tabular().pmf.reshape(2, 2).tolist()
        (4, [[0.25, 0.5], [0.0, 0.25]])
    """

    def __init__(self, x: Any, space: StateSpace, validate_args: bool | None = None) -> None:
        x = torch.as_tensor(x)
        if x.dim() != 2 or len(x) == 0:
            raise ValueError(f"Samples has shape {tuple(x.shape)}; give (n, length) with n at least 1.")
        self.x, self.space = space.check(x, "Samples"), space
        super().__init__(torch.Size(), torch.Size((space.length,)), validate_args=validate_args)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def _device(self) -> torch.device:
        return self.x.device

    @classmethod
    def infer_shapes(cls, **arg_shapes: Sequence[int]) -> tuple[torch.Size, torch.Size]:
        """Shapes from that of ``x``."""
        return torch.Size(), torch.Size(arg_shapes["x"][-1:])

    def tabular(self) -> Tabular:
        """The empirical pmf as a law on the observed atoms."""
        n = len(self.x)
        return Tabular(
            atoms=self.x, probs=torch.full((n,), 1.0 / n, dtype=torch.float64, device=self.x.device), space=self.space
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """log of the share of draws equal to ``value``."""
        if self._validate_args:
            self._validate_sample(value)
        return self.tabular().log_prob(value).expand(torch.broadcast_shapes(value.shape[:-1], self.batch_shape))

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws with replacement, (*sample_shape, *batch, L)."""
        u = random.uniform((*sample_shape, *self.batch_shape), self.x.device)
        return self.x[(u * len(self.x)).long()]

    def __repr__(self) -> str:
        return f"Samples({len(self.x)} rows, {self.space})"
