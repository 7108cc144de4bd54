"""Finite Markov chains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import inverse_cdf
from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets.base import Target, normalize
from ddm_pyro.targets.checks import stochastic, whole
from ddm_pyro.targets.messages import DenseTransfer, forward_messages, line_marginals
from ddm_pyro.targets.tables import in_chunks


class MarkovChain(Target):
    """P(x) = initial[x_0] prod_l transition_l[x_l, x_{l+1}].

    The posterior is one forward and one backward sweep, O(L K^2) a row.

    Args:
        initial: (K,), the law of the first token.
        transition: (K, K) for every step, or (L-1, K, K); rows sum to one.
        length: L.

    Raises:
        ValueError: shapes that do not agree, negative or non-finite entries, rows that do not sum to one.

    Example:
        >>> chain = MarkovChain([1.0, 0.0], [[0.5, 0.5], [0.0, 1.0]], length=3)
        >>> chain.log_prob(torch.tensor([0, 0, 1])).exp().item(), round(chain.entropy().item(), 6)
        (0.25, 1.039721)
    """

    def __init__(self, initial: Any, transition: Any, length: int, *, validate_args: bool | None = None) -> None:
        length = whole(length, "length")
        self.initial = stochastic(initial, "initial")
        if self.initial.dim() != 1:
            raise ValueError(f"initial has shape {tuple(self.initial.shape)}; it lists K probabilities, shape (K,).")
        states = len(self.initial)
        shape = tuple(torch.as_tensor(transition).shape)
        if shape not in {(states, states), (length - 1, states, states)}:
            raise ValueError(
                f"transition has shape {shape}; initial of {states} states and length={length} need "
                f"({states}, {states}) or ({length - 1}, {states}, {states})."
            )
        self.transition = stochastic(transition, "transition") if 0 not in shape else torch.eye(states).double()
        super().__init__(StateSpace(states, length), validate_args=validate_args)

    @property
    def _steps(self) -> Tensor:
        """Transition of each step, (L-1, K, K), without copying."""
        return self.transition.expand(self.space.length - 1, -1, -1) if self.transition.dim() == 2 else self.transition

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), (..., L) -> (...,), float64."""
        rows, inside, shape = self._rows(value)
        step = torch.arange(self.space.length - 1, device=rows.device)
        log_steps = self._steps[step, rows[:, :-1], rows[:, 1:]].log().sum(-1)
        return (self.initial.log()[rows[:, 0]] + log_steps).masked_fill(~inside, -torch.inf).reshape(shape)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Independent draws, (*sample_shape, *batch, L)."""
        u = random.uniform((*sample_shape, *self.batch_shape, self.space.length), self.initial.device)
        tokens = [inverse_cdf(self.initial.expand(*u.shape[:-1], -1), u[..., 0])]
        for step, matrix in enumerate(self._steps):
            tokens.append(inverse_cdf(matrix[tokens[-1]], u[..., step + 1]))
        return torch.stack(tokens, -1)

    def marginals(self) -> Tensor:
        """Law of each token, (L, K)."""
        laws = [self.initial]
        for matrix in self._steps:
            laws.append(laws[-1] @ matrix)
        return torch.stack(laws)

    def entropy(self) -> Tensor:
        """H = H(initial) + sum_l E H(transition_l[x_l, .]), nats."""
        of_rows = torch.special.entr(self._steps).sum(-1)
        conditional = (self.marginals()[:-1] * of_rows).sum()
        return (torch.special.entr(self.initial).sum() + conditional).expand(self.batch_shape)

    def posterior(self, log_evidence: Tensor) -> Tensor:
        """Log marginals given unary evidence, (..., L, K) -> (..., L, K)."""
        rows, shape = self._evidence(log_evidence)
        transfer, local = DenseTransfer(self.transition.to(rows.device)), self._local(rows)
        pieces = [line_marginals(local[part], transfer)[0] for part in in_chunks(len(rows), 3 * rows[0].numel())]
        return normalize(torch.cat(pieces), self.space).reshape(*shape, *rows.shape[1:])

    def log_evidence(self, log_likelihood: Tensor) -> Tensor:
        """log sum_x P(x) prod_l exp(log_likelihood[l, x_l]), (..., L, K) -> (...,): a likelihood that is a product.

        Example:
            >>> chain = MarkovChain([0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], length=2)
            >>> seen = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).log()  # 0, then 1
            >>> round(chain.log_evidence(seen).exp().item(), 6)
            0.05
        """
        rows, shape = self._evidence(log_likelihood)
        transfer, local = DenseTransfer(self.transition.to(rows.device)), self._local(rows)
        pieces = [forward_messages(local[part], transfer)[1] for part in in_chunks(len(rows), 3 * rows[0].numel())]
        return torch.cat(pieces).reshape(shape)

    def _local(self, rows: Tensor) -> Tensor:
        local = rows.clone()
        local[:, 0] += self.initial.log().to(rows.device)
        return local

    def __repr__(self) -> str:
        return f"MarkovChain({self.space})"
