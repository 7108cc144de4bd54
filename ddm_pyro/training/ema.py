"""Exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class MovingAverage:
    """average <- decay_k average + (1 - decay_k) weights, with decay_k = min(decay, (1 + k) / (10 + k)).

    The smaller decay of the first steps k = 0, 1, ... forgets the random start.

    Example:
        >>> weight = torch.tensor([0.0])
        >>> average = MovingAverage([weight], decay=0.999)
        >>> average.update([weight + 1.0], step=0)
        >>> average.values[0].item()  # decay_0 = 0.1
        0.8999999761581421
    """

    def __init__(self, weights: Sequence[Tensor], decay: float) -> None:
        self.values = [weight.detach().clone() for weight in weights]
        self.decay = decay

    @torch.no_grad()
    def update(self, weights: Sequence[Tensor], step: int) -> None:
        """Take in the weights after step number ``step`` (from 0)."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        torch._foreach_lerp_(self.values, list(weights), 1.0 - decay)
