"""What an experiment's numbers are held against."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

#: Half a unit of the last printed digit, and a little for numbers that end in exactly half of one.
LAST_DIGIT = 0.501


@dataclass(frozen=True)
class Check:
    """low <= value <= high, and in words what that says.

    Attributes:
        statement: what is claimed of ``value``.
        value: measured.
        low, high: the interval it must lie in.
        source: whose claim it is.

    Example:
        >>> Check("slope of log KL against log T", -1.03, -1.15, -0.97, "arXiv 2505.21400, Theorem 1").passed
        True
    """

    statement: str
    value: float
    low: float = -math.inf
    high: float = math.inf
    source: str = ""

    @property
    def passed(self) -> bool:
        """Whether it holds; a value that is no number never does."""
        return self.low <= self.value <= self.high

    @property
    def required(self) -> str:
        """The interval in words."""
        if self.low == self.high:
            return f"= {self.low:g}"
        if math.isinf(self.high):
            return f"≥ {self.low:g}"
        return f"≤ {self.high:g}" if math.isinf(self.low) else f"{self.low:g} to {self.high:g}"


def at_most(statement: str, value: float, limit: float, source: str = "") -> Check:
    """value <= limit."""
    return Check(statement, value, high=limit, source=source)


def at_least(statement: str, value: float, limit: float, source: str = "") -> Check:
    """value >= limit."""
    return Check(statement, value, low=limit, source=source)


def digits(what: str, pairs: Iterable[tuple[float, str]], source: str) -> Check:
    """Measured numbers against printed ones: the largest deviation, in units of the last printed digit.

    Raises:
        ValueError: nothing to compare.

    Example:
        >>> digits("KL", [(0.82594981, "0.825950"), (1.23e-5, "1.2e-5")], "reference").passed
        True
    """
    found = [abs(value - float(printed)) / last_digit(printed) for value, printed in pairs]
    if not found:
        raise ValueError(f"There is no reference for {what}.")
    return Check(
        f"{what}: largest deviation from {len(found)} reference values, in units of their last digit",
        max(found, key=lambda one: math.inf if math.isnan(one) else one),
        high=LAST_DIGIT,
        source=source,
    )


def last_digit(printed: str) -> float:
    """What one unit in the last place of a printed number is worth.

    Example:
        >>> last_digit("0.4020"), last_digit("5.96574e-6"), last_digit("17"), last_digit(".02")
        (0.0001, 1e-11, 1.0, 0.01)
    """
    mantissa, _, exponent = printed.lower().partition("e")
    places = len(mantissa.partition(".")[2])
    return float(f"1e{int(exponent or 0) - places}")


def slope(x: Iterable[float], y: Iterable[float]) -> float:
    """Least-squares slope of log y against log x; NaN for fewer than two points.

    Example:
        >>> round(slope([1, 2, 4], [3, 0.75, 0.1875]), 12)
        -2.0
    """
    points = [(math.log(a), math.log(b)) for a, b in zip(x, y, strict=True)]
    if len(points) < 2:
        return math.nan
    mean_x, mean_y = (sum(column) / len(points) for column in zip(*points, strict=True))
    spread = sum((a - mean_x) ** 2 for a, _ in points)
    return sum((a - mean_x) * (b - mean_y) for a, b in points) / spread
