"""Exact optimal transport for the Hamming distance, or the Hamming distance capped at 2, between pmfs.

On a whole product space the Hamming distance is a graph distance: two states that differ at one position are joined
    through the
hub of their axis line at cost 1/2 + 1/2, so transport is a min-cost flow on states x positions arcs instead of
states^2. A cap at 2 is one more hub that every state reaches at cost 1. Costs being whole numbers, optimal potentials
are whole numbers too: the solver's are rounded, which makes the witness feasible exactly and the value good to
float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddm_pyro.metrics.rows import Array

#: Largest number of states for which the flow on the whole space is solved.
STAR_STATES = 2**17
#: Supplies are whole multiples of the mass to be moved divided by this, for the network solver.
SUPPLY_SCALE = 2**42
#: Largest distance, for a unit of mass, between the flow's cost and the witness's value before another solver is tried.
GAP = 1e-6


@dataclass(frozen=True)
class Star:
    """Arcs state - hub of the star graph of a product space; costs in half units of distance.

    Example:
        >>> Star.of((2, 2), None).hub.tolist()
        [4, 4, 5, 5, 6, 6, 7, 7]
    """

    states: int
    nodes: int
    state: Array
    hub: Array
    cost: Array

    @staticmethod
    def of(shape: tuple[int, ...], cap: int | None) -> Star:
        """The graph whose shortest paths are min(Hamming, cap) on sequences with these numbers of symbols."""
        states, nodes = math.prod(shape), math.prod(shape)
        index = np.arange(states).reshape(shape)
        ends, hubs, costs = [], [], []
        for axis, size in enumerate(shape):
            if size == 1:
                continue
            lines = np.moveaxis(index, axis, -1).reshape(-1, size)
            ends.append(lines.ravel())
            hubs.append(np.repeat(nodes + np.arange(len(lines)), size))
            costs.append(np.ones(states, np.int64))
            nodes += len(lines)
        if cap is not None and cap < sum(size > 1 for size in shape):
            ends.append(np.arange(states))
            hubs.append(np.full(states, nodes))
            costs.append(np.full(states, cap, np.int64))
            nodes += 1
        return Star(states, nodes, np.concatenate(ends), np.concatenate(hubs), np.concatenate(costs))


def lipschitz(table: Array, cap: int | None) -> Array:
    """The largest function below ``table`` (one axis a position) that is 1-Lipschitz for min(Hamming, cap).

    An infimal convolution with the Hamming distance is one pass an axis.

    Example:
        >>> lipschitz(np.array([[0.0, 5.0], [5.0, 5.0]]), None).tolist()
        [[0.0, 1.0], [1.0, 2.0]]
    """
    floor = table.min()
    for axis in range(table.ndim):
        table = np.minimum(table, table.min(axis, keepdims=True) + 1.0)
    return table if cap is None else np.minimum(table, floor + cap)


def star_potential(shape: tuple[int, ...], difference: Array, cap: int | None) -> Array:
    """A function f, 1-Lipschitz for min(Hamming, cap), with the largest sum_x f(x) (p - q)(x).

    Args:
        shape: symbols at each position.
        difference: p - q, flat in index order, summing to 0.
        cap: largest cost, or None.

    Returns:
        f, flat, whole numbers with minimum 0.

    Raises:
        ArithmeticError: no solver closed the gap between flow and witness (not known to happen).

    Example:
        >>> star_potential((2, 2), np.array([0.5, 0.0, 0.0, -0.5]), None).tolist()
        [2.0, 1.0, 1.0, 0.0]
    """
    up, down = difference.clip(min=0.0), (-difference).clip(min=0.0)
    if math.prod(shape) == 1 or not (up.any() and down.any()):
        return np.zeros(len(difference))
    # Each side is a law of its own: laws that differ by rounding alone differ in mass by as much as they move.
    star, supply = Star.of(shape, cap), up / up.sum() - down / down.sum()
    for solve in (_network, _interior, _simplex):
        found = solve(star, supply)
        if found is None:
            continue
        potential, cost = found
        # Relative to a state that moves mass, so that states no arc of the solution reaches can not spoil the rounding.
        anchor = potential[int(np.abs(difference).argmax())]
        whole = np.round(potential - anchor) if np.isfinite(potential).all() else np.zeros(len(difference))
        f = lipschitz(whole.reshape(shape), cap).ravel()
        if cost - float(f @ supply) <= GAP * (1.0 + cost):
            return f - f.min()
    raise ArithmeticError(
        f"Optimal transport on {math.prod(shape)} states did not converge; draw samples and use those."
    )


def _network(star: Star, supply: Array) -> tuple[Array, float] | None:
    """Potentials of the states and the cost, by the network solver of the optional ortools; None without it."""
    try:
        from ortools.graph.python import min_cost_flow
    except ImportError:
        return None
    whole = np.round(supply * SUPPLY_SCALE).astype(np.int64)
    whole[np.abs(whole).argmax()] -= whole.sum()
    flow = min_cost_flow.SimpleMinCostFlow()
    tail, head = np.r_[star.state, star.hub], np.r_[star.hub, star.state]
    capacity = np.full(len(tail), 2 * SUPPLY_SCALE, np.int64)
    arcs = flow.add_arcs_with_capacity_and_unit_cost(tail, head, capacity, np.r_[star.cost, star.cost])
    flow.set_nodes_supplies(np.arange(star.nodes), np.r_[whole, np.zeros(star.nodes - star.states, np.int64)])
    if flow.solve() != flow.OPTIMAL:
        return None
    used = flow.flows(arcs) > 0
    potential = _tighten(star, tail, head, used)
    return potential, flow.optimal_cost() / 2.0 / SUPPLY_SCALE


def _tighten(star: Star, tail: Array, head: Array, used: Array) -> Array:
    """Potentials with u[tail] - u[head] <= cost, equal on used arcs: Bellman-Ford on the residual graph."""
    cost = np.r_[star.cost, star.cost]
    source, target = np.r_[head, tail[used]], np.r_[tail, head[used]]
    length = np.r_[cost, -cost[used]]
    order = np.argsort(target, kind="stable")
    source, target, length = source[order], target[order], length[order]
    starts = np.flatnonzero(np.r_[True, target[1:] != target[:-1]])
    potential = np.zeros(star.nodes, np.int64)
    for _ in range(star.nodes):
        reached = np.minimum.reduceat(potential[source] + length, starts)
        updated = potential.copy()
        updated[target[starts]] = np.minimum(updated[target[starts]], reached)
        if (updated == potential).all():
            break
        potential = updated
    values: Array = potential[: star.states] / 2.0
    return values


def _simplex(star: Star, supply: Array) -> tuple[Array, float] | None:
    return _programme(star, supply, "highs-ds")


def _interior(star: Star, supply: Array) -> tuple[Array, float] | None:
    return _programme(star, supply, "highs-ipm")


def _programme(star: Star, supply: Array, method: str) -> tuple[Array, float] | None:
    """Potentials and cost by linear programming: flow out minus flow in equals supply at every node."""
    # Imported when used: scipy.optimize adds to the process's warning filters and takes a while.
    from scipy import sparse
    from scipy.optimize import linprog

    arcs = len(star.state)
    ends = np.r_[star.state, star.hub, star.hub, star.state]
    columns = np.r_[np.arange(2 * arcs), np.arange(2 * arcs)]
    balance = sparse.csr_matrix((np.repeat([1.0, -1.0], 2 * arcs), (ends, columns)), shape=(star.nodes, 2 * arcs))
    # The solver's tolerances are absolute: supplies of unit size keep small masses from falling below them.
    scale = 1.0 / float(np.abs(supply).max())
    right = np.r_[supply, np.zeros(star.nodes - star.states)] * scale
    cost = np.r_[star.cost, star.cost] / 2.0
    solve: Any = linprog
    result = solve(cost, A_eq=balance, b_eq=right, bounds=(0, None), method=method)
    if result.status != 0:
        return None
    potential: Array = np.asarray(result.eqlin.marginals)[: star.states]
    return potential, float(result.fun) / scale
