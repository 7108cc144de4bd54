"""Independent definitions: every distance as a dense linear programme over the functions of its class."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy.optimize import linprog

from ddm_pyro.distributions import Samples, Tabular
from ddm_pyro.spaces import StateSpace

SPACES = [
    StateSpace(3, 1),
    StateSpace(1, 2),
    StateSpace((1, 4), 2),
    StateSpace(2, 3),
    StateSpace((2, 3, 4), 3),
    StateSpace((5, 1, 2), 3),
    StateSpace(5, 2),
    StateSpace(2, 2, mask=True),
    StateSpace((2, 3), 2, mask=True),
]


def random_pmf(rng: np.random.Generator, size: int, zeros: float = 0.3) -> np.ndarray:
    p = rng.dirichlet(np.full(size, rng.choice([0.2, 1.0, 5.0])))
    p = np.where(rng.random(size) < zeros, 0.0, p)
    return p / p.sum() if p.sum() > 0 else np.eye(size)[rng.integers(size)]


def tabular(p: np.ndarray, space: StateSpace) -> Tabular:
    return Tabular(torch.tensor(p), space=space)


def draw(p: np.ndarray, space: StateSpace, n: int, rng: np.random.Generator) -> Samples:
    return Samples(space.unindex(torch.from_numpy(rng.choice(len(p), size=n, p=p))), space)


def states(space: StateSpace) -> np.ndarray:
    return np.array(list(itertools.product(*[range(r) for r in space.radices])))


def hamming(space: StateSpace) -> np.ndarray:
    x = states(space)
    return (x[:, None] != x[None]).sum(-1)


def _maximum(cost: np.ndarray, rows: list[np.ndarray], limits: list[float], bounds: list[tuple]) -> float:
    result = linprog(-cost, A_ub=np.array(rows) if rows else None, b_ub=limits or None, bounds=bounds, method="highs")
    assert result.status == 0
    return -result.fun


def lipschitz_lp(space: StateSpace, p: np.ndarray, q: np.ndarray, bound: float | None) -> float:
    """sup of E_p f - E_q f with |f(x) - f(y)| <= Hamming for all pairs, and |f| <= bound or f(first) = 0."""
    distance, n = hamming(space), len(p)
    rows, limits = [], []
    for i, j in itertools.permutations(range(n), 2):
        row = np.zeros(n)
        row[i], row[j] = 1.0, -1.0
        rows.append(row)
        limits.append(distance[i, j])
    free = (None, None) if bound is None else (-bound, bound)
    bounds = [(0.0, 0.0) if bound is None else free] + [free] * (n - 1)
    return _maximum(p - q, rows, limits, bounds)


def tv_lp(space: StateSpace, p: np.ndarray, q: np.ndarray) -> float:
    return _maximum(p - q, [], [], [(-0.5, 0.5)] * len(p))


def block_lp(space: StateSpace, p: np.ndarray, q: np.ndarray, blocks: list[tuple[int, ...]]) -> float:
    """sup over f(x) = sum over blocks of g_B(x_B), 0 <= g_B <= 1: one variable for each block and value."""
    x, columns = states(space), []
    for block in blocks:
        for value in itertools.product(*[range(space.radices[i]) for i in block]):
            columns.append((x[:, list(block)] == value).all(1).astype(float))
    return _maximum(np.array(columns) @ (p - q), [], [], [(0.0, 1.0)] * len(columns))


def mmd_dense(space: StateSpace, p: np.ndarray, q: np.ndarray, bandwidth: float) -> float:
    kernel = np.exp(-hamming(space) / bandwidth)
    return float(np.sqrt(max(0.0, (p - q) @ kernel @ (p - q))))
