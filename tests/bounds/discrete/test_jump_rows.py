"""core/discretization without masks: rates that remember the start of a step, against loops in plain numpy."""

from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
import torch
from discrete_worlds import Tilted, WrongScore, random_run
from pairs import pair

import ddm_pyro as ddm
from ddm_pyro.bounds import Discretization, NotApplicable
from ddm_pyro.rates import Uniform
from ddm_pyro.samplers import Ancestral, Euler, TauLeaping
from ddm_pyro.schedules import Constant, Linear


def distance(p, q):
    return 0.5 * float((p.pmf - q).abs().sum())


def test_equals_midpoints_over_all_pairs():
    """One tau-leaping step from 0.9 to 0.3 with exact rates, sites of unlike generators, sigma = 3 t."""
    process, oracle = pair("mixed alphabets", "constant")
    pmf = oracles.normalized(np.random.default_rng(2).gamma(1.0, size=oracle.sizes))
    target = ddm.targets.Tabular(torch.from_numpy(pmf))
    t, s, nodes = 0.9, 0.3, 400
    held = oracle.site_rates(pmf, t)
    total = 0.0
    for k in range(nodes):
        time = s + (t - s) * (k + 0.5) / nodes
        rates = oracle.site_rates(pmf, time)
        law, later = oracle.forward(pmf, time), np.kron(*oracle.kernels(time, t))
        for x, state in enumerate(oracle.states):
            for z, start in enumerate(oracle.states):
                gap = rates[x].copy()
                for site in range(oracle.length):
                    if state[site] == start[site]:
                        # leaves with 1 - exp(-h r): a constant hazard r, to v in proportion to the rates
                        gap[site] -= held[z, site]
                up, down = gap[gap > 0].sum(), -gap[gap < 0].sum()
                total += (t - s) / nodes * law[x] * later[x, z] * max(up, down)
    found = Discretization()(target=target, model=target.denoiser(process), sampler=TauLeaping(), times=[t, s])
    assert found.terms["discretization"] == pytest.approx(total, rel=2e-4)
    assert found.terms["score"] == 0.0
    prior = oracle.prior()
    assert found.terms["prior_mismatch"] == pytest.approx(0.5 * np.abs(oracle.forward(pmf, t) - prior).sum(), abs=1e-10)
    late, denoise = oracle.forward(pmf, s), oracle.denoise(pmf, s)
    exact = oracle.embed(pmf) * np.kron(*oracle.kernels(0.0, s)).T / late[:, None]
    final = 0.5 * float((late * np.abs(exact - denoise).sum(1)).sum())
    assert found.terms["final"] == pytest.approx(final, abs=1e-10)
    parts = total + found.terms["prior_mismatch"] + final
    assert found.value == pytest.approx(parts, rel=1e-3)


@pytest.mark.parametrize("seed", range(12))
def test_above_the_distance(seed):
    run = random_run(500 + seed, False, most=28)
    run = run._replace(times=[min(time, 0.999) for time in run.times])
    found = run.certify(Discretization())
    assert found.value >= run.tv() - 1e-9
    assert found.hypotheses == {"exact posterior": "verified"}
    together = sum(found.terms.values())
    assert found.value <= together + 1e-9 or math.isinf(found.value)
    assert found.terms["quadrature"] <= 1e-2 * found.value


@pytest.mark.slow
def test_more_steps_make_it_smaller_and_sure_jumps_make_it_infinite():
    target = ddm.targets.Tabular(torch.from_numpy(oracles.hash_pmf(2, 2)))
    process = ddm.ForwardProcess(Uniform(2), Constant(total=3.0), length=2)
    exact = target.denoiser(process)
    values = []
    for count in (3, 9, 27):
        times = np.linspace(1.0, 0.1, count + 1).tolist()
        found = Discretization()(target=target, model=exact, sampler=Ancestral(), times=times)
        assert found.hypotheses == {"exact score": "verified"}
        assert found.value >= distance(ddm.push(Ancestral(), exact, times=times), target.pmf)
        values.append(found.terms["discretization"])
    assert values[0] > 1.8 * values[1] > 3.6 * values[2]
    wild = WrongScore(exact, 3.0, seed=1)
    clipped = Discretization()(target=target, model=wild, sampler=Euler(), times=[1.0, 0.0])
    assert math.isinf(clipped.value)
    assert clipped.vacuous


def test_refusals():
    target = ddm.targets.Tabular(torch.from_numpy(oracles.hash_pmf(2, 2)))
    endless = ddm.ForwardProcess(Uniform(2), Linear(), length=2)
    with pytest.raises(NotApplicable, match="alpha > 0"):
        Discretization()(target=target, model=Tilted(target.denoiser(endless), 0.1), sampler=Ancestral(), steps=2)
    large = ddm.targets.PottsChain(num_states=2, length=8, coupling=1.0)
    process = ddm.ForwardProcess(Uniform(2), Constant(total=3.0), length=8)
    with pytest.raises(NotApplicable, match="at most 128 states"):
        Discretization()(target=large, model=large.denoiser(process), sampler=Ancestral(), steps=2)
