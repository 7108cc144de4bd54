"""A bidirectional transformer with the time in its layer norms (adaLN, Peebles and Xie, arXiv:2212.09748)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ddm_pyro.networks.base import Condition, Network, zero_head
from ddm_pyro.networks.blocks import AdaptiveNorm, Block


class Transformer(Network):
    """Tokens and learned positions through attention blocks whose norms are scaled and gated by the time.

    Args:
        num_symbols: A, mask included.
        length: L.
        out: values a position; default ``num_symbols``.
        width: of the residual stream, a multiple of ``heads``.
        depth: number of blocks.
        heads: number of attention heads.
        classes: number of labels for ``label=``; default none.

    Raises:
        ValueError: a size below 1, a width that the heads do not divide, or a label without classes.

    Example:
        >>> net = Transformer(num_symbols=3, length=4, out=2, width=8, depth=1, heads=2)
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
        heads: int = 4,
        classes: int | None = None,
    ) -> None:
        super().__init__(
            num_symbols=num_symbols, length=length, out=out, width=width, depth=depth, heads=heads, classes=classes
        )
        if width % heads:
            raise ValueError(f"width={width} must be a multiple of heads={heads}.")
        self.embed = nn.Embedding(num_symbols, width)
        self.position = nn.Parameter(0.02 * torch.randn(length, width))
        self.condition = Condition(width, classes)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = AdaptiveNorm(width, parts=2)
        self.head = zero_head(width, num_symbols if out is None else out)

    def trunk(self, x: Tensor, t: Tensor, *, label: Tensor | None = None) -> Tensor:
        """(..., L) and (...,) -> (..., L, D)."""
        batch = x.shape[:-1]
        condition = self.condition(t, label).expand(*batch, -1).reshape(-1, 1, self.position.shape[-1])
        h = self.embed(x).flatten(0, -3) if len(batch) else self.embed(x).unsqueeze(0)
        h = h + self.position
        for block in self.blocks:
            h = block(h, condition)
        h, *_ = self.norm(h, condition)
        return h.reshape(*batch, *h.shape[-2:])
