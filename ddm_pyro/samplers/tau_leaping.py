"""Tau-leaping: Poisson jumps at rates held over the step, one jump a position kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ddm_pyro.samplers.thinning import RateSampler


@dataclass(frozen=True)
class TauLeaping(RateSampler):
    """Each position sees a Poisson number of jumps at its total rate r held over the step h = t - s.

    ``multi_jump="first"`` keeps the first jump: it leaves with probability 1 - exp(-h r). ``"reject"`` discards
    positions with more than one (tauLDR): it leaves with probability h r exp(-h r). Targets follow the rates.

    Raises:
        ValueError: an unknown policy.

    Example:
        >>> [round(TauLeaping(policy).leave(torch.tensor(1.0)).item(), 4) for policy in ("first", "reject")]
        [0.6321, 0.3679]
    """

    multi_jump: Literal["first", "reject"] = "first"

    def __post_init__(self) -> None:
        if self.multi_jump not in ("first", "reject"):
            raise ValueError(f"multi_jump={self.multi_jump!r} must be 'first' or 'reject'.")

    def leave(self, mean: Tensor) -> Tensor:
        """1 - exp(-h r), or h r exp(-h r)."""
        return -torch.expm1(-mean) if self.multi_jump == "first" else mean * torch.exp(-mean)
