"""Oracles for laws of paths in plain numpy: chains that count their jumps, times on a simplex, chi-square."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from exactness import FALSE_ALARM
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.stats import chi2

from ddm_pyro.processes import Process
from ddm_pyro.rates import RateMatrix
from ddm_pyro.spaces import StateSpace


def joint_generator(generators):
    """The generator of independent positions, first position most significant."""
    sizes = [len(q) for q in generators]
    total = np.zeros((np.prod(sizes), np.prod(sizes)))
    for position, generator in enumerate(generators):
        before, after = int(np.prod(sizes[:position])), int(np.prod(sizes[position + 1 :]))
        total += np.kron(np.kron(np.eye(before), generator), np.eye(after))
    return total


def counting(generator, most):
    """The generator of (number of jumps so far, state), counts up to ``most`` and then lost."""
    size = len(generator)
    exits, jumps = np.diag(np.diag(generator)), generator - np.diag(np.diag(generator))
    out = np.kron(np.eye(most + 1), exits)
    out += np.kron(np.eye(most + 1, k=1), jumps)
    assert out.shape == (size * (most + 1),) * 2
    return out


def count_law(generator, noise, x, most):
    """P(N = k, X = y) from state x after ``noise`` on the clock, (most + 1, states)."""
    return expm(noise * counting(generator, most))[x].reshape(most + 1, -1)


def count_law_inhomogeneous(generator_at, s, t, x, most):
    """The same for a generator that depends on time, by an ODE solver."""
    size = len(generator_at(s)) * (most + 1)
    start = np.eye(size)[x]
    flow = solve_ivp(
        lambda time, p: p @ counting(generator_at(time), most), (s, t), start, method="DOP853", rtol=1e-11, atol=1e-13
    )
    return flow.y[:, -1].reshape(most + 1, -1)


def simplex(count, s, t, nodes=24):
    """Quadrature of {s < t_1 < ... < t_count < t}: times (n, count) and weights (n,)."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    points, weights = (points + 1) / 2, weights / 2
    times, total = [], []
    for pick in itertools.product(range(nodes), repeat=count):
        # Each time lies between s and the next later one.
        row, high, weight = [], t, 1.0
        for i in pick:
            weight *= weights[i] * (high - s)
            high = s + points[i] * (high - s)
            row.append(high)
        times.append(row[::-1])
        total.append(weight)
    return np.array(times).reshape(len(total), count), np.array(total)


def jump_sequences(x, sizes, count):
    """Every way to jump ``count`` times: lists of (position, new symbol), with the state it ends in."""
    if count == 0:
        yield [], tuple(x)
        return
    for position, size in enumerate(sizes):
        for symbol in range(size):
            if symbol != x[position]:
                y = (*x[:position], symbol, *x[position + 1 :])
                for rest, end in jump_sequences(y, sizes, count - 1):
                    yield [(position, symbol), *rest], end


def integrate(law, x, sizes, count, s, t, nodes=24):
    """The density's integral over all paths with ``count`` jumps, by end state: dict of state -> mass."""
    times, weights = simplex(count, s, t, nodes)
    mass = {}
    for jumps, end in jump_sequences(tuple(x), sizes, count):
        path = torch.tensor([np.inf, -1.0, -1.0]).double().repeat(len(times), law.event_shape[0], 1)
        for i, (position, symbol) in enumerate(jumps):
            path[:, i, 0] = torch.from_numpy(times[:, i])
            path[:, i, 1], path[:, i, 2] = position, symbol
        mass[end] = mass.get(end, 0.0) + float(law.log_prob(path).exp() @ torch.from_numpy(weights))
    return mass


def assert_counts_follow(cells, probabilities, n):
    """Chi-square of counted cells (dict) against probabilities (dict); the rest of the mass is one more cell."""
    expected = {cell: n * p for cell, p in probabilities.items() if n * p >= 5}
    observed = [cells.get(cell, 0) for cell in expected]
    rest = n - sum(expected.values())
    statistic = sum((o - e) ** 2 / e for o, e in zip(observed, expected.values(), strict=True))
    if rest >= 5:
        statistic += (n - sum(observed) - rest) ** 2 / rest
    assert all(probabilities.get(cell, 0) > 0 for cell in cells)
    assert statistic <= chi2.isf(FALSE_ALARM, max(len(expected) - (rest < 5), 1))


def tally(*columns):
    """How often every combination of values of (n,) tensors occurs."""
    rows, counts = torch.unique(torch.stack(columns, -1), dim=0, return_counts=True)
    return {tuple(row): int(count) for row, count in zip(rows.tolist(), counts.tolist(), strict=True)}


class BirthDeath(RateMatrix):
    """M/M/infinity: births at rate ``birth``, each one dies at rate 1; on the natural numbers."""

    vocab_size = None

    def __init__(self, birth=1.5):
        self.birth = birth

    def moves(self, x):
        return torch.stack([x + 1, x - 1], -1)

    def out_rates(self, x):
        return torch.stack([torch.full_like(x, self.birth, dtype=torch.float64), x.double()], -1)

    def in_rates(self, x):
        return torch.stack([(x + 1).double(), torch.where(x > 0, self.birth, 0.0).double()], -1)

    def exit_bound(self):
        return float("inf")


class Doubled(RateMatrix):
    """A cycle on three symbols whose forward move is listed twice; the rates of equal targets add."""

    vocab_size = 3

    def matrix(self):
        forward = torch.eye(3, dtype=torch.float64).roll(1, 1)
        return 1.5 * forward + 0.25 * forward.T - 1.75 * torch.eye(3, dtype=torch.float64)

    def moves(self, x):
        return torch.stack([(x + 1) % 3, x, (x - 1) % 3, (x + 1) % 3], -1)

    def out_rates(self, x):
        return torch.tensor([1.0, 0.0, 0.25, 0.5], dtype=torch.float64).expand(*x.shape, 4)

    def in_rates(self, x):
        return torch.tensor([0.1, 0.0, 1.5, 0.15], dtype=torch.float64).expand(*x.shape, 4)


FIRST = np.array([[-1.0, 1.0, 0.0], [0.5, -0.7, 0.2], [0.0, 2.0, -2.0]])
SECOND = np.array([[-0.3, 0.0, 0.3], [1.0, -1.5, 0.5], [0.4, 0.1, -0.5]])


class Turning(Process):
    """R_t = FIRST + t^2 SECOND at every position: generators of different times do not commute."""

    def __init__(self, length=1, bound=5.0):
        self.space, self.bound = StateSpace(3, length), bound

    def at(self, t):
        weight = torch.as_tensor(t, dtype=torch.float64)[..., None, None] ** 2
        return torch.from_numpy(FIRST) + weight * torch.from_numpy(SECOND)

    def prior(self):
        raise NotImplementedError

    def evolve(self, p, s, t):
        s, t = (torch.as_tensor(time, dtype=torch.float64) for time in (s, t))
        steps = 400
        for k in range(steps):
            middle = s + (k + 0.5) * (t - s) / steps
            p = p @ torch.linalg.matrix_exp((t - s)[..., None, None] / steps * self.at(middle))
        return p

    def likelihood(self, x, s, t):
        raise NotImplementedError

    def moves(self, x):
        return torch.arange(3).expand(*x.shape, 3)

    def out_rates(self, x, t):
        t = torch.as_tensor(t, dtype=torch.float64).expand(x.shape[:-1])
        table = self.at(t).unsqueeze(-3).expand(*x.shape, 3, 3)
        rows = table.gather(-2, x[..., None, None].expand(*x.shape, 1, 3)).squeeze(-2)
        return rows * (self.moves(x) != x.unsqueeze(-1))

    def in_rates(self, x, t):
        raise NotImplementedError

    def exit_bound(self, s, t):
        return self.bound
