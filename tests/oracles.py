"""Independent references in plain numpy: slow, obvious, sharing no code with the package."""

from __future__ import annotations

import itertools

import numpy as np


def hash_pmf(states: int, length: int) -> np.ndarray:
    """The reproducible full-support law of the theory notes, shape (states,) * length."""
    index = np.arange(states**length)
    weights = 1.0 + ((7919 * index + 104729) % 101) / 10.0
    return (weights / weights.sum()).reshape((states,) * length)


def entropy(pmf: np.ndarray) -> float:
    p = np.asarray(pmf, dtype=float).ravel()
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def sequences(sizes) -> np.ndarray:
    """Every sequence, first token most significant, (N, L)."""
    return np.array(list(itertools.product(*(range(size) for size in sizes))), dtype=int).reshape(-1, len(sizes))


def normalized(weights) -> np.ndarray:
    weights = np.asarray(weights, dtype=float)
    return weights / weights.sum()


def chain_pmf(initial, transitions, sizes) -> np.ndarray:
    """prod of initial and transitions (list of matrices) over every sequence, flat."""
    weights = []
    for x in sequences(sizes):
        p = initial[x[0]]
        for step, matrix in enumerate(transitions):
            p *= matrix[x[step]][x[step + 1]]
        weights.append(p)
    return np.array(weights)


def potts_pmf(states: int, length: int, coupling: float, periodic: bool) -> np.ndarray:
    """Flat pmf of exp(J #agreeing neighbours)."""
    weights = []
    for x in sequences((states,) * length):
        bonds = sum(x[i] == x[i + 1] for i in range(length - 1))
        if periodic and length > 1:
            bonds += x[-1] == x[0]
        weights.append(np.exp(coupling * bonds))
    return normalized(weights)


def ising_weights(height: int, width: int, beta: float, field: float, periodic: bool) -> np.ndarray:
    """Unnormalised exp(beta sum s s' + field sum s) of every configuration, sites in reading order."""
    s = 2 * sequences((2,) * (height * width)).reshape(-1, height, width) - 1
    energy = field * s.sum((1, 2))
    for i in range(height):
        for j in range(width):
            if i + 1 < height or (periodic and height > 1):
                energy = energy + beta * s[:, i, j] * s[:, (i + 1) % height, j]
            if j + 1 < width or (periodic and width > 1):
                energy = energy + beta * s[:, i, j] * s[:, i, (j + 1) % width]
    return np.exp(energy)


def posterior(pmf, log_evidence, sizes) -> np.ndarray:
    """Marginals (L, V) of P(x) prod exp(evidence[l, x_l]); the uniform law where the total is zero."""
    x = sequences(sizes)
    length, vocab = np.asarray(log_evidence).shape
    factors = np.exp(np.asarray(log_evidence))[np.arange(length), x]
    weights = np.asarray(pmf, dtype=float).ravel() * factors.prod(-1)
    table = np.zeros((length, vocab))
    for position in range(length):
        for token in range(sizes[position]):
            table[position, token] = weights[x[:, position] == token].sum()
        table[position, : sizes[position]] /= weights.sum() if weights.sum() > 0 else 1.0
        if weights.sum() == 0:
            table[position, : sizes[position]] = 1.0 / sizes[position]
    return table


def information_curve(pmf: np.ndarray) -> np.ndarray:
    """Hbar(n) of a tensor-shaped pmf by listing every site and every set of revealed sites."""
    length = pmf.ndim
    joint = {}
    for size in range(length + 1):
        for kept in itertools.combinations(range(length), size):
            dropped = tuple(site for site in range(length) if site not in kept)
            joint[frozenset(kept)] = entropy(pmf.sum(axis=dropped))
    curve = np.zeros(length)
    for n in range(length):
        values = [
            joint[frozenset((*w, i))] - joint[frozenset(w)]
            for i in range(length)
            for w in itertools.combinations([site for site in range(length) if site != i], n)
        ]
        curve[n] = np.mean(values)
    return curve
