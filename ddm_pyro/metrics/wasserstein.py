"""Metrics of Lipschitz functions: the Wasserstein-1 distance for the Hamming metric, and bounded Lipschitz."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import Samples, Tabular
from ddm_pyro.metrics.assignment import atom_potential, capped
from ddm_pyro.metrics.base import Witness
from ddm_pyro.metrics.blocks import PositionTV, varying
from ddm_pyro.metrics.hamming import hamming_distances
from ddm_pyro.metrics.ipm import IPM
from ddm_pyro.metrics.laws import Joint, Law, some_rows
from ddm_pyro.metrics.rows import Array, to_numpy
from ddm_pyro.metrics.transport import STAR_STATES, star_potential
from ddm_pyro.spaces import StateSpace

#: Rows of each side that enter the plug-in distance of two samples.
PLUG_IN_ROWS = 1000
#: Rows of each side to which a witness is fitted.
WITNESS_ROWS = 1000
#: Largest number of states for which samples are compared through their pmf rather than row by row.
SMALL_STATES = 4096


class _HammingLipschitz(IPM, ABC):
    """sup over functions that are 1-Lipschitz for min(Hamming, cap): an optimal transport cost."""

    cap: ClassVar[int | None] = None
    permutations: ClassVar[int] = 8

    def constant(self, space: StateSpace) -> float:
        """Half the largest distance of two sequences, min(positions that can vary, cap)/2."""
        longest = sum(varying(space))
        return (longest if self.cap is None else min(longest, self.cap)) / 2.0

    def local_constant(self, space: StateSpace, free: int) -> float:
        """min(free positions, cap)/2."""
        return min(self.constant(space), free / 2.0)

    def exact(self, space: StateSpace, atoms: Tensor, p: Tensor, q: Tensor) -> tuple[float, Witness]:
        """The transport cost and a whole-number potential, 1-Lipschitz on the whole space."""
        rows, difference = to_numpy(atoms), to_numpy(p - q)
        if self._through_states(space, difference):
            index = to_numpy(space.index(atoms))
            dense = np.zeros(space.num_states)
            dense[index] = difference
            table = star_potential(space.radices, dense, self.cap)
            # Two pmfs may differ in mass by rounding; a distance is not negative for that.
            return max(0.0, float(table[index] @ difference)), Witness(_table(space, table), osc=float(np.ptp(table)))
        anchors, values = atom_potential(rows, difference, self.cap)
        fn, osc = self._extended(anchors, values, rows)
        return max(0.0, float(to_numpy(fn(atoms)) @ difference)), Witness(fn, osc)

    def _through_states(self, space: StateSpace, difference: Array) -> bool:
        if space.is_countable or space.num_states > STAR_STATES:
            return False
        # Whichever graph has fewer arcs: all pairs of atoms, or the star on all states.
        return bool((difference > 0).sum() * (difference < 0).sum() > space.num_states * space.length)

    def _extended(self, anchors: Array, values: Array, rows: Array) -> tuple[_Envelope, float]:
        fn = _Envelope(anchors, values, self.cap, -math.inf, math.inf)
        seen = to_numpy(fn(torch.from_numpy(rows)))
        # Clipping to the range on the atoms keeps the constant 1 and the values there, and bounds f everywhere.
        return _Envelope(anchors, values, self.cap, float(seen.min()), float(seen.max())), float(np.ptp(seen))

    def thin(self, space: StateSpace, a: Law, b: Law, seed: int) -> tuple[Law, Law]:
        """Equal numbers of rows, at most PLUG_IN_ROWS, unless the states are few or a pmf is known on few."""
        few = not space.is_countable and space.num_states <= SMALL_STATES
        if few and (isinstance(a, Tabular) or isinstance(b, Tabular) or space.num_states <= SMALL_STATES // 4):
            return a, b
        rows = min([len(law) for law in (a, b) if isinstance(law, Samples)] + [PLUG_IN_ROWS])
        return self._rows(a, rows, seed, "p"), self._rows(b, rows, seed, "q")

    def _rows(self, law: Law, rows: int, seed: int, label: str) -> Samples:
        seed = random.derive_seed(seed, label)
        x = some_rows(law, seed, label, rows)
        order = np.random.default_rng(seed).permutation(len(x))[:rows]
        return Samples(x[torch.from_numpy(order)], law.space)

    def witnesses(self, space: StateSpace, a: Law, b: Law, seed: int) -> Sequence[Witness]:
        """The transport potential of some training rows, and a sum of indicators, one a position."""
        few = not space.is_countable and space.num_states <= SMALL_STATES
        if few:
            fitted = a, b
        else:
            rows = min([len(law) for law in (a, b) if isinstance(law, Samples)] + [WITNESS_ROWS])
            fitted = self._rows(a, rows, seed, "p"), self._rows(b, rows, seed, "q")
        return [self.exact(space, *Joint.of(*fitted).tensors())[1], self._position_witness(space, a, b)]

    def _position_witness(self, space: StateSpace, a: Law, b: Law) -> Witness:
        witness = PositionTV("sum").exact(space, *Joint.of(a, b).tensors())[1]
        if self.cap is None or witness.osc <= self.cap:
            return witness
        # A sum of 0/1 functions of single positions is 1-Lipschitz; a window of width cap around its middle keeps
        # most of it.
        middle = sum(float(np.median(to_numpy(witness.fn(some_rows(law, 0, "p"))))) for law in (a, b)) / 2.0
        low, high = middle - self.cap / 2.0, middle + self.cap / 2.0
        return Witness(lambda x: witness.fn(x).clamp(low, high), osc=float(self.cap))


@dataclass(frozen=True)
class _Envelope:
    """x -> min_j (g_j + min(Hamming(x, y_j), cap)), clipped to [low, high]."""

    anchors: Array
    values: Array
    cap: int | None
    low: float
    high: float

    def __call__(self, x: Tensor) -> Tensor:
        rows = to_numpy(x).reshape(-1, self.anchors.shape[1])
        parts = [
            (self.values + capped(hamming_distances(rows[i : i + 4096], self.anchors), self.cap)).min(1)
            for i in range(0, len(rows), 4096)
        ]
        found = np.clip(np.concatenate(parts), self.low, self.high)
        return torch.from_numpy(found).reshape(x.shape[:-1]).to(x.device)


@dataclass(frozen=True)
class _table:
    space: StateSpace
    values: Array

    def __call__(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.values[to_numpy(self.space.index(x))]).to(x.device)


@final
@dataclass(frozen=True)
class HammingWasserstein(_HammingLipschitz):
    """Wasserstein-1 with the Hamming distance: the least expected number of positions to change to turn p into q.

    Functions with |f(x) - f(y)| <= number of positions where x and y differ. C_F = L/2. Exact on pmfs by min-cost
    flow on states x positions arcs (4096 states: about 1 to 5 s, with ortools under 1 s). On samples the plug-in
    value hardly depends on the laws once sequences are long: read the lower limit, or use a sum of position TVs or an
    MMD.

    Example:
        >>> from ddm_pyro.distributions import Tabular
        >>> p, q = Tabular(torch.tensor([[0.5, 0.0], [0.0, 0.5]])), Tabular(torch.tensor([[0.0, 0.5], [0.5, 0.0]]))
        >>> HammingWasserstein()(p, q).value
        1.0
    """

    name: ClassVar[str] = "core/w1-hamming"


@final
@dataclass(frozen=True)
class BoundedLipschitz(_HammingLipschitz):
    """Bounded Lipschitz in the convention of Fortet and Mourier: |f| <= 1 and |f(x) - f(y)| <= Hamming(x, y).

    Equal to the transport cost for min(Hamming, 2), since a function that is 1-Lipschitz for it varies by at most 2
    and can be centered. C_F = min(2, L)/2. (Dudley's convention, |f| + Lip f <= 1, is another metric.)

    Example:
        >>> from ddm_pyro.distributions import Tabular
        >>> p, q = torch.zeros(2, 2, 2), torch.zeros(2, 2, 2)
        >>> p[0, 0, 0] = q[1, 1, 1] = 1
        >>> BoundedLipschitz()(Tabular(p), Tabular(q)).value
        2.0
    """

    name: ClassVar[str] = "core/bounded-lipschitz"
    cap: ClassVar[int | None] = 2
