"""What a target refuses at its door, one sentence each."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ddm_pyro.distributions.tabular import MASS_TOLERANCE


def whole(value: Any, what: str, minimum: int = 1) -> int:
    """Return ``value`` as an int of at least ``minimum``, or raise ValueError.

    Example:
        >>> whole(3, "length")
        3
    """
    number = _number(value, what, f"a whole number of at least {minimum}")
    if isinstance(value, bool) or not number.is_integer() or number < minimum:
        raise ValueError(f"{what}={value!r} must be a whole number of at least {minimum}.")
    return int(value)


def finite(value: Any, what: str, largest: float = math.inf) -> float:
    """Return ``value`` as a finite float of size at most ``largest``, or raise ValueError."""
    number = _number(value, what, "a finite number")
    if not math.isfinite(number):
        raise ValueError(f"{what}={value!r} must be a finite number.")
    if abs(number) > largest:
        raise ValueError(f"{what}={value!r} is beyond {largest:g}, where float64 no longer holds the law exactly.")
    return number


def fraction(value: Any, what: str) -> float:
    """Return ``value`` in [0, 1), or raise ValueError."""
    number = _number(value, what, "at least 0 and less than 1")
    if not 0.0 <= number < 1.0:
        raise ValueError(f"{what}={value!r} must be at least 0 and less than 1.")
    return number


def _number(value: Any, what: str, wanted: str) -> float:
    """Return ``value`` as a float, or raise ValueError for what is no number, text included."""
    try:
        if isinstance(value, str):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{what}={value!r} must be {wanted}.") from None


def stochastic(values: Any, what: str) -> Tensor:
    """Return (..., K) float64 rows divided by their totals, or raise ValueError quoting the first bad row.

    Example:
        >>> stochastic([[0.5, 0.5], [1.0, 0.0]], "transition").tolist()
        [[0.5, 0.5], [1.0, 0.0]]
    """
    probs = torch.as_tensor(values, dtype=torch.float64).detach()
    if probs.dim() == 0 or probs.shape[-1] == 0:
        raise ValueError(f"{what} has shape {tuple(probs.shape)}; the last dimension lists probabilities.")
    bad = ~torch.isfinite(probs) | (probs < 0)
    if bool(bad.any()):
        raise ValueError(f"{what} has the entry {float(probs[bad][0])}; probabilities are finite and not negative.")
    totals = probs.sum(-1, keepdim=True)
    off = (totals - 1).abs() > MASS_TOLERANCE
    if bool(off.any()):
        row = torch.nonzero(off.squeeze(-1))[0].tolist()
        where = f" in row {row[0] if len(row) == 1 else tuple(row)}" if row else ""
        raise ValueError(f"{what} sums to {float(totals[off][0]):.9g}{where}; every row must sum to 1.")
    return probs / totals
