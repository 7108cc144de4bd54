"""Exact optimal transport for min(Hamming, cap) between atoms: assignment of unit masses, else a linear programme."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddm_pyro.metrics.hamming import hamming_distances
from ddm_pyro.metrics.rows import Array

#: Largest number of unit masses that are assigned one to one.
ASSIGNMENT_ROWS = 6000
#: Largest number of pairs of atoms for which the linear programme is solved.
PROGRAMME_PAIRS = 10**6
#: How far a mass may be from a whole number of units, in units.
UNIT_TOLERANCE = 1e-6


def capped(distances: Array, cap: int | None) -> Array:
    """min(distances, cap)."""
    return distances if cap is None else np.minimum(distances, cap)


def atom_potential(atoms: Array, difference: Array, cap: int | None) -> tuple[Array, Array]:
    """Anchors y_j and values g_j of a function attaining the transport distance of two laws with this ``difference``.

    f(x) = min_j (g_j + min(Hamming(x, y_j), cap)) is 1-Lipschitz on the whole space and attains the distance.

    Args:
        atoms: (K, L) distinct rows.
        difference: p - q on them, summing to 0.
        cap: largest cost, or None.

    Returns:
        anchors (k, L), the atoms where q exceeds p, and values (k,), whole numbers.

    Raises:
        ValueError: too many pairs of atoms to solve.

    Example:
        >>> anchors, values = atom_potential(np.array([[0, 0], [1, 1]]), np.array([0.5, -0.5]), None)
        >>> anchors.tolist(), values.tolist()
        ([[1, 1]], [0.0])
    """
    sources, sinks = np.flatnonzero(difference > 0), np.flatnonzero(difference < 0)
    if len(sources) == 0 or len(sinks) == 0:
        return atoms[:1], np.zeros(1)
    x, y, supply, demand = atoms[sources], atoms[sinks], difference[sources], -difference[sinks]
    units = _units(supply, demand)
    if units is not None:
        return y, _assign(capped(hamming_distances(x, y), cap), *units)
    if len(x) * len(y) > PROGRAMME_PAIRS:
        raise ValueError(
            f"Optimal transport between {len(x)} and {len(y)} atoms has more than {PROGRAMME_PAIRS} pairs to weigh; "
            "compare samples of equal size instead (metric(p, q, n=2000) on laws that can be drawn from, or Samples)."
        )
    return y, _programme(capped(hamming_distances(x, y), cap).astype(np.float64), supply, demand)


def _units(supply: Array, demand: Array) -> tuple[Array, Array] | None:
    """Both sides as whole multiples of their smallest mass, when they are that and few."""
    unit = min(supply.min(), demand.min())
    if (supply.sum() / unit) > ASSIGNMENT_ROWS:
        return None
    left, right = supply / unit, demand / unit
    whole = np.abs(left - left.round()).max() < UNIT_TOLERANCE and np.abs(right - right.round()).max() < UNIT_TOLERANCE
    left, right = left.round().astype(int), right.round().astype(int)
    return (left, right) if whole and left.sum() == right.sum() else None


def _assign(cost: Array, left: Array, right: Array) -> Array:
    """Potentials of the sinks from an optimal assignment of the units."""
    # Imported when used: scipy.optimize adds to the process's warning filters and takes a while.
    from scipy.optimize import linear_sum_assignment

    rows, columns = np.repeat(np.arange(len(left)), left), np.repeat(np.arange(len(right)), right)
    _, matched = linear_sum_assignment(cost[np.ix_(rows, columns)])
    pairs = np.unique(np.stack([rows, columns[matched]], 1), axis=0)
    # f(x_i) = g_j + c_ij on matched pairs and f(x_i) <= g_k + c_ik on all: raise g until nothing is violated.
    slack = cost[pairs[:, 0], pairs[:, 1]][:, None] - cost[pairs[:, 0]]
    potential = np.zeros(len(right), cost.dtype)
    while True:
        raised = np.maximum(potential, (potential[pairs[:, 1]][:, None] + slack).max(0))
        if (raised == potential).all():
            return potential.astype(np.float64)
        potential = raised


def _programme(cost: Array, supply: Array, demand: Array) -> Array:
    """Potentials of the sinks from the transport programme over all pairs."""
    from scipy import sparse
    from scipy.optimize import linprog

    n, m = cost.shape
    pair = np.arange(n * m)
    ends = np.r_[pair // m, n + pair % m]
    balance = sparse.csr_matrix((np.ones(2 * n * m), (ends, np.r_[pair, pair])), shape=(n + m, n * m))
    scale = 1.0 / max(supply.max(), demand.max())
    right = np.r_[supply, demand * (supply.sum() / demand.sum())] * scale
    solve: Any = linprog
    # Masses of very different size can look infeasible to the presolver.
    for method, presolve in (("highs-ds", True), ("highs-ds", False), ("highs-ipm", False)):
        options = {"presolve": presolve}
        result = solve(cost.ravel(), A_eq=balance, b_eq=right, bounds=(0, None), method=method, options=options)
        if result.status == 0:
            break
    else:
        raise ArithmeticError(f"The transport programme between {n} and {m} atoms did not converge: {result.message}")
    values = -np.asarray(result.eqlin.marginals)[n:]
    # Costs are whole numbers, so potentials differ by whole numbers.
    return np.round(values - values[demand.argmax()])
