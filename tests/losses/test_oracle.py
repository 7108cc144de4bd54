"""The discrete-time bound is Pyro's ELBO: forward kernels as guide, reverse steps as model."""

from __future__ import annotations

import numpy as np
import oracles
import pyro
import pytest
import torch
from loss_worlds import Tilted, world
from pyro.infer import Trace_ELBO
from scipy.stats import norm

from ddm_pyro import losses
from ddm_pyro.samplers import Ancestral, Euler, TauLeaping

TIMES = (1.0, 0.6, 0.15, 0.0)
FALSE_ALARM = 2e-5
CASES = [
    ("uniform", "log-linear", Ancestral()),
    ("rank-one", "constant", Euler()),
    ("masked", "linear", Ancestral()),
    ("masked", "cosine", TauLeaping()),
    ("dense", "geometric", Ancestral()),
]


def programs(model, sampler):
    process, up = model.process, TIMES[::-1]

    def guide(x0):
        x = x0
        with pyro.plate("rows", len(x0)):
            for k in range(1, len(up)):
                x = pyro.sample(f"x{k}", process.transition(x, up[k - 1], up[k]))

    def reverse(x0):
        with pyro.plate("rows", len(x0)):
            x = pyro.sample(f"x{len(up) - 1}", process.prior())
            for k in range(len(up) - 1, 0, -1):
                t, s = (torch.full((len(x0),), up[j], dtype=torch.float64) for j in (k, k - 1))
                x = pyro.sample(f"x{k - 1}", sampler.step(model, x, t, s), obs=x0 if k == 1 else None)

    return guide, reverse


def setting(kind, schedule):
    sizes = (3,) if kind == "dense" else (2, 2)
    small = world(kind, schedule, sizes, oracles.normalized(np.arange(1.0, np.prod(sizes) + 1) ** 2).reshape(sizes))
    torch.manual_seed(11)
    theta = 0.5 * torch.randn(Tilted(small.exact).theta.shape, dtype=torch.float64)
    return small, Tilted(small.exact, theta=theta)


def bound_of(loss, model, x0):
    """The bound of one row, x_t summed out."""
    states = model.process.space.enumerate()
    total = loss.constant(model.process, x0)
    for t in TIMES[:-1]:
        weight = model.process.marginal(x0, t).log_prob(states).exp()
        some = weight > 0
        values = loss(model, x0.expand(int(some.sum()), -1), states[some], t)
        total = total + (weight[some] * values).sum() / (len(TIMES) - 1)
    return float(total)


@pytest.mark.parametrize(("kind", "schedule", "sampler"), CASES, ids=repr)
def test_it_is_the_elbo_over_all_chains(kind, schedule, sampler):
    small, model = setting(kind, schedule)
    guide, reverse = programs(model, sampler)
    states = model.process.space.enumerate()
    chains = torch.cartesian_prod(*[torch.arange(len(states))] * 3)
    x0 = torch.from_numpy(oracles.sequences(small.sizes))[-2]
    data = x0.expand(len(chains), -1)

    def score(program, kept):
        fixed = {f"x{k}": states[chains[kept, k - 1]] for k in (1, 2, 3)}
        trace = pyro.poutine.trace(pyro.poutine.condition(program, data=fixed)).get_trace(data[kept])
        trace.compute_log_prob()
        return sum(trace.nodes[f"x{k}"]["log_prob"] for k in range(4) if f"x{k}" in trace.nodes)

    with torch.no_grad():
        log_q = score(guide, torch.ones(len(chains), dtype=torch.bool))
        possible = log_q > -torch.inf
        log_q = log_q[possible]
        log_p = score(reverse, possible)
        assert float(log_q.exp().sum()) == pytest.approx(1.0, abs=1e-10)
        expected = float((log_q.exp() * (log_q - log_p)).sum())
        assert bound_of(losses.DiscreteNELBO(times=TIMES, sampler=sampler), model, x0) == pytest.approx(
            expected, rel=1e-9
        )


@pytest.mark.parametrize(("kind", "schedule", "sampler"), CASES[:4:2], ids=repr)
def test_trace_elbo_estimates_it(kind, schedule, sampler):
    small, model = setting(kind, schedule)
    guide, reverse = programs(model, sampler)
    x0 = torch.from_numpy(oracles.sequences(small.sizes))[1]
    pyro.set_rng_seed(5)
    with torch.no_grad():
        draws = np.array([Trace_ELBO().loss(reverse, guide, x0.expand(200, -1)) / 200 for _ in range(100)])
        exact = bound_of(losses.DiscreteNELBO(times=TIMES, sampler=sampler), model, x0)
    error = draws.std(ddof=1) / np.sqrt(len(draws))
    assert abs(draws.mean() - exact) < norm.isf(FALSE_ALARM / 2) * error
    assert error < 0.02
