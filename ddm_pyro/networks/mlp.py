"""A residual multilayer perceptron over the whole sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ddm_pyro.networks.base import Condition, Network, zero_head

#: Width of a token's embedding before the sequence is flattened.
EMBEDDING = 16


class MLP(Network):
    """Embedded tokens, flattened, through residual blocks modulated by the time; small spaces and images.

    Args:
        num_symbols: A, mask included.
        length: L.
        out: values a position; default ``num_symbols``.
        width: of the hidden layers.
        depth: number of residual blocks.
        classes: number of labels for ``label=``; default none.

    Raises:
        ValueError: a size below 1, or a label without classes.

    Example:
        >>> net = MLP(num_symbols=3, length=4, out=2, width=8, depth=1)
        >>> net(torch.zeros(5, 4, dtype=torch.int64), torch.full((5,), 0.5)).shape
        torch.Size([5, 4, 2])
    """

    def __init__(
        self,
        *,
        num_symbols: int,
        length: int,
        out: int | None = None,
        width: int = 128,
        depth: int = 2,
        classes: int | None = None,
    ) -> None:
        super().__init__(num_symbols=num_symbols, length=length, out=out, width=width, depth=depth, classes=classes)
        self.embed = nn.Embedding(num_symbols, EMBEDDING)
        self.enter = nn.Linear(length * EMBEDDING, width)
        self.condition = Condition(width, classes)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(depth))
        # Each position reads the shared features through a slice of its own, and its own token.
        self.spread = nn.Linear(width, length * EMBEDDING)
        self.own = nn.Linear(EMBEDDING, 4 * EMBEDDING)
        self.mix = nn.Linear(EMBEDDING, 4 * EMBEDDING)
        self.head = zero_head(4 * EMBEDDING, num_symbols if out is None else out)

    def trunk(self, x: Tensor, t: Tensor, *, label: Tensor | None = None) -> Tensor:
        """(..., L) and (...,) -> (..., L, D)."""
        tokens = self.embed(x)
        condition = self.condition(t, label)
        h = self.enter(tokens.flatten(-2))
        for block in self.blocks:
            h = block(h, condition)
        spread = self.spread(h).unflatten(-1, tokens.shape[-2:])
        return torch.nn.functional.silu(self.mix(spread) + self.own(tokens))


class ResidualBlock(nn.Module):
    """h + layers(norm(h) modulated by the condition)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.shift = nn.Linear(width, 2 * width)
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """(..., D) each -> (..., D)."""
        scale, shift = self.shift(condition).chunk(2, -1)
        return h + self.layers(self.norm(h) * (1 + scale) + shift)
