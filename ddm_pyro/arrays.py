"""Numbers from users in float64, and constants on the device they are used on."""

from __future__ import annotations

from collections.abc import Sequence
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


def has_data(x: Tensor) -> bool:
    """Whether ``x`` holds numbers that can be looked at: fake and traced stand-ins do not.

    Example:
        >>> has_data(torch.zeros(2))
        True
    """
    return type(x) is Tensor


class OnDevice:
    """Constant numbers, copied to a device once: a copy inside a step would make the host wait for the device.

    Args:
        values: a tensor, or a sequence of numbers.

    Example:
        >>> sizes = OnDevice((2, 3))
        >>> sizes.on("cpu") is sizes.on("cpu"), sizes.on("cpu").tolist()
        (True, [2, 3])
    """

    def __init__(self, values: Tensor | Sequence[float]) -> None:
        self.values: Any = values
        self._copies: dict[torch.device, Tensor] = {}

    def on(self, device: torch.device | str) -> Tensor:
        """The values as a tensor on ``device``."""
        device = torch.device(device)
        found = self._copies.get(device)
        if found is None:
            # Kept copies must serve training as well as torch.inference_mode(), and outlive fake tensor modes.
            with torch.inference_mode(False):
                known = isinstance(self.values, Tensor)
                found = self.values.to(device) if known else torch.tensor(self.values, device=device)
            if self._keeps(found) and not getattr(self.values, "requires_grad", False):
                self._copies[device] = found
        return found

    @staticmethod
    def _keeps(copy: Tensor) -> bool:
        return has_data(copy)

    def __getstate__(self) -> dict[str, Any]:
        return {"values": self.values, "_copies": {}}
