"""MMD of the Hamming kernel in time linear in the number of rows.

With rho = exp(-1/bandwidth) the kernel exp(-Hamming/bandwidth) is the product over positions of rho + (1 - rho) 1[x_l
= y_l]: the probability that x and y agree on a random set T holding each position independently with probability 1 -
rho. So MMD^2 is the mean over T of the squared l2 distance between the laws of x_T and y_T, which is counted from
collisions. |T| = 0 adds nothing, |T| = 1 is summed exactly, larger T are drawn with stratified sizes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddm_pyro.metrics.rows import Array


@dataclass(frozen=True)
class SubsetEstimate:
    """Unbiased MMD^2 with the standard errors due to the rows and due to the drawn subsets.

    Example:
        >>> SubsetEstimate(0.5, 0.3, 0.4).stderr
        0.5
    """

    value: float
    stderr_rows: float
    stderr_subsets: float

    @property
    def stderr(self) -> float:
        """Both together."""
        return math.hypot(self.stderr_rows, self.stderr_subsets)


def subset_mmd2(x: Array, y: Array, bandwidth: float, subsets: int, rng: np.random.Generator) -> SubsetEstimate:
    """The U-statistic of MMD^2 for exp(-Hamming/bandwidth), averaged over position subsets.

    Args:
        x, y: (n, L) and (m, L) tokens, n and m at least 2.
        bandwidth: of the kernel.
        subsets: how many subsets of two or more positions are drawn.
        rng: where they come from.

    Example:
        >>> x = np.array([[0, 1], [0, 1], [1, 1]])
        >>> round(subset_mmd2(x, 1 - x, 2.0, 8, np.random.default_rng(0)).value, 6)
        0.527481
    """
    length = x.shape[1]
    chance = subset_sizes(length, bandwidth)
    single, rest = float(chance[1]), float(chance[2:].sum())
    values, rows = [], np.zeros(len(x) + len(y))
    columns = _Columns.of(x, y, rng)
    for position in range(length):
        value, each = columns.collisions([position])
        values.append(value)
        rows += single / length * each
    total = single * float(np.mean(values))
    if length == 1 or rest == 0.0:
        return SubsetEstimate(total, _row_error(rows, len(x)), 0.0)
    strata = (np.arange(subsets) + rng.random()) / subsets
    sizes = np.minimum(2 + np.searchsorted(chance[2:].cumsum(), rest * strata), length)
    drawn = []
    for size in sizes:
        value, each = columns.collisions(rng.permutation(length)[:size])
        drawn.append(value)
        rows += rest / subsets * each
    spread = float(np.std(drawn, ddof=1)) / math.sqrt(subsets) if subsets > 1 else math.inf
    return SubsetEstimate(total + rest * float(np.mean(drawn)), _row_error(rows, len(x)), rest * spread)


def subset_sizes(length: int, bandwidth: float) -> Array:
    """Probabilities that the random set T holds 0 .. length positions: binomial, each kept with chance 1 -
    exp(-1/bandwidth).

    Example:
        >>> subset_sizes(2, 1 / math.log(2)).round(12).tolist()
        [0.25, 0.5, 0.25]
    """
    k = np.arange(length + 1)
    ways = np.array([math.lgamma(length + 1) - math.lgamma(i + 1) - math.lgamma(length - i + 1) for i in k])
    # The logarithms of both chances, so that neither underflows to 0 at extreme bandwidths.
    probabilities: Array = np.exp(ways + k * math.log(-math.expm1(-1.0 / bandwidth)) - (length - k) / bandwidth)
    return probabilities


def _row_error(rows: Array, n: int) -> float:
    x, y = rows[:n], rows[n:]
    return math.sqrt(4.0 * float(x.var(ddof=1)) / len(x) + 4.0 * float(y.var(ddof=1)) / len(y))


@dataclass(frozen=True)
class _Columns:
    """Tokens of both samples times random odd 64-bit numbers: a sum of columns is a hash of the subset.

    Two different rows share a hash with probability about 2**-48 at most, below anything counted here.
    """

    hashed: Array
    n: int

    @staticmethod
    def of(x: Array, y: Array, rng: np.random.Generator) -> _Columns:
        multipliers: Any = rng.integers(0, 2**64, size=x.shape[1], dtype=np.uint64)
        tokens = np.concatenate([x, y]).T.astype(np.uint64)
        return _Columns(tokens * multipliers[:, None], len(x))

    def collisions(self, subset: Array | list[int]) -> tuple[float, Array]:
        """Unbiased squared l2 distance of the two laws on the subset, and each row's part in it."""
        keys = self.hashed[subset].sum(0, dtype=np.uint64)
        _, group = np.unique(keys, return_inverse=True)
        n, m = self.n, len(keys) - self.n
        in_x, in_y = (np.bincount(part, minlength=int(group.max()) + 1) for part in (group[:n], group[n:]))
        of_x = (in_x[group[:n]] - 1) / (n - 1) - in_y[group[:n]] / m
        of_y = (in_y[group[n:]] - 1) / (m - 1) - in_x[group[n:]] / n
        return float(of_x.mean() + of_y.mean()), np.concatenate([of_x, of_y])
