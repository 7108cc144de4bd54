"""Numbers of a row, read with suspicion and printed short."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def number(row: Mapping[str, Any], key: str) -> float | None:
    """The number under ``key``, or None when it is absent, null or no number; NaN and infinities are kept.

    Example:
        >>> number({"value": "Infinity"}, "value"), number({"value": True}, "value"), number({}, "value")
        (inf, None, None)
    """
    value = row.get(key)
    if value is None or isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def finite(row: Mapping[str, Any], key: str) -> float | None:
    """As ``number``, with None for NaN and infinities.

    Example:
        >>> finite({"value": float("nan")}, "value"), finite({"value": 2}, "value")
        (None, 2.0)
    """
    value = number(row, key)
    return value if value is not None and math.isfinite(value) else None


def show(value: float | None, digits: int = 3) -> str:
    """Three significant digits in at most eight characters; a hyphen when there is no number.

    Example:
        >>> [show(value) for value in (0.0, 0.12345, 3.0, 1234.5, 1.5e-7, -0.5, 64.0, 0.9999, None)]
        ['0', '0.123', '3.00', '1234', '1.5e-07', '-0.500', '64.0', '1.00', '-']
    """
    if value is None:
        return "-"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0.0:
        return "0"
    size = abs(float(f"{value:.{digits - 1}e}"))  # as printed: 0.9999 is 1.00
    if size < 1e-3 or size >= 1e5:
        return f"{value:.{digits - 2}e}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(size)))}f}"


def whole(value: float | None) -> str:
    """A count: without decimals when it has none.

    Example:
        >>> whole(64.0), whole(12.34), whole(None)
        ('64', '12.3', '-')
    """
    if value is None or not math.isfinite(value):
        return show(value)
    return f"{value:.0f}" if value == round(value) else f"{value:.1f}"


def duration(seconds: float | None) -> str:
    """A time for people.

    Example:
        >>> duration(0.25), duration(75), duration(7300)
        ('0.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
