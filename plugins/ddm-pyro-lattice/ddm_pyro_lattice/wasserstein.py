"""Wasserstein-1 on a lattice: the least mean number of steps that turns one law into the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import Samples
from ddm_pyro.metrics import IPM, Witness
from ddm_pyro.metrics.laws import Joint, Law, some_rows
from ddm_pyro.metrics.rows import Array, to_numpy
from ddm_pyro.spaces import StateSpace

#: Largest number of states for which the flow on the whole grid is solved.
GRID_STATES = 2**13
#: Rows of each side that are compared where the grid is too large.
ROWS = 150


@dataclass(frozen=True)
class LatticeWasserstein(IPM):
    """sup over functions that change by at most 1 a lattice step: an optimal transport cost.

    The cost is sum_l |x_l - y_l|, or with ``cyclic`` the sum of distances round the circles. C_F is half the diameter,
    infinite on the natural numbers. Exact on pmfs, by a linear programme on the grid or on pairs of atoms.

    Example:
        >>> from ddm_pyro.distributions import Tabular
        >>> p, q = Tabular(torch.tensor([1.0, 0.0, 0.0, 0.0])), Tabular(torch.tensor([0.0, 0.0, 0.0, 1.0]))
        >>> round(LatticeWasserstein()(p, q).value, 9), round(LatticeWasserstein(cyclic=True)(p, q).value, 9)
        (3.0, 1.0)
    """

    name: ClassVar[str] = "lattice/w1"
    permutations: ClassVar[int] = 4

    cyclic: bool = False

    def constant(self, space: StateSpace) -> float:
        """Half the largest number of steps between two states."""
        if space.is_countable:
            return math.inf
        return sum(size // 2 if self.cyclic else size - 1 for size in space.position_sizes) / 2.0

    def exact(self, space: StateSpace, atoms: Tensor, p: Tensor, q: Tensor) -> tuple[float, Witness]:
        """The transport cost and a potential that attains it, 1-Lipschitz on the whole space."""
        periods = self._periods(space)
        rows, difference = to_numpy(atoms), to_numpy(p - q)
        sources, sinks = difference > 0, difference < 0
        if not sources.any() or not sinks.any():
            return 0.0, Witness(_Envelope(rows[:1], np.zeros(1), periods, 0.0, 0.0), osc=0.0)
        if _on_grid(space, int(sources.sum()) * int(sinks.sum())):
            flat = np.zeros(space.num_states)
            flat[to_numpy(space.index(atoms))] = difference
            anchors, heights = to_numpy(space.enumerate()), _grid_duals(space, self.cyclic, flat)
        else:
            anchors = rows[sinks]
            heights = _pair_duals(distances(rows[sources], anchors, periods), difference[sources], -difference[sinks])
        # Whatever the solver's rounding, the envelope is 1-Lipschitz exactly; clipping to its range on the atoms
        # changes nothing there and bounds it on the natural numbers.
        seen = _Envelope(anchors, heights, periods, -math.inf, math.inf)(atoms).numpy()
        witness = _Envelope(anchors, heights, periods, float(seen.min()), float(seen.max()))
        return float(seen @ difference), Witness(witness, osc=float(np.ptp(seen)))

    def _periods(self, space: StateSpace) -> Array | None:
        if not self.cyclic:
            return None
        if space.is_countable:
            raise ValueError("cyclic=True needs a finite alphabet: the natural numbers have no circle.")
        return np.array(space.position_sizes)

    def thin(self, space: StateSpace, a: Law, b: Law, seed: int) -> tuple[Law, Law]:
        """At most ROWS rows of each side, unless the grid is small."""
        if _is_small(space):
            return a, b
        return _rows(a, seed, "p"), _rows(b, seed, "q")

    def witnesses(self, space: StateSpace, a: Law, b: Law, seed: int) -> Sequence[Witness]:
        """The potential between (some of) the training rows."""
        return [self.exact(space, *Joint.of(*self.thin(space, a, b, seed)).tensors())[1]]


@dataclass(frozen=True)
class _Envelope:
    """x -> min_j (g_j + d(x, y_j)), clipped to [low, high]."""

    anchors: Array
    heights: Array
    periods: Array | None
    low: float
    high: float

    def __call__(self, x: Tensor) -> Tensor:
        rows = to_numpy(x).reshape(-1, self.anchors.shape[1])
        step = max(1, 2**22 // max(1, self.anchors.size))
        parts = [
            (self.heights + distances(rows[i : i + step], self.anchors, self.periods)).min(1)
            for i in range(0, len(rows), step)
        ]
        found = np.clip(np.concatenate([np.zeros(0), *parts]), self.low, self.high)
        return torch.from_numpy(found).reshape(x.shape[:-1])


def distances(x: Array, y: Array, periods: Array | None) -> Array:
    """Numbers of lattice steps between rows: (n, L), (m, L) -> (n, m).

    Example:
        >>> distances(np.array([[0, 1]]), np.array([[4, 1]]), np.array([5, 5])).tolist()
        [[1.0]]
    """
    gap = np.abs(x[:, None, :].astype(np.float64) - y[None, :, :])
    return (gap if periods is None else np.minimum(gap, periods - gap)).sum(-1)


def _is_small(space: StateSpace) -> bool:
    return not space.is_countable and space.num_states <= GRID_STATES


def _on_grid(space: StateSpace, pairs: int) -> bool:
    return _is_small(space) and pairs > 2 * space.num_states * space.length


def _rows(law: Law, seed: int, label: str) -> Samples:
    seed = random.derive_seed(seed, label)
    x = some_rows(law, seed, label, ROWS)
    order = np.random.default_rng(seed).permutation(len(x))[:ROWS]
    return Samples(x[torch.from_numpy(order)], law.space)


def _solve(balance: Any, right: Array, cost: Array) -> Array:
    """Dual values of min cost f, balance f = right, f >= 0."""
    from scipy.optimize import linprog  # here: its import changes warning filters

    # The solver's tolerances are absolute: masses of unit size keep small ones from falling below them.
    result = linprog(cost, A_eq=balance, b_eq=right / np.abs(right).max(), bounds=(0, None), method="highs")
    if result.status != 0:
        raise ArithmeticError(f"Optimal transport did not converge: {result.message}")
    return np.asarray(result.eqlin.marginals)


def _pair_duals(cost: Array, supply: Array, demand: Array) -> Array:
    """Heights g of the sinks: x -> min_j (g_j + d(x, y_j)) attains the transport cost."""
    from scipy import sparse

    n, m = cost.shape
    out, into = sparse.kron(sparse.eye(n), np.ones((1, m))), sparse.kron(np.ones((1, n)), sparse.eye(m))
    total = supply.sum()
    # Totals agree up to rounding; the last balance follows from the others.
    right = np.r_[supply, demand * (total / demand.sum())]
    duals = _solve(sparse.vstack([out, into]).tocsr()[:-1], right[:-1], cost.ravel())
    return -np.r_[duals[n:], 0.0]


def _grid_duals(space: StateSpace, cyclic: bool, difference: Array) -> Array:
    from scipy import sparse

    index = np.arange(space.num_states).reshape(space.position_sizes)
    tails, heads = [], []
    for axis, size in enumerate(space.position_sizes):
        if size > 1:
            line = np.moveaxis(index, axis, 0)
            tails.append(line[:-1].ravel())
            heads.append(line[1:].ravel())
            if cyclic and size > 2:
                tails.append(line[-1].ravel())
                heads.append(line[0].ravel())
    tail, head = np.concatenate(tails + heads), np.concatenate(heads + tails)
    arcs = np.arange(len(tail))
    ones = np.ones(len(tail))
    entries = (np.r_[ones, -ones], (np.r_[tail, head], np.r_[arcs, arcs]))
    balance = sparse.csr_matrix(entries, shape=(space.num_states, len(tail)))
    right = difference - difference.mean()
    return np.r_[_solve(balance[:-1], right[:-1], ones), 0.0]
