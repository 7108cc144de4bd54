"""Euler steps: the jump chain of I + h R."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ddm_pyro.samplers.thinning import RateSampler

#: How far rounding may push h r past 1 where it is 1, as in the last step of a linear schedule.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Euler(RateSampler):
    """Position l goes to v with probability h R_t(x, x with l set to v), h = t - s, and stays with the rest.

    Where the probability of staying would be negative, ``negative="clip"`` jumps surely, in proportion to the rates;
    ``negative="raise"`` refuses the step (and reads one value back to the host a step).

    Raises:
        ValueError: an unknown policy; with "raise", a step in which h times a total rate exceeds 1.

    Example:
        >>> import torch
        >>> Euler().leave(torch.tensor([0.25, 1.75])).tolist()
        [0.25, 1.0]
    """

    negative: Literal["clip", "raise"] = "clip"

    def __post_init__(self) -> None:
        if self.negative not in ("clip", "raise"):
            raise ValueError(f"negative={self.negative!r} must be 'clip' or 'raise'.")

    @property
    def syncs(self) -> bool:  # type: ignore[override]
        """Only the policy "raise" looks at values."""
        return self.negative == "raise"

    def leave(self, mean: Tensor) -> Tensor:
        """min(1, h r)."""
        if self.negative == "raise" and bool((mean > 1.0 + ROUNDING).any()):
            raise ValueError(
                f"An Euler step would leave a token with probability {float(mean.max()):.4g} > 1; "
                "use more steps, negative='clip', or core/tau-leaping."
            )
        return mean.clamp(max=1.0)
