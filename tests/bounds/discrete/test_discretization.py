"""core/discretization against every plan and order listed, exact laws, and its own estimates."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import cache

import numpy as np
import oracles
import pytest
import torch
from discrete_worlds import Mixed, Tilted
from scipy.stats import norm

import ddm_pyro as ddm
from ddm_pyro.bounds import Discretization, Question
from ddm_pyro.bounds.discrete import discretization, discretization_error
from ddm_pyro.parameterizations.counted import Counted
from ddm_pyro.rates import Masked
from ddm_pyro.samplers import Ancestral, Euler, FirstHitting, KUnmask, TauLeaping
from ddm_pyro.schedules import Constant, Linear

PMF = oracles.normalized(np.random.default_rng(7).gamma(0.5, size=(2, 3, 2)))
TARGET = ddm.targets.Tabular(torch.from_numpy(PMF))
MASKED = ddm.ForwardProcess([Masked(size) for size in PMF.shape], Constant(total=2.0))
Z = norm.isf(1e-5)


def listed(model, plan, times):
    """The three sums by looping over plans, orders, sequences and positions."""
    exact, length = TARGET.denoiser(MASKED), 3
    sums = np.zeros(3)

    @cache
    def ask(one, x, t):
        return one.x0_log_probs(torch.tensor([x]), torch.tensor(t, dtype=torch.float64))[0].exp().numpy()

    orders = list(itertools.permutations(range(length)))
    for steps in itertools.product(range(len(times)), repeat=length):
        chance = math.exp(float(plan.log_prob(torch.tensor([steps])))) / len(orders)
        if chance == 0:
            continue
        for order in orders:
            for x0 in np.ndindex(PMF.shape):
                for i in range(length):
                    late = tuple(3 if steps[j] >= steps[i] else x0[j] for j in range(length))
                    now = tuple(3 if (steps[j], order[j]) >= (steps[i], order[i]) else x0[j] for j in range(length))
                    p = ask(exact, now, 1.0)[i]
                    q, r = ask(model, now, times[steps[i]])[i], ask(model, late, times[steps[i]])[i]
                    gaps = [0.5 * np.abs(a - b).sum() for a, b in ((q, r), (p, q), (p, r))]
                    sums += chance * PMF[x0] * np.array(gaps)
    return sums


RUNS = [
    (Ancestral(), [1.0, 0.4, 0.0]),
    (TauLeaping("reject"), [1.0, 0.3]),
    (KUnmask((2, 1)), None),
    (FirstHitting(3), None),
]


@pytest.mark.parametrize(("sampler", "times"), RUNS, ids=str)
@pytest.mark.parametrize("timed", [False, True])
def test_equals_the_sum_over_listed_plans_and_orders(sampler, times, timed):
    if timed and isinstance(sampler, FirstHitting):
        timed = False
    model = Tilted(TARGET.denoiser(MASKED), 0.8, timed=timed)
    found = Discretization()(target=TARGET, model=model, sampler=sampler, times=times)
    blocks = {KUnmask: 2, FirstHitting: 1}.get(type(sampler), 0)
    grid = times if times is not None else np.linspace(1.0, 0.0, blocks + 1).tolist()
    plan = sampler.plan(MASKED, torch.full((1, 3), 3), torch.tensor(grid, dtype=torch.float64))
    disc, score, rows = listed(model, plan, grid)
    assert found.terms["discretization"] == pytest.approx(disc, abs=1e-12)
    assert found.terms["score"] == pytest.approx(score, abs=1e-12)
    assert found.value == pytest.approx(rows, abs=1e-12)
    assert rows <= disc + score + 1e-12
    assert found.hypotheses == {"exact posterior": "verified"}
    question = Question(target=TARGET, model=model, sampler=sampler, times=times)
    assert discretization_error(question) == pytest.approx((disc, disc), abs=1e-12)


@pytest.mark.parametrize("sampler", [Ancestral(), Euler(), TauLeaping()], ids=str)
def test_for_two_positions_and_the_exact_score_it_is_the_distance(sampler):
    target = ddm.targets.Tabular(torch.from_numpy(oracles.hash_pmf(4, 2)))
    model = target.denoiser(ddm.ForwardProcess(Masked(4), Linear(), length=2))
    found = Discretization()(target=target, model=model, sampler=sampler, steps=5)
    tv = 0.5 * float((ddm.push(sampler, model, steps=5).pmf - target.pmf).abs().sum())
    assert found.value == pytest.approx(tv, abs=1e-13)
    assert found.hypotheses == {"exact score": "verified"}
    assert found.terms["score"] == 0.0


@pytest.mark.parametrize(("sampler", "times"), [*RUNS, (FirstHitting(2), None)], ids=str)
def test_draws_are_unbiased(sampler, times, monkeypatch):
    model = Tilted(TARGET.denoiser(MASKED), 0.8)
    given = {"target": TARGET, "model": model, "sampler": sampler, "times": times}
    exact = Discretization()(**given)
    monkeypatch.setattr(discretization, "EXACT_PAIRS", 0)
    found = Discretization()(**given, budget=40, seed=0)
    assert abs(found.estimate - exact.value) <= Z * found.terms["stderr"]
    assert found.terms["discretization"] == pytest.approx(exact.terms["discretization"], abs=0.1)
    assert found.terms["score"] == pytest.approx(exact.terms["score"], abs=0.1)
    assert found.value == found.ucb > exact.value
    assert found.hypotheses == {"exact posterior": "verified", "bounded terms": "verified"}
    mean, upper = discretization_error(Question(**given, budget=40, seed=1))
    assert mean < upper
    assert exact.terms["discretization"] <= upper


def test_a_plan_with_a_clock():
    """First hitting asks a model of time at its own hitting times: exact sums do not know them, draws do."""
    model = Tilted(TARGET.denoiser(MASKED), 0.8, timed=True)
    found = Discretization()(target=TARGET, model=model, sampler=FirstHitting(2), budget=5, seed=0)
    assert found.estimate is not None
    assert found.estimate > 0.01


def test_without_a_posterior_only_the_discretization_is_certified():
    data = ddm.targets.DataSet(
        ddm.StateSpace((2, 3, 2), 3),
        train=torch.tensor([[0, 1, 1], [1, 2, 0], [0, 0, 0]]),
        test=torch.zeros(1, 3, dtype=torch.int64),
    )
    model = Counted(Mixed(TARGET.denoiser(MASKED), 0.5))
    found = Discretization()(target=data, model=model, sampler=Ancestral(), steps=4, budget=3, seed=0)
    assert found.hypotheses["exact score"] == "assumed"
    assert "score" not in found.terms
    assert (model.count.calls, model.count.rows) == (3, 192)
    assert found.estimate == found.terms["discretization"]


def test_steps_make_it_small_and_blocks_of_one_make_it_zero():
    model = Mixed(TARGET.denoiser(MASKED), 0.3)
    question = Question(target=TARGET, model=model, sampler=Ancestral())
    errors = [discretization_error(replace(question, steps=steps))[0] for steps in (2, 8, 32)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0
    assert discretization_error(replace(question, sampler=FirstHitting())) == (0.0, 0.0)
