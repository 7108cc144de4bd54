"""Tokens that stay or jump along listed moves: the step law of every sampler that thins a jump chain."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from ddm_pyro.distributions.inverse_cdf import inverse_cdf
from ddm_pyro.distributions.sequence import SequenceLaw


class JumpLaw(SequenceLaw):
    """Position l stays at x_l with probability 1 - jump_l, else goes to a move in proportion to its weight.

    Args:
        x: (..., L) where the tokens are.
        jump: (..., L) probability of leaving, in [0, 1].
        weights: (..., L, M) nonnegative weights of the moves; a position with jump > 0 needs a positive total.
        moves: (..., L, M) symbols, repeated ones adding; None means the symbols 0 .. M-1.
        num_symbols: A; None for the natural numbers. Only needed with ``moves``.

    Example:
        >>> law = JumpLaw(torch.tensor([2]), torch.tensor([0.5]), torch.tensor([[1.0, 3.0]]), num_symbols=3)
        >>> law.table().tolist()
        [[0.125, 0.375, 0.5]]
    """

    arg_constraints: ClassVar = {
        "x": constraints.independent(constraints.nonnegative_integer, 1),
        "jump": constraints.independent(constraints.unit_interval, 1),
        "weights": constraints.independent(constraints.nonnegative, 2),
    }
    parameter_dims: ClassVar = {"x": 1, "jump": 1, "weights": 2, "moves": 2}

    def __init__(
        self,
        x: Tensor,
        jump: Tensor,
        weights: Tensor,
        moves: Tensor | None = None,
        num_symbols: int | None = None,
        validate_args: bool | None = None,
    ) -> None:
        shape = torch.broadcast_shapes(x.shape, jump.shape, weights.shape[:-1])
        self.x, self.jump = x.expand(shape), jump.expand(shape)
        self.weights = weights.expand(*shape, weights.shape[-1])
        self.moves = None if moves is None else moves.expand(*shape, moves.shape[-1])
        self._num_symbols = weights.shape[-1] if num_symbols is None and moves is None else num_symbols
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @property
    def num_symbols(self) -> int | None:
        """A."""
        return self._num_symbols

    def token_log_prob(self, value: Tensor) -> Tensor:
        """log-probability of each token, (..., L)."""
        shape = torch.broadcast_shapes(value.shape, self.x.shape)
        value, weights = value.expand(shape), self.weights.expand(*shape, -1)
        if self.moves is None:
            inside = value < weights.shape[-1]
            index = torch.where(inside, value, 0).unsqueeze(-1)
            chosen = weights.gather(-1, index).squeeze(-1).double() * inside
        else:
            chosen = (weights.double() * (self.moves == value.unsqueeze(-1))).sum(-1)
        total = self.weights.sum(-1, dtype=torch.float64)
        leave = self.jump * chosen / torch.where(total > 0, total, 1.0)
        return (leave + (1.0 - self.jump) * (value == self.x)).log()

    def table(self) -> Tensor:
        """Probabilities of all symbols, (..., L, A) float64."""
        if self._num_symbols is None:
            raise ValueError(
                "A law on the natural numbers has no finite table; truncate the space with space.box(max)."
            )
        total = self.weights.sum(-1, keepdim=True, dtype=torch.float64)
        leave = self.jump.unsqueeze(-1) * self.weights / torch.where(total > 0, total, 1.0)
        stay = (1.0 - self.jump).unsqueeze(-1) * (
            torch.arange(self._num_symbols, device=self.x.device) == self.x.unsqueeze(-1)
        )
        if self.moves is not None:
            return stay.double().scatter_add(-1, self.moves, leave)
        return stay + torch.nn.functional.pad(leave, (0, self._num_symbols - leave.shape[-1]))

    def icdf(self, u: Tensor) -> Tensor:
        """Tokens (..., L) from uniforms (..., L)."""
        jump = self.jump
        # A uniform below jump, divided by it, is again uniform: one draw decides both whether and where.
        inner = (u / torch.where(jump > 0, jump, 1.0)).clamp(max=1.0)
        move = inverse_cdf(self.weights, inner)
        if self.moves is not None:
            move = (
                self.moves.expand(*u.shape, -1)
                .gather(-1, move.clamp(max=self.moves.shape[-1] - 1).unsqueeze(-1))
                .squeeze(-1)
            )
        return torch.where(u < jump, move, self.x)
