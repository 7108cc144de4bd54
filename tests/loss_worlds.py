"""Exact expectations of losses on enumerable spaces: kernels by scipy's matrix exponential, times by quadrature."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
import oracles
import torch
from scipy.linalg import expm

from ddm_pyro import ForwardProcess, Parameterization, rates, schedules, targets

SIGMA = {
    "linear": (schedules.Linear(), lambda t: -np.log(1 - t)),
    "log-linear": (schedules.LogLinear(eps=0.02), lambda t: -np.log(1 - 0.98 * t)),
    "cosine": (schedules.Cosine(), lambda t: -np.log(2 * np.sin(np.pi / 4 * (1 - t)) ** 2)),
    "geometric": (schedules.Geometric(smin=0.01, smax=5.0), lambda t: 0.01 * 500.0**t - 0.01),
    "constant": (schedules.Constant(total=8.0), lambda t: 8.0 * t),
}

ASYMMETRIC = np.array([[-1.5, 1.0, 0.5], [0.2, -0.9, 0.7], [1.4, 0.3, -1.7]])
SKEWED = np.array([0.6, 0.1, 0.3])


def generator(kind, size):
    if kind == "uniform":
        return np.full((size, size), 1 / size) - np.eye(size), rates.Uniform(size)
    if kind == "masked":
        matrix = np.zeros((size + 1, size + 1))
        matrix[np.arange(size), np.arange(size)], matrix[:size, size] = -1, 1
        return matrix, rates.Masked(size)
    if kind == "rank-one":
        pi = oracles.normalized(SKEWED[:size])
        return np.tile(pi, (size, 1)) - np.eye(size), rates.RankOne(pi)
    return ASYMMETRIC, rates.Dense(ASYMMETRIC)


@dataclass
class World:
    """A law and a noising process that fit on a page."""

    pmf: np.ndarray
    sizes: tuple[int, ...]
    matrices: list[np.ndarray]
    process: ForwardProcess
    sigma: object

    @property
    def exact(self) -> Parameterization:
        return targets.Tabular(torch.from_numpy(self.pmf)).denoiser(self.process)

    def kernel(self, t):
        """(states of x_0, states of x_t)."""
        rows = [expm(self.sigma(t) * q)[:size] for q, size in zip(self.matrices, self.sizes, strict=True)]
        return reduce(np.kron, rows)

    def pairs(self, t):
        """x_0, x_t and their probability at time t; impossible pairs left out."""
        kept = self.__dict__.setdefault("_pairs", {})
        if t not in kept:
            kept[t] = self._pairs_at(t)
        return kept[t]

    def _pairs_at(self, t):
        joint = self.pmf.ravel()[:, None] * self.kernel(t)
        first, last = np.nonzero(joint > 0)
        symbols = oracles.sequences([len(q) for q in self.matrices])
        if self.process.is_masked:
            symbols = np.where(symbols == np.array(self.sizes), max(self.sizes), symbols)
        x0 = oracles.sequences(self.sizes)[first]
        return torch.from_numpy(x0), torch.from_numpy(symbols[last]), torch.from_numpy(joint[first, last])

    def mean(self, loss, model, t):
        """E loss at one time."""
        x0, xt, weight = self.pairs(t)
        return (weight * loss(model, x0, xt, torch.full((len(x0),), float(t), dtype=torch.float64))).sum()

    def integral(self, loss, model, nodes=40):
        """E loss over t ~ U(0, 1), Gauss-Legendre after a substitution that flattens both ends."""
        u, weight = np.polynomial.legendre.leggauss(nodes)
        u, weight = (u + 1) / 2, weight / 2
        times = 35 * u**4 - 84 * u**5 + 70 * u**6 - 20 * u**7
        weight = weight * 140 * u**3 * (1 - u) ** 3
        return sum(w * self.mean(loss, model, t) for t, w in zip(times, weight, strict=True))

    def conditional_entropy(self):
        """H(X_0 | X_1): what every bound's integral is at the truth."""
        if self.process.schedule in (schedules.Linear(), schedules.Cosine()):
            return oracles.entropy(self.pmf)
        joint = self.pmf.ravel()[:, None] * self.kernel(1.0)
        return oracles.entropy(joint) - oracles.entropy(joint.sum(0))


def world(kind, schedule, sizes=(3, 3), pmf=None):
    noise, sigma = SIGMA[schedule]
    parts = {size: generator(kind, size) for size in sizes}
    process = ForwardProcess([parts[size][1] for size in sizes], noise)
    if pmf is None:
        pmf = oracles.hash_pmf(int(np.prod(sizes)), 1).reshape(sizes)
    return World(np.asarray(pmf), tuple(sizes), [parts[size][0] for size in sizes], process, sigma)


class Tilted(Parameterization):
    """The exact model times exp(theta), theta a free number for every (state, position, symbol)."""

    def __init__(self, exact, primary="x0", theta=None):
        super().__init__(exact.process)
        self.exact, self.primary, self.time_free = exact, primary, exact.time_free
        space = exact.process.space
        width = space.vocab_size if primary == "x0" else space.num_symbols
        shape = (space.num_states, space.length, width)
        theta = torch.zeros(shape, dtype=torch.float64, requires_grad=True) if theta is None else theta
        self.theta = torch.nn.Parameter(theta, requires_grad=theta.requires_grad)

    def x0_log_probs(self, x, t, *, at=None):
        if self.primary == "score":
            return super().x0_log_probs(x, t, at=at)
        table = self.exact.x0_log_probs(x, t) + self.theta[self.process.space.index(x)]
        table = torch.log_softmax(table, -1)
        return table if at is None else table.flatten(0, -2)[at]

    def log_score(self, x, t):
        if self.primary == "x0":
            return super().log_score(x, t)
        theta = self.theta[self.process.space.index(x)]
        return self.exact.log_score(x, t) + theta.gather(-1, self.process.moves(x))


class Diluted(Parameterization):
    """(1 - share) times the exact posterior plus share times the uniform law, at masked positions."""

    def __init__(self, exact, share):
        super().__init__(exact.process)
        self.exact, self.share, self.time_free = exact, share, exact.time_free

    def x0_log_probs(self, x, t, *, at=None):
        p = self.exact.x0_log_probs(x, t).exp()
        mixed = (1 - self.share) * p + self.share / p.shape[-1]
        table = torch.where(self.process.space.is_mask(x).unsqueeze(-1), mixed, p).log()
        return table if at is None else table.flatten(0, -2)[at]
