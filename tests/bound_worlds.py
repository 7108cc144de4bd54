"""Small worlds with wrong models, and the law of the continuous-time reverse process by dense linear algebra."""

from __future__ import annotations

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import ddm_pyro as ddm
from ddm_pyro.parameterizations import Parameterization


class Perturbed(Parameterization):
    """The exact score times fixed factors, one for each state, position and symbol."""

    primary = "score"

    def __init__(self, inner, factors):
        super().__init__(inner.process)
        self.inner, self.log_factors, self.time_free = inner, factors.log(), inner.time_free

    def log_score(self, x, t):
        return self.inner.log_score(x, t) + self.log_factors[self.process.space.index(x)]


class Blurred(Parameterization):
    """For masks: (1 - e) p + e r(x), a normalized predictor."""

    primary = "x0"

    def __init__(self, inner, share, seed=0):
        super().__init__(inner.process)
        space = self.process.space
        self.inner, self.share, self.time_free = inner, share, True
        weights = -torch.rand(space.num_states, space.length, space.vocab_size, generator=seeded(seed)).double().log()
        self.other = weights / weights.sum(-1, keepdim=True)

    def x0_log_probs(self, x, t, *, at=None):
        p = self.inner.x0_log_probs(x, t).exp()
        mixed = (1 - self.share) * p + self.share * self.other[self.process.space.index(x)]
        table = torch.where(self.process.space.is_mask(x).unsqueeze(-1), mixed, p).log()
        return table if at is None else table.flatten(0, -2)[at]


class Tilted(Parameterization):
    """For masks: p(v | x) times lognormal factors, normalized."""

    primary = "x0"

    def __init__(self, inner, size, seed=0):
        super().__init__(inner.process)
        space = self.process.space
        self.inner, self.time_free = inner, True
        self.tilt = (
            size * torch.randn(space.num_states, space.length, space.vocab_size, generator=seeded(seed)).double()
        )

    def x0_log_probs(self, x, t, *, at=None):
        exact = self.inner.x0_log_probs(x, t)
        tilted = torch.log_softmax(exact + self.tilt[self.process.space.index(x)], -1)
        table = torch.where(self.process.space.is_mask(x).unsqueeze(-1), tilted, exact)
        return table if at is None else table.flatten(0, -2)[at]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def lognormal(space, size, seed=0):
    shape = (space.num_states, space.length, space.num_symbols)
    return (size * torch.randn(shape, generator=seeded(seed)).double()).exp()


SCHEDULES = (
    ddm.schedules.Linear(),
    ddm.schedules.LogLinear(eps=1e-2),
    ddm.schedules.Cosine(),
    ddm.schedules.Geometric(smin=1e-2, smax=6.0),
    ddm.schedules.Constant(total=4.0),
    ddm.schedules.Constant(total=0.7),
)


def generator(model, t, chunk=None):
    """The learned reverse generator at t, (N, N) numpy, rows from."""
    process = model.process
    states = process.space.enumerate()
    rates = model.reverse_rate(states, torch.full((len(states),), t, dtype=torch.float64)).double()
    moves = process.moves(states)
    out = np.zeros((len(states), len(states)))
    for position in range(states.shape[1]):
        for k in range(moves.shape[-1]):
            other = states.clone()
            other[:, position] = moves[:, position, k]
            allowed = (moves[:, position, k] != states[:, position]) & (rates[:, position, k] > 0)
            rows = torch.arange(len(states))[allowed]
            np.add.at(out, (rows.numpy(), process.space.index(other[rows]).numpy()), rates[rows, position, k].numpy())
    return out - np.diag(out.sum(1))


def noise_times(schedule, sigma):
    return float(schedule.inverse(torch.exp(-torch.tensor(sigma, dtype=torch.float64))))


def continuous_law(model, stop_noise=1e-9, last_noise=36.0):
    """Law of the learned reverse process at t = 0, flat over the states."""
    process, schedule = model.process, model.process.schedule
    space = process.space
    start = process.prior().log_prob(space.enumerate()).exp().double().numpy()
    if process.is_masked and model.time_free:
        # lambda dt = d log q: the generator is constant on that clock.
        t = torch.tensor(0.5, dtype=torch.float64)
        pace = float(process.mask_decay(t) / process.mask_probability(t))
        q1 = float(process.mask_probability(torch.tensor(1.0)))
        return start @ expm(generator(model, 0.5) / pace * np.log(q1 / 1e-16))
    end = min(float(schedule.sigma(torch.tensor(1.0))), last_noise)

    def slope(u, p):  # u = -log sigma runs from -log(end) up
        sigma = np.exp(-u)
        t = noise_times(schedule, sigma)
        pace = sigma / float(schedule.rate(torch.tensor(t, dtype=torch.float64)))
        return p @ (generator(model, t) * pace)

    solution = solve_ivp(slope, (-np.log(end), -np.log(stop_noise)), start, method="LSODA", rtol=1e-9, atol=1e-12)
    # Below, rates are constant in log sigma: what is not yet on the data goes there.
    t = noise_times(schedule, stop_noise)
    rest = generator(model, t) * stop_noise / float(schedule.rate(torch.tensor(t, dtype=torch.float64)))
    rest = np.where(rest < 1e-6, 0.0, rest)
    rest -= np.diag(rest.sum(1))
    return solution.y[:, -1] @ expm(4000.0 * rest)


def tv(p, q):
    return 0.5 * float(np.abs(np.asarray(p) - np.asarray(q)).sum())


def on_states(target, process):
    """The data law over the process's states."""
    from ddm_pyro.sampling.exact import start_pmf

    return start_pmf(process, target.tabular()).numpy()
