"""Reading numbers from users: float64 whatever they come as."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def float64(values: Any, device: torch.device | str | None = None) -> Tensor:
    """A float64 tensor on the values' own device; lists and numbers never pass through float32.

    Example:
        >>> float64([0.1]).item() == 0.1
        True
    """
    if isinstance(values, Tensor):
        return values.to(torch.float64)
    return torch.as_tensor(values, dtype=torch.float64, device=device)
