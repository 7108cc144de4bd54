"""A discrete diffusion written out in plain numpy loops: dense kernels, brute-force posteriors, step matrices.

Shares no code with the package. States are listed first token most significant; the mask, where there is one, is the
last symbol of a position and is written V = max(sizes).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy.linalg import expm

#: name -> (alpha, -alpha') in the words of the schedules' papers.
SCHEDULES = {
    "linear": (lambda t: 1.0 - t, lambda t: 1.0),
    "log-linear": (lambda t: 1.0 - 0.99 * t, lambda t: 0.99),
    "cosine": (
        lambda t: 1.0 - math.cos(math.pi / 2 * (1.0 - t)),
        lambda t: math.pi / 2 * math.sin(math.pi / 2 * (1 - t)),
    ),
    "geometric": (
        lambda t: math.exp(0.1 - 0.1 ** (1 - t) * 3.0**t),
        lambda t: math.exp(0.1 - 0.1 ** (1 - t) * 3.0**t) * 0.1 ** (1 - t) * 3.0**t * math.log(30.0),
    ),
    "constant": (lambda t: math.exp(-3.0 * t), lambda t: 3.0 * math.exp(-3.0 * t)),
}


def uniform_generator(size):
    return np.full((size, size), 1.0 / size) - np.eye(size)


def masked_generator(size):
    generator = -np.eye(size + 1)
    generator[:, size] += 1.0
    return generator


def rank_one_generator(pi):
    return np.tile(np.asarray(pi, dtype=float), (len(pi), 1)) - np.eye(len(pi))


def random_generator(size, seed):
    """Asymmetric, irreversible, rates of different scales."""
    rates = np.random.default_rng(seed).gamma(0.7, size=(size, size))
    np.fill_diagonal(rates, 0.0)
    return rates - np.diag(rates.sum(1))


def kernel(generator, noise):
    """exp(noise Q); the limit for infinite noise."""
    if math.isinf(noise):
        # 40 squarings of exp(Q / scale) are past every mixing time used here.
        power = expm(generator / max(1.0, np.abs(generator).max()))
        for _ in range(40):
            power = power @ power
            power /= power.sum(1, keepdims=True)
        return power
    return expm(noise * generator)


@dataclass
class Brute:
    """One generator a position (local symbols), data sizes, alpha(t) and its decay."""

    generators: list
    sizes: tuple
    masked: bool
    schedule: str

    def __post_init__(self):
        self.vocab, self.length = max(self.sizes), len(self.sizes)
        self.symbols = [[*range(size), *([self.vocab] if self.masked else [])] for size in self.sizes]
        self.local = list(itertools.product(*(range(len(symbols)) for symbols in self.symbols)))
        self.states = [tuple(self.symbols[site][i] for site, i in enumerate(state)) for state in self.local]
        self.where = {state: k for k, state in enumerate(self.local)}
        self.alpha, self.decay = SCHEDULES[self.schedule]

    def sigma(self, t):
        alpha = self.alpha(t)
        return math.inf if alpha <= 0 else -math.log(alpha)

    def kernels(self, s, t):
        low, high = self.sigma(s), self.sigma(t)
        return [kernel(generator, 0.0 if low == high else high - low) for generator in self.generators]

    def embed(self, pmf):
        """A flat pmf over the data as one over all states."""
        out = np.zeros(len(self.local))
        for probability, x in zip(np.ravel(pmf), itertools.product(*(range(size) for size in self.sizes)), strict=True):
            out[self.where[x]] = probability
        return out

    def forward(self, pmf, t):
        """p_t by one big Kronecker product."""
        return self.embed(pmf) @ reduce(np.kron, self.kernels(0.0, t))

    def prior(self):
        return reduce(np.kron, [kernel(generator, math.inf)[0] for generator in self.generators])

    def posterior(self, pmf, t):
        """p(x_0^site = u | x_t = x), (N, L, V); uniform where x has probability 0."""
        out = np.zeros((len(self.local), self.length, self.vocab))
        kernels, data = self.kernels(0.0, t), np.ravel(pmf)
        if self.masked:
            # What a mask hides does not depend on t, not even where a token is surely masked or surely not.
            kernels = [np.hstack([np.eye(size + 1)[:, :size], np.ones((size + 1, 1))]) for size in self.sizes]
        for k, x in enumerate(self.local):
            for x0, p in zip(itertools.product(*(range(size) for size in self.sizes)), data, strict=True):
                weight = p * math.prod(kernels[site][x0[site], x[site]] for site in range(self.length))
                for site in range(self.length):
                    out[k, site, x0[site]] += weight
            for site in range(self.length):
                if out[k, site].sum() == 0:
                    out[k, site] = np.arange(self.vocab) < self.sizes[site]
                if self.masked and x[site] < self.sizes[site]:
                    out[k, site] = np.arange(self.vocab) == x[site]
                out[k, site] /= out[k, site].sum()
        return out

    def site_rates(self, pmf, t):
        """Reverse rates x -> x with position site set to local symbol v, (N, L, A)."""
        alpha, decay = self.alpha(t), self.decay(t)
        out = np.zeros((len(self.local), self.length, max(len(symbols) for symbols in self.symbols)))
        posterior = self.posterior(pmf, t)
        p = None if self.masked else self.forward(pmf, t)
        for k, x in enumerate(self.local):
            for site in range(self.length):
                if self.masked:
                    if x[site] == self.sizes[site]:
                        out[k, site, : self.sizes[site]] = decay / (1 - alpha) * posterior[k, site, : self.sizes[site]]
                    continue
                for v in range(self.sizes[site]):
                    y = self.where[(*x[:site], v, *x[site + 1 :])]
                    if y != k:
                        out[k, site, v] = decay / alpha * self.generators[site][v, x[site]] * p[y] / p[k]
        return out

    def product(self, tables):
        """The step matrix of independent sites, from tables (N, L, A)."""
        return np.stack(
            [reduce(np.kron, [row[site, : len(self.symbols[site])] for site in range(self.length)]) for row in tables]
        )

    def ancestral(self, pmf, t, s):
        posterior, first, last, whole = (
            self.posterior(pmf, t),
            self.kernels(0, s),
            self.kernels(s, t),
            self.kernels(0, t),
        )
        tables = np.zeros((len(self.local), self.length, max(len(symbols) for symbols in self.symbols)))
        for k, x in enumerate(self.local):
            for site in range(self.length):
                if self.masked and x[site] < self.sizes[site]:
                    tables[k, site, x[site]] = 1.0  # also where the process would surely have masked it
                    continue
                for u in range(self.sizes[site]):
                    if whole[site][u, x[site]] > 0:
                        bridge = first[site][u] * last[site][:, x[site]] / whole[site][u, x[site]]
                        tables[k, site, : len(bridge)] += posterior[k, site, u] * bridge
        return self.product(tables)

    def thinning(self, leave, pmf, t, s):
        """Each site leaves with probability leave((t - s) r) to a symbol in proportion to its rate."""
        rates = self.site_rates(pmf, t)
        tables = np.zeros_like(rates)
        for k, x in enumerate(self.local):
            for site in range(self.length):
                total = rates[k, site].sum()
                jump = leave((t - s) * total)
                if total > 0:
                    tables[k, site] = jump * rates[k, site] / total
                tables[k, site, x[site]] += 1 - jump
        return self.product(tables)

    def generator(self, pmf, t):
        """The joint reverse generator at t."""
        rates = self.site_rates(pmf, t)
        out = np.zeros((len(self.local), len(self.local)))
        for k, x in enumerate(self.local):
            for site in range(self.length):
                for v in range(len(self.symbols[site])):
                    out[k, self.where[(*x[:site], v, *x[site + 1 :])]] += rates[k, site, v]
        return out - np.diag(out.sum(1))

    def flow(self, pmf, t, s, pieces=64):
        """The exact reverse kernel from t to s: midpoint exponentials, extrapolated once."""

        def run(count):
            grid = np.linspace(t, s, count + 1)
            steps = [expm((a - b) * self.generator(pmf, (a + b) / 2)) for a, b in itertools.pairwise(grid)]
            return reduce(np.matmul, steps)

        return (4 * run(2 * pieces) - run(pieces)) / 3

    def reveal(self, pmf, size):
        """``size(masks)`` uniformly chosen masks are drawn independently."""
        posterior = self.posterior(pmf, 1.0)
        out = np.zeros((len(self.local), len(self.local)))
        for k, x in enumerate(self.local):
            free = [site for site in range(self.length) if x[site] == self.sizes[site]]
            subsets = list(itertools.combinations(free, size(len(free))))
            for chosen in subsets:
                for values in itertools.product(*(range(self.sizes[site]) for site in chosen)):
                    y = list(x)
                    for site, v in zip(chosen, values, strict=True):
                        y[site] = v
                    weight = math.prod(posterior[k, site, v] for site, v in zip(chosen, values, strict=True))
                    out[k, self.where[tuple(y)]] += weight / len(subsets)
        return out

    def gibbs(self, pmf, s):
        """A uniformly chosen site is redrawn from p_s given the others."""
        p = self.forward(pmf, s)
        out = np.zeros((len(self.local), len(self.local)))
        for k, x in enumerate(self.local):
            for site in range(self.length):
                targets = [self.where[(*x[:site], v, *x[site + 1 :])] for v in range(len(self.symbols[site]))]
                for y in targets:
                    out[k, y] += p[y] / p[targets].sum() / self.length
        return out

    def denoise(self, pmf, t):
        """Everything that is noise at t is drawn from the posterior."""
        posterior = self.posterior(pmf, t)
        width = max(len(symbols) for symbols in self.symbols)
        return self.product(np.pad(posterior, ((0, 0), (0, 0), (0, width - self.vocab))))

    def data_part(self, p):
        """The law over the data, when no mask is left."""
        inside = [all(i < size for i, size in zip(x, self.sizes, strict=True)) for x in self.local]
        assert abs(p[inside].sum() - p.sum()) < 1e-12
        return p[inside]
