"""A bidirectional transformer with the time in its layer norms (adaLN, Peebles and Xie, arXiv:2212.09748)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from ddm_pyro.networks.base import Condition, Network, zero_head


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
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = _AdaptiveNorm(width, parts=2)
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


class _AdaptiveNorm(nn.Module):
    """Layer norm with scale and shift read from the condition, and gates (which start at zero) for the rest."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.parts, self.modulation = parts, nn.Linear(width, parts * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, h: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        scale, shift, *gates = self.modulation(silu(condition)).chunk(self.parts, -1)
        return self.norm(h) * (1 + scale) + shift, *gates


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.layers_norm = _AdaptiveNorm(width, parts=3), _AdaptiveNorm(width, parts=3)
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        normed, gate = self.attention_norm(h, condition)
        h = h + (1 + gate) * self._attend(normed)
        normed, gate = self.layers_norm(h, condition)
        return h + (1 + gate) * self.layers(normed)

    def _attend(self, h: Tensor) -> Tensor:
        split = self.query_key_value(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(scaled_dot_product_attention(split[0], split[1], split[2]).transpose(1, 2).flatten(-2))
