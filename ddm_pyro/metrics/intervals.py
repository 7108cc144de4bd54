"""Deviations that hold at every sample size, whatever the laws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist


def deviation(constant: float, inverse_sizes: float, delta: float) -> float:
    """eps = C sqrt(2 (1/n + 1/m) log(1/delta)), exceeded with probability at most delta.

    With C the half diameter of an IPM this is McDiarmid's inequality for the plug-in distance: exchanging one of n
    rows moves it by at most 2C/n. With C half the oscillation of a fixed function it is Hoeffding's for a difference
    of two means.

    Args:
        constant: C, may be infinite.
        inverse_sizes: 1/n + 1/m, where a law known exactly adds 0.
        delta: probability of exceeding, in (0, 1).

    Example:
        >>> round(deviation(0.5, 1 / 1000 + 1 / 1000, 0.025), 4)
        0.0607
    """
    return 0.0 if inverse_sizes == 0.0 else constant * math.sqrt(2.0 * inverse_sizes * math.log(1.0 / delta))


def bernstein(variances: Sequence[float], sizes: Sequence[int], osc: float, delta: float) -> float:
    """How far a sum or difference of sample means is from its mean, but with probability delta: empirical Bernstein.

    Each mean of n values with sample variance v and range osc deviates by at most
    sqrt(2 v log(2/d) / n) + 7 osc log(2/d) / (3 (n - 1)) but with probability d (Maurer and Pontil 2009, theorem 4);
    the sides share delta. Narrower than Hoeffding's when the variance is far below osc^2.

    Args:
        variances: sample variance on each side.
        sizes: rows on each side; below 2 the answer is infinite.
        osc: range of the values.
        delta: probability, in (0, 1).

    Example:
        >>> round(bernstein([0.01], [1000], 1.0, 0.05), 4), bernstein([0.0], [1], 1.0, 0.05)
        (0.0172, inf)
    """
    log = math.log(2.0 * len(sizes) / delta) if sizes else 0.0
    return sum(
        math.sqrt(2.0 * v * log / n) + 7.0 * osc * log / (3.0 * (n - 1)) if n > 1 else math.inf
        for v, n in zip(variances, sizes, strict=True)
    )


def normal_margin(stderr: float, confidence: float) -> float:
    """Half the width of the two-sided normal interval: right as the number of rows grows, not at every size.

    Example:
        >>> round(normal_margin(1.0, 0.95), 4)
        1.96
    """
    return NormalDist().inv_cdf(0.5 + confidence / 2.0) * stderr
