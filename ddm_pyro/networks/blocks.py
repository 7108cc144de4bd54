"""Attention blocks with the time in their layer norms (adaLN, Peebles and Xie, arXiv:2212.09748)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu


class AdaptiveNorm(nn.Module):
    """Layer norm with scale and shift read from the condition, and gates (which start at zero) for the rest."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.parts, self.modulation = parts, nn.Linear(width, parts * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, h: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        """(B, L, D) and (B, 1, D) -> the normed features, and the gates."""
        scale, shift, *gates = self.modulation(silu(condition)).chunk(self.parts, -1)
        return self.norm(h) * (1 + scale) + shift, *gates


class Block(nn.Module):
    """Attention and a perceptron; with ``causal`` a position attends to itself and to those before it."""

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.attention_norm, self.layers_norm = AdaptiveNorm(width, parts=3), AdaptiveNorm(width, parts=3)
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """(B, L, D) and (B, 1, D) -> (B, L, D)."""
        normed, gate = self.attention_norm(h, condition)
        h = h + (1 + gate) * self._attend(normed)
        normed, gate = self.layers_norm(h, condition)
        return h + (1 + gate) * self.layers(normed)

    def _attend(self, h: Tensor) -> Tensor:
        split = self.query_key_value(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(split[0], split[1], split[2], is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).flatten(-2))
