"""Random small runs: a law, a process, a wrong model, a sampler and its grid."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch

import ddm_pyro as ddm
from ddm_pyro import rates, schedules
from ddm_pyro.samplers import Ancestral, Euler, FirstHitting, KUnmask, TauLeaping

SCHEDULES = [
    schedules.Linear(),
    schedules.LogLinear(eps=0.02),
    schedules.Cosine(),
    schedules.Geometric(smin=0.01, smax=5.0),
    schedules.Constant(total=3.0),
]
SIZES = [0.0, 1e-6, 0.01, 0.1, 0.5, 1.5]


class Tilted(ddm.Parameterization):
    """The exact posterior times a lognormal factor of (state, position, token), and of time when asked."""

    def __init__(self, exact, scale, seed=0, timed=False):
        super().__init__(exact.process)
        space = exact.process.space
        rng = np.random.default_rng(seed)
        self.noise = torch.from_numpy(rng.normal(size=(space.num_states, space.length, space.vocab_size)) * scale)
        self.exact, self.timed, self.time_free = exact, timed, exact.time_free and not timed

    def x0_log_probs(self, x, t, *, at=None):
        factor = torch.as_tensor(t).double().expand(x.shape[:-1])[..., None, None] * 2 if self.timed else 1.0
        noise = self.noise[self.process.space.index(x)] * factor
        table = torch.log_softmax(self.exact.x0_log_probs(x, t) + noise, -1)
        return table if at is None else table.flatten(0, -2)[at]


class Mixed(ddm.Parameterization):
    """(1 - e) p + e / V where a token is masked, or everywhere without masks."""

    def __init__(self, exact, share):
        super().__init__(exact.process)
        self.exact, self.share, self.time_free = exact, share, exact.time_free

    def x0_log_probs(self, x, t, *, at=None):
        p = self.exact.x0_log_probs(x, t).exp()
        space = self.process.space
        sizes = torch.tensor(space.position_sizes).unsqueeze(-1)
        flat = (torch.arange(p.shape[-1]) < sizes) / sizes
        mixed = (1 - self.share) * p + self.share * flat
        if space.mask is not None:
            mixed = torch.where(space.is_mask(x).unsqueeze(-1), mixed, p)
        table = mixed.log()
        return table if at is None else table.flatten(0, -2)[at]


class WrongScore(ddm.Parameterization):
    """The exact ratio score times lognormal factors: no law's score."""

    primary = "score"

    def __init__(self, exact, scale, seed=0):
        super().__init__(exact.process)
        space = exact.process.space
        rng = np.random.default_rng(seed)
        self.noise = torch.from_numpy(rng.normal(size=(space.num_states, space.length, space.num_symbols)) * scale)
        self.exact, self.time_free = exact, exact.time_free

    def log_score(self, x, t):
        noise = self.noise[self.process.space.index(x)]
        return self.exact.log_score(x, t) + noise.gather(-1, self.process.moves(x))


class AsScore(ddm.Parameterization):
    """A model with an x0 head, given by its ratio score."""

    primary = "score"

    def __init__(self, inner):
        super().__init__(inner.process)
        self.inner, self.time_free = inner, inner.time_free

    def log_score(self, x, t):
        return self.inner.log_score(x, t)

    def x0_log_probs(self, x, t, *, at=None):
        return self.inner.x0_log_probs(x, t, at=at)


class Run(NamedTuple):
    """What a bound and ``push`` are called with."""

    target: Any
    model: Any
    sampler: Any
    times: Any

    def tv(self):
        law = ddm.push(self.sampler, self.model, times=self.times)
        pmf = self.target.tabular().pmf
        if law.space == self.target.space:
            return 0.5 * float((law.pmf - pmf).abs().sum())
        space = law.space
        padded = torch.zeros(space.radices, dtype=torch.float64)
        padded[tuple(slice(0, size) for size in space.position_sizes)] = pmf.reshape(space.position_sizes)
        return 0.5 * float((law.pmf - padded.reshape(-1)).abs().sum())

    def certify(self, bound, **more):
        return bound(target=self.target, model=self.model, sampler=self.sampler, times=self.times, **more)


def random_run(seed, masked, most=90):
    """One of a sweep: every number of tokens 1..5, length 1..4, schedule, error, sampler, grid."""
    rng = np.random.default_rng(1000 + seed)
    while True:
        sizes = tuple(rng.integers(1, 6, size=rng.integers(1, 5)).tolist())
        if rng.random() < 0.5:
            sizes = sizes[:1] * len(sizes)
        if math.prod(size + masked for size in sizes) <= most:
            break
    zeros = float(rng.choice([0.0, 0.0, 0.5]))
    target = ddm.targets.random_tabular(
        sizes, seed=seed, concentration=float(rng.choice([0.2, 1.0, 10.0])), zeros=min(zeros, 0.5)
    )
    schedule = SCHEDULES[rng.integers(len(SCHEDULES))]
    rate = rates.Masked if masked else rates.Uniform
    process = ddm.ForwardProcess([rate(size) for size in sizes], schedule)
    exact, scale = target.denoiser(process), float(rng.choice(SIZES))
    kind = rng.integers(4)
    model = [
        lambda: Tilted(exact, scale, seed),
        lambda: Tilted(exact, scale, seed, timed=True),
        lambda: Mixed(exact, min(scale, 1.0)),
        lambda: AsScore(Tilted(exact, scale, seed)) if masked else WrongScore(exact, scale, seed),
    ][kind]()
    steps = int(rng.integers(1, 7))
    first = 1.0 if rng.random() < 0.5 else 0.9
    last = 0.0 if rng.random() < 0.6 else float(rng.choice([0.01, 0.2]))
    if not masked and model.primary == "score":
        first, last = 0.9, 0.0
    inner = np.sort(rng.uniform(last + 0.005, first - 0.005, size=steps - 1))[::-1]
    times = [first, *inner.tolist(), last]
    choices = [Euler(), TauLeaping(), TauLeaping("reject")]
    if model.primary == "x0":
        choices.append(Ancestral())
        if masked and len(sizes) > 0 and model.time_free:
            block = int(rng.integers(1, len(sizes) + 1))
            choices += [FirstHitting(block), KUnmask(tuple(cut(len(sizes), rng)))]
    sampler = choices[rng.integers(len(choices))]
    if isinstance(sampler, FirstHitting | KUnmask):
        return Run(target, model, sampler, None)
    infinite = math.isinf(float(schedule.rate(torch.tensor(first, dtype=torch.float64))))
    if infinite and (not masked or model.primary == "score") and not isinstance(sampler, Ancestral):
        times[0] = 0.95 if steps == 1 or times[1] < 0.95 else times[0]
        if times[0] == 1.0:
            return random_run(seed + 100_000, masked, most)
    return Run(target, model, sampler, times)


def cut(total, rng):
    out = []
    while sum(out) < total:
        out.append(int(rng.integers(1, total - sum(out) + 1)))
    return out
