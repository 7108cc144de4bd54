"""core/plan-kl against plans listed one by one, printed tables and exact output laws."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import oracles
import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.bounds import NotApplicable
from ddm_pyro.bounds.discrete import PlanKL
from ddm_pyro.rates import Masked
from ddm_pyro.samplers import Ancestral, Euler, FirstHitting, KUnmask, TauLeaping
from ddm_pyro.schedules import Constant, Cosine, Linear

PMF = oracles.hash_pmf(3, 3)


def tables_of(model, sizes):
    """x with masks (V) -> (L, V) probabilities, asked at t."""

    @cache
    def ask(x, t):
        return model.x0_log_probs(torch.tensor([x]), torch.tensor(float(t), dtype=torch.float64))[0].exp().numpy()

    return ask


def listed_kl(pmf, model, plan, times):
    """E over plans of KL(p_0 || law given the plan's contexts), every plan, sequence and position in a loop."""
    length, ask, total = pmf.ndim, tables_of(model, pmf.shape), 0.0
    vocab = max(pmf.shape)
    for steps in itertools.product(range(len(times)), repeat=length):
        chance = math.exp(float(plan.log_prob(torch.tensor([steps]))))
        if chance == 0:
            continue
        for x0 in itertools.product(*(range(size) for size in pmf.shape)):
            if pmf[x0] == 0:
                continue
            for i in range(length):
                context = tuple(x0[j] if steps[j] < steps[i] else vocab for j in range(length))
                total -= chance * pmf[x0] * math.log(ask(context, times[steps[i]])[i, x0[i]])
    return total - oracles.entropy(pmf)


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


def masked(schedule, pmf=PMF):
    return ddm.ForwardProcess([Masked(size) for size in pmf.shape], schedule)


@pytest.mark.parametrize("sampler", [Ancestral(), Euler(), TauLeaping(), TauLeaping("reject")], ids=str)
@pytest.mark.parametrize("timed", [False, True])
def test_equals_the_sum_over_listed_plans(sampler, timed):
    pmf = oracles.normalized(np.arange(1, 13)).reshape(2, 3, 2)
    target, process = ddm.targets.Tabular(torch.from_numpy(pmf)), masked(Constant(total=2.0), pmf)
    model = Tilted(target.denoiser(process), 0.6, timed=timed)
    times = [1.0, 0.5, 0.1]
    found = PlanKL()(target=target, model=model, sampler=sampler, times=times)
    plan = sampler.plan(process, torch.full((1, 3), 3), torch.tensor(times, dtype=torch.float64))
    expected = listed_kl(pmf, model, plan, times)
    assert found.terms["kl"] == pytest.approx(expected, abs=1e-12)
    assert found.terms["discretization"] + found.terms["score"] == pytest.approx(expected, abs=1e-12)
    law = ddm.push(sampler, model, times=times)
    assert 0.5 * float((law.pmf - torch.from_numpy(pmf).reshape(-1)).abs().sum()) <= found.value


@pytest.mark.parametrize(
    ("sampler", "sizes"), [(KUnmask((1, 2)), (1, 2)), (FirstHitting(2), (2, 1)), (FirstHitting(), (1, 1, 1))]
)
def test_blocks_equal_the_sum_over_listed_plans(sampler, sizes):
    target, process = ddm.targets.Tabular(torch.from_numpy(PMF)), masked(Cosine())
    model = Tilted(target.denoiser(process), 0.6)
    found = PlanKL()(target=target, model=model, sampler=sampler)
    grid = torch.linspace(1.0, 0.0, len(sizes) + 1).double()
    plan = sampler.plan(process, torch.full((1, 3), 3), grid)
    assert found.terms["kl"] == pytest.approx(listed_kl(PMF, model, plan, grid.tolist()), abs=1e-12)


def test_first_hitting_with_the_exact_model_has_no_error():
    target = ddm.targets.Tabular(torch.from_numpy(PMF))
    found = PlanKL()(target=target, model=target.denoiser(masked(Linear())), sampler=FirstHitting())
    assert found.value < 1e-15


@pytest.mark.parametrize("steps", [1, 4, 64])
def test_curve_and_patterns_agree_and_grid_error_is_the_ancestral_one(steps):
    potts = ddm.targets.PottsChain(num_states=3, length=5, coupling=1.0)
    process = ddm.ForwardProcess(Masked(3), Constant(total=8.0), length=5)
    listed = ddm.targets.Tabular(potts.tabular())
    values = [
        PlanKL()(target=one, model=one.denoiser(process), sampler=Ancestral(), steps=steps).terms["kl"]
        for one in (potts, listed)
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-12)
    times = torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)
    assert values[0] == pytest.approx(ddm.planning.grid_error(potts.information_curve(), process, times), abs=1e-11)


def test_refusals_name_what_applies():
    target = ddm.targets.Tabular(torch.from_numpy(PMF))
    process = ddm.ForwardProcess(ddm.rates.Uniform(3), Constant(total=4.0), length=3)
    with pytest.raises(NotApplicable, match="core/kernel-kl"):
        PlanKL()(target=target, model=target.denoiser(process), sampler=Ancestral(), steps=4)
    with pytest.raises(NotApplicable, match="core/path-kl"):
        PlanKL()(target=target, model=target.denoiser(process))
