"""A small network on counts: no embedding table, so no largest count."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

#: Frequencies of the sines of the time, in radians over [0, 1].
FREQUENCIES = (1.0, 3.0, 10.0, 30.0)


class CountMLP(nn.Module):
    """(x, t) -> (..., L, 2), starting at zero.

    Args:
        length: L.
        scale: a typical count, by which counts are divided.
        period: m on a circle, where counts enter by their angle; None on a line.
        width, depth: of the hidden layers.

    Example:
        >>> CountMLP(3, scale=4.0)(torch.tensor([[0, 7, 2000]]), torch.tensor([0.5])).shape
        torch.Size([1, 3, 2])
    """

    def __init__(
        self, length: int, scale: float = 1.0, period: int | None = None, width: int = 128, depth: int = 2
    ) -> None:
        super().__init__()
        self.length, self.scale, self.period = length, scale, period
        sizes = [2 * length + 2 * len(FREQUENCIES), *[width] * depth]
        layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.SiLU())]
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(width, 2 * length)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Two scores a coordinate."""
        angles = t.unsqueeze(-1) * torch.tensor(FREQUENCIES, dtype=t.dtype, device=t.device)
        features = torch.cat([*self._features(x.to(t.dtype)), angles.sin(), angles.cos()], -1)
        return self.head(self.trunk(features)).unflatten(-1, (self.length, 2))

    def _features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.period is None:
            return torch.log1p(x), x / (x + self.scale)
        angle = 2.0 * math.pi / self.period * x
        return angle.sin(), angle.cos()
