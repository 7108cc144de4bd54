"""Models that are wrong by a known amount, and dense references for what follows from them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from scipy.integrate import solve_ivp

import ddm_pyro as ddm

SCHEDULES = [
    ddm.schedules.Linear(),
    ddm.schedules.LogLinear(),
    ddm.schedules.Cosine(),
    ddm.schedules.Geometric(),
    ddm.schedules.Geometric(0.1, 3.0),
    ddm.schedules.Constant(2.0),
]


class Mixed(ddm.Parameterization):
    """(1 - e) p(x0 | x) + e / V; e constant, or changing with time."""

    primary = "x0"

    def __init__(self, exact, e, timed=False):
        super().__init__(exact.process)
        self.exact, self.e, self.timed = exact, e, timed
        self.time_free = exact.time_free and not timed

    def x0_log_probs(self, x, t, *, at=None):
        p = self.exact.x0_log_probs(x, t).exp()
        t = torch.as_tensor(t, dtype=torch.float64)
        e = self.e * (0.2 + 0.8 * torch.sin(3.0 * t).square())[..., None, None] if self.timed else self.e
        sizes = torch.tensor(self.process.space.position_sizes).unsqueeze(-1)
        q = (1.0 - e) * p + e * (torch.arange(p.shape[-1]) < sizes).double() / sizes
        if self.process.is_masked:
            q = torch.where(self.process.space.is_mask(x).unsqueeze(-1), q, p)
        return q.log() if at is None else q.log().flatten(0, -2)[at]


class Ratio(ddm.Parameterization):
    """The exact ratio score times lognormal errors, one a state and neighbor; of constant size, or changing with t."""

    primary = "score"

    def __init__(self, exact, e, seed, timed=False):
        super().__init__(exact.process)
        self.exact, self.e, self.timed = exact, e, timed
        space = exact.process.space
        noise = np.random.default_rng(seed).normal(size=(space.num_states, space.length, space.num_symbols))
        self.noise = torch.from_numpy(noise)

    def log_score(self, x, t):
        t = torch.as_tensor(t, dtype=torch.float64)
        size = self.e * (torch.cos(2.0 * t)[..., None, None] if self.timed else 1.0)
        return self.exact.log_score(x, t) + size * self.noise[self.process.space.index(x)]


def wrong(kind, exact, e, seed):
    """A model of one of the kinds below."""
    if kind == "exact":
        return exact
    mixed = kind.startswith("mixed")
    timed = kind.endswith("timed")
    return Mixed(exact, min(e, 0.9), timed) if mixed else Ratio(exact, e, seed, timed)


KINDS = ["exact", "mixed", "mixed-timed", "ratio", "ratio-timed"]


class Dense:
    """Everything as matrices on the listed states of a process with one rate for all positions, by plain numpy."""

    def __init__(self, target, model):
        self.model, self.process = model, model.process
        space = self.process.space
        self.masked, self.vocab, self.length = space.mask is not None, space.vocab_size, space.length
        self.symbols = self.vocab + self.masked
        self.states = list(itertools.product(range(self.symbols), repeat=self.length))
        self.where = {x: i for i, x in enumerate(self.states)}
        self.tokens = torch.tensor(self.states)
        self.size = len(self.states)
        self.start = np.zeros(self.size)
        for p, x in zip(target.pmf.tolist(), itertools.product(range(self.vocab), repeat=self.length), strict=True):
            self.start[self.where[x]] = p
        self.clean = np.array([self.vocab not in x for x in self.states]) if self.masked else np.ones(self.size, bool)
        self.neighbors = [
            (i, self.where[(*x[:site], v, *x[site + 1 :])], site, v)
            for i, x in enumerate(self.states)
            for site in range(self.length)
            for v in range(self.symbols)
            if v != x[site]
        ]

    def alpha(self, t):
        return float(self.process.schedule.alpha(torch.tensor(t, dtype=torch.float64)))

    def decay(self, t):
        return float(self.process.schedule.decay(torch.tensor(t, dtype=torch.float64)))

    def token_kernel(self, kept):
        """From survival probability kept."""
        if self.masked:
            kernel = kept * np.eye(self.symbols)
            kernel[:, -1] += 1.0 - kept
            return kernel
        return kept * np.eye(self.symbols) + (1.0 - kept) / self.vocab

    def forward(self, kept):
        kernel = np.ones((1, 1))
        for _ in range(self.length):
            kernel = np.kron(kernel, self.token_kernel(kept))
        return kernel

    def survival(self, t, top=None):
        """alpha(t), or that of the chain conditioned to be masked at top."""
        a = self.alpha(t)
        return a if top is None else (a - self.alpha(top)) / (1.0 - self.alpha(top))

    def law(self, t, top=None):
        return self.start @ self.forward(self.survival(t, top))

    def kernel(self, s, t, top=None):
        low = self.survival(s, top)
        return self.forward(self.survival(t, top) / low if low > 0 else 0.0)

    def exact_kernel(self, t, s, top=None):
        """Kbar(x, y) = p_s(y) F(y, x) / p_t(x); rows of probability zero stay."""
        joint = (self.law(s, top)[:, None] * self.kernel(s, t, top)).T
        total = joint.sum(1, keepdims=True)
        return np.where(total > 0, joint / np.where(total > 0, total, 1.0), np.eye(self.size))

    def prior(self):
        if self.masked:
            return np.eye(self.size)[-1]
        return np.full(self.size, 1.0 / self.size)

    def rates(self, t):
        """The model's reverse rates as a matrix with zero diagonal, from its primary view by definition."""
        alpha, decay = self.alpha(t), self.decay(t)
        time, out = torch.tensor(t, dtype=torch.float64), np.zeros((self.size, self.size))
        i, j, site, v = np.array(self.neighbors).T
        own = np.array(self.states)[i, site]
        with torch.no_grad():
            if self.model.primary == "score":
                score = self.model.log_score(self.tokens, time).exp().numpy()[i, site, v]
                rate = decay / alpha * score * ((own == self.vocab) if self.masked else 1.0 / self.vocab)
            else:
                p = self.model.x0_log_probs(self.tokens, time).exp().numpy()
                if self.masked:
                    v = np.minimum(v, self.vocab - 1)
                    rate = decay / (1.0 - alpha) * p[i, site, v] * (own == self.vocab)
                else:
                    kernel = self.token_kernel(alpha)
                    quotients = p[i, site] / kernel[:, own].T
                    rate = decay / alpha / self.vocab * (quotients * kernel[:, v].T).sum(-1)
        out[i, j] = rate
        return out

    def flows(self, t, top=None):
        """p_t(y) R_t(y, x) as a matrix by (x, y)."""
        alpha, decay, p = self.alpha(t), self.decay(t), self.law(t, top)
        floor = 0.0 if top is None else self.alpha(top)
        rate = decay / (alpha - floor)
        out = np.zeros((self.size, self.size))
        for i, j, site, _ in self.neighbors:
            if not self.masked:
                out[i, j] = p[j] * rate / self.vocab
            elif self.states[i][site] == self.vocab:
                out[i, j] = p[j] * rate
        return out

    def run(self, value, begin, end, transpose=False):
        """Kolmogorov's equations in z = log t/(1-t): u from begin up, or (transpose) the law from begin down."""

        def slope(z, w):
            t = 1.0 / (1.0 + math.exp(-z))
            rates = self.rates(t) * t * (1.0 - t)
            return w @ rates.T - w * rates.sum(1) if not transpose else -(w @ rates - w * rates.sum(1))

        span = [max(-30.0, min(36.0, _logit(t))) for t in (begin, end)]
        return solve_ivp(slope, span, value, method="DOP853", rtol=1e-11, atol=1e-13, dense_output=True, first_step=0.1)

    def step(self, sampler, t, s, model=None):
        """The step matrix, from the step's density."""
        t, s = torch.tensor(t, dtype=torch.float64), torch.tensor(s, dtype=torch.float64)
        rows = []
        with torch.no_grad():
            for x in self.tokens:
                law = sampler.step(self.model if model is None else model, x.unsqueeze(0), t, s)
                rows.append(law.log_prob(self.tokens.unsqueeze(1)).exp().squeeze(-1))
        return torch.stack(rows).double().numpy()

    def denoise(self, t, model=None):
        """The matrix that draws what is noise at t from the x0-posterior."""
        with torch.no_grad():
            model = self.model if model is None else model
            p = model.x0_log_probs(self.tokens, torch.tensor(t, dtype=torch.float64)).exp().numpy()
        out = np.zeros((self.size, self.size))
        for i, x in enumerate(self.states):
            for j, y in enumerate(self.states):
                if self.clean[j]:
                    out[i, j] = math.prod(
                        float(x[k] == y[k]) if self.masked and x[k] < self.vocab else p[i, k, y[k]]
                        for k in range(self.length)
                    )
        return out


def _logit(t):
    return -math.inf if t <= 0 else math.inf if t >= 1 else math.log(t) - math.log1p(-t)
