"""MMD with the kernel exp(-Hamming/bandwidth): exact on pmfs, estimated on any number of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch

from ddm_pyro import random
from ddm_pyro.distributions import Samples
from ddm_pyro.metrics.base import Estimate
from ddm_pyro.metrics.blocks import varying
from ddm_pyro.metrics.hamming import distance_tiles
from ddm_pyro.metrics.laws import TABULAR_STATES, Law, weighted_rows
from ddm_pyro.metrics.mmd import MMD, PAIR_ROWS, Moments
from ddm_pyro.metrics.rows import Array, to_numpy
from ddm_pyro.metrics.subset import subset_mmd2
from ddm_pyro.spaces import StateSpace

#: Rows of each side that the limits rest on when the value comes from subsets.
LIMIT_ROWS = 5000
#: Subsets of positions drawn by the linear-time estimator.
SUBSETS = 256


@final
@dataclass(frozen=True)
class HammingMMD(MMD):
    """MMD with k(x, y) = exp(-Hamming(x, y) / bandwidth), a product over positions.

    C_F = sqrt((1 - e^{-L/bandwidth}) / 2). Exact on pmfs in O(states x positions). The one metric here that is
    estimated, not only bracketed, from a moderate number of rows at any length and vocabulary.

    Args:
        bandwidth: in positions; None for the length L. A small one asks whether whole sequences agree, a large one
            compares the laws of single positions.
        method: "histogram" visits all pairs of rows (at most 20,000 rows a side, more are thinned); "subset" counts
            collisions on random sets of positions, linear in the rows; "auto" takes all pairs up to 20,000 rows a side.
            Spaces with few states are summed over states in any case.

    Raises:
        ValueError: a bandwidth that is not positive, or another method.

    Example:
        >>> from ddm_pyro.distributions import Tabular
        >>> p, q = torch.zeros(2, 2), torch.zeros(2, 2)
        >>> p[0, 0] = q[1, 1] = 1
        >>> round(HammingMMD(bandwidth=1.0)(Tabular(p), Tabular(q)).value, 6)
        1.31504
    """

    bandwidth: float | None = None
    method: Literal["auto", "histogram", "subset"] = "auto"
    name: ClassVar[str] = "core/mmd-hamming"

    def __post_init__(self) -> None:
        if self.bandwidth is not None and not 0.0 < self.bandwidth < math.inf:
            raise ValueError(
                f"bandwidth={self.bandwidth} must be a positive number of positions, or None for the length."
            )
        if self.method not in ("auto", "histogram", "subset"):
            raise ValueError(f"method={self.method!r} must be one of auto, histogram, subset.")

    def scale(self, space: StateSpace) -> float:
        """The bandwidth on a space."""
        return float(space.length if self.bandwidth is None else self.bandwidth)

    def constant(self, space: StateSpace) -> float:
        """sqrt((1 - e^{-L/bandwidth})/2), L counting the positions that can vary."""
        return math.sqrt(-math.expm1(-sum(varying(space)) / self.scale(space)) / 2.0)

    def local_constant(self, space: StateSpace, free: int) -> float:
        """sqrt((1 - e^{-free/bandwidth})/2)."""
        return min(self.constant(space), math.sqrt(-math.expm1(-free / self.scale(space)) / 2.0))

    def gram(self, space: StateSpace, x: Array, y: Array) -> Array:
        """exp(-Hamming/bandwidth) for all pairs of rows."""
        values = np.exp(-np.arange(space.length + 1) / self.scale(space))
        out = np.empty((len(x), len(y)))
        for rows, columns, distances in distance_tiles(x, y):
            out[rows, columns] = values[distances]
        return out

    def diagonal(self, space: StateSpace, x: Array) -> Array:
        """Ones."""
        return np.ones(len(x))

    def embedding(self, space: StateSpace, rows: Array, weights: Array, at: Array) -> Array:
        """sum_j w_j k(x, x_j): through the pmf on all states where these are fewer than the pairs."""
        if not self._sums_states(space, len(rows) * len(at)):
            return super().embedding(space, rows, weights, at)
        table = np.bincount(self._index(space, rows), weights, space.num_states).reshape(space.radices)
        rho = math.exp(-1.0 / self.scale(space))
        for axis in range(table.ndim):
            table = (1.0 - rho) * table + rho * table.sum(axis, keepdims=True)
        values: Array = table.reshape(-1)[self._index(space, at)]
        return values

    def cross(self, space: StateSpace, a: Law, b: Law) -> tuple[Array, Array]:
        """Mean embedding of b at the rows of a, and of a at the rows of b."""
        (x, wx), (y, wy) = weighted_rows(a), weighted_rows(b)
        if self._sums_states(space, len(x) * len(y)):
            return self.embedding(space, y, wy, x), self.embedding(space, x, wx, y)
        return super().cross(space, a, b)

    def _sums_states(self, space: StateSpace, pairs: int) -> bool:
        return not space.is_countable and space.num_states <= min(TABULAR_STATES, pairs)

    def _index(self, space: StateSpace, rows: Array) -> Array:
        return to_numpy(space.index(torch.from_numpy(rows)))

    def estimate(self, space: StateSpace, a: Law, b: Law, *, seed: int, confidence: float) -> Estimate:
        """As ``MMD.estimate``, by states, pairs or subsets."""
        sizes = [len(law) for law in (a, b) if isinstance(law, Samples)]
        if self.method != "subset" and self._sums_states(space, min(sizes) ** 2):
            moments = self.moments(space, a, b)
            return self._report(space, (a, b), (a, b), moments, moments, "sums over states", seed, confidence)
        many = self.method == "subset" or (self.method == "auto" and max(sizes) > PAIR_ROWS)
        if not many or len(sizes) < 2 or min(sizes) < 2:
            return super().estimate(space, a, b, seed=seed, confidence=confidence)
        x, y = weighted_rows(a)[0], weighted_rows(b)[0]
        found = subset_mmd2(
            x, y, self.scale(space), SUBSETS, np.random.default_rng(random.derive_seed(seed, "subsets"))
        )
        limited = self._thinned(a, LIMIT_ROWS, seed), self._thinned(b, LIMIT_ROWS, seed + 1)
        limits = self.moments(space, *limited)
        value = Moments(found.value, found.stderr, limits.plug_in)
        how = f"{SUBSETS} position subsets (limits from at most {LIMIT_ROWS} rows a side)"
        return self._report(space, (a, b), limited, value, limits, how, seed, confidence)
