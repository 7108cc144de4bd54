"""The default network: logits of every token from what is known of the others, all prefixes of an order at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, silu

from ddm_pyro.spaces import StateSpace

#: Largest number of entries (L V) of a one-hot sequence for which logits also have a direct linear term, (L V)^2.
MAX_LINEAR = 1024
#: Frequencies of the time's sines and cosines.
TIME_FREQUENCIES = (1.0, 2.0, 4.0, 8.0)


class TokenMLP(nn.Module):
    """Logits (..., L, V) of every token from a sequence with masks (id V), by a residual perceptron on one-hots.

    The first layer is a sum over known tokens, so the L prefixes of an order cost one cumulative sum, and each position
    has a head of its own that is run on its own prefix only. Small spaces add a linear term: it holds the exact
    conditionals of pairwise models. Logits start at zero, the uniform law.

    Args:
        space: a finite StateSpace; masks are allowed in the input.
        width: of the hidden layers.
        depth: number of residual blocks.
        timed: whether the time enters.

    Example:
        >>> net = TokenMLP(StateSpace(2, 3), width=8)
        >>> net(torch.tensor([[0, 2, 1]]), torch.zeros(1)).shape
        torch.Size([1, 3, 2])
    """

    frequencies: Tensor

    def __init__(self, space: StateSpace, *, width: int = 128, depth: int = 1, timed: bool = False) -> None:
        super().__init__()
        self.length, self.vocab = space.length, space.vocab_size
        entries = self.length * self.vocab
        self.tokens = nn.Parameter(torch.randn(entries, width) / math.sqrt(self.length))
        self.start = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.head = nn.Parameter(torch.zeros(self.length, width, self.vocab))
        self.bias = nn.Parameter(torch.zeros(self.length, self.vocab))
        linear = entries <= MAX_LINEAR
        self.linear = nn.Parameter(torch.zeros(self.length, entries, self.vocab)) if linear else None
        self.register_buffer("frequencies", torch.tensor(TIME_FREQUENCIES), persistent=False)
        self.time = nn.Linear(2 * len(TIME_FREQUENCIES), width) if timed else None

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (..., L) int64 with masks V, t (...,) -> (..., L, V)."""
        known = one_hot(x, self.vocab + 1)[..., : self.vocab].flatten(-2).to(self.start.dtype)
        h = self._body(known @ self.tokens + self.start, t)
        logits = torch.einsum("...w,lwv->...lv", h, self.head) + self.bias
        if self.linear is None:
            return logits
        return logits + torch.einsum("...e,lev->...lv", known, self.linear)

    def prefix_logits(self, order: Tensor, x: Tensor) -> Tensor:
        """Logits of token l given the tokens before it in ``order``, for every l: (n, L), (n, L) -> (n, L, V)."""
        rank = order.argsort(-1)
        entry = torch.arange(self.length, device=x.device) * self.vocab + x
        ordered = self.tokens[entry.gather(-1, order)]
        # The sum of what comes before, by position instead of by turn.
        before = (ordered.cumsum(-2) - ordered).gather(-2, rank.unsqueeze(-1).expand_as(ordered))
        h = self._body(before + self.start, 1.0 - rank.double() / self.length)
        logits = (h.transpose(0, 1) @ self.head).transpose(0, 1) + self.bias
        if self.linear is None:
            return logits
        known = (rank.unsqueeze(-2) < rank.unsqueeze(-1)).to(h.dtype)
        table = known.unsqueeze(-1) * one_hot(x, self.vocab).to(h.dtype).unsqueeze(-3)
        return logits + (table.flatten(-2).transpose(0, 1) @ self.linear).transpose(0, 1)

    def next_logits(self, x: Tensor, at: Tensor) -> Tensor:
        """``forward`` at one position a row and t = share of masks, (n, L) with masks and (n,) -> (n, V)."""
        known = one_hot(x, self.vocab + 1)[..., : self.vocab].flatten(-2).to(self.start.dtype)
        h = self._body(known @ self.tokens + self.start, (x == self.vocab).double().mean(-1))
        logits = (h.unsqueeze(-2) @ self.head[at]).squeeze(-2) + self.bias[at]
        if self.linear is None:
            return logits
        return logits + (known.unsqueeze(-2) @ self.linear[at]).squeeze(-2)

    def _body(self, h: Tensor, t: Tensor) -> Tensor:
        if self.time is not None:
            angles = math.pi * t.unsqueeze(-1).to(h.dtype) * self.frequencies
            h = h + self.time(torch.cat([angles.sin(), angles.cos()], -1))
        for block in self.blocks:
            h = block(h)
        return silu(h)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.leave(silu(self.enter(silu(h))))
