"""Estimates of continuous-time losses against quadrature over all states."""

from __future__ import annotations

import loss_worlds
import numpy as np
import oracles
import pytest
import torch
from discrete_worlds import AsScore, Mixed, Tilted, WrongScore
from scipy.stats import norm

import ddm_pyro as ddm
from ddm_pyro.bounds import Floored, NotApplicable, PlanKL
from ddm_pyro.bounds.discrete import monte_carlo
from ddm_pyro.bounds.discrete.monte_carlo import estimate_nelbo, estimate_path_kl, estimate_score_entropy
from ddm_pyro.losses import NELBO
from ddm_pyro.parameterizations.counted import Counted
from ddm_pyro.rates import Masked, Uniform
from ddm_pyro.samplers import Ancestral, FirstHitting

Z = norm.isf(1e-5)
PMF = oracles.normalized(np.random.default_rng(5).gamma(0.6, size=(3, 2, 3)))
TARGET = ddm.targets.Tabular(torch.from_numpy(PMF))
SCHEDULES = [loss_worlds.SIGMA[name][0] for name in loss_worlds.SIGMA] + [ddm.schedules.Constant(total=0.7)]


def masked(schedule):
    return ddm.ForwardProcess([Masked(size) for size in PMF.shape], schedule)


def near(limit, exact):
    assert abs(limit.mean - exact) <= Z * limit.stderr + 1e-12, (limit, exact)
    assert limit.upper >= limit.mean
    return True


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("score", [False, True])
def test_masked_bound_does_not_depend_on_the_schedule(schedule, score):
    """Time-free: the any-order bound, which first hitting's exact certificate is, also where alpha(1) > 0."""
    model = Tilted(TARGET.denoiser(masked(schedule)), 0.7, seed=2)
    exact = PlanKL()(target=TARGET, model=model, sampler=FirstHitting()).terms["kl"]
    model = AsScore(model) if score else model
    assert near(estimate_nelbo(TARGET, model, seed=0, budget=20), exact + oracles.entropy(PMF))
    assert near(estimate_score_entropy(TARGET, model, seed=1, budget=20), exact)
    found = estimate_path_kl(TARGET, model, seed=0, budget=20, confidence=0.9)
    assert found.mean <= found.upper
    assert found.certificate("core/path-kl").value >= found.certificate("core/path-kl").estimate


def quadrature(model, schedule, nodes=48):
    """int du / u E sum over masked of sum_v D(p_v || r_v), r the model's rates over the exact one of revealing."""
    process = model.process
    exact, states = TARGET.denoiser(process), process.space.enumerate()
    masks = process.space.is_mask(states)
    shown = torch.tensor(
        [
            sum(PMF[x] for x in np.ndindex(PMF.shape) if all(m or a == b for a, b, m in zip(x, row, mask, strict=True)))
            for row, mask in zip(states.tolist(), masks.tolist(), strict=True)
        ]
    )
    u, w = np.polynomial.legendre.leggauss(nodes)
    first, total = float(process.mask_probability(torch.tensor(1.0).double())), 0.0
    for level, weight in zip((u + 1) / 2, w / 2, strict=True):
        t = schedule.inverse(torch.tensor(1.0 - level * first, dtype=torch.float64))
        number = masks.sum(-1)
        law = level**number * (1 - level) ** (3 - number) * shown
        p = exact.x0_log_probs(states, t).exp()
        speed = process.mask_decay(t) / process.mask_probability(t)
        r = model.reverse_rate(states, t)[..., : p.shape[-1]] / speed
        gap = torch.where(p > 0, r - p + p * (p / torch.where(p > 0, r, 1.0)).log(), r).sum(-1)
        total += weight / level * float((law * torch.where(masks, gap, 0.0).sum(-1)).sum())
    return total


@pytest.mark.parametrize("schedule", [SCHEDULES[1], SCHEDULES[4]], ids=str)
def test_masked_losses_of_models_that_depend_on_time_or_do_not_sum_to_one(schedule):
    exact = TARGET.denoiser(masked(schedule))
    for model in (Tilted(exact, 0.5, seed=3, timed=True), WrongScore(exact, 0.4, seed=3)):
        expected = quadrature(model, schedule)
        assert near(estimate_score_entropy(TARGET, model, seed=2, budget=20), expected)
        assert near(estimate_nelbo(TARGET, model, seed=3, budget=20), expected + oracles.entropy(PMF))


def test_stopping_early_is_a_fine_grid_with_a_final_denoising():
    model = Tilted(TARGET.denoiser(masked(SCHEDULES[2])), 0.7, seed=2)
    times = torch.linspace(1.0, 0.3, 800, dtype=torch.float64)
    fine = PlanKL()(target=TARGET, model=model, sampler=Ancestral(), times=times).terms["kl"]
    found = estimate_nelbo(TARGET, model, stop=0.3, seed=0, budget=30)
    assert abs(found.mean - oracles.entropy(PMF) - fine) <= Z * found.stderr + 2e-3
    assert fine > 3 * PlanKL()(target=TARGET, model=model, sampler=FirstHitting()).terms["discretization"]


@pytest.mark.parametrize("schedule", ["log-linear", "constant", "linear"])
def test_uniform_losses(schedule):
    world = loss_worlds.world("uniform", schedule, sizes=(3, 2))
    target = ddm.targets.Tabular(torch.from_numpy(world.pmf))
    models = [Tilted(world.exact, 0.4)]
    if schedule != "linear":
        # Where the rate is infinite, at t = 1, the loss of a wrong score is infinite too.
        models.append(WrongScore(world.exact, 0.3, seed=1))
    for model in models:
        bound = world.integral(NELBO(), model, nodes=80)
        prior = torch.zeros(())
        if schedule != "linear":
            prior = NELBO().constant(world.process, torch.zeros(1, 2, dtype=torch.int64))
        found = estimate_nelbo(target, model, seed=4, budget=40)
        assert near(found, float(bound) + float(prior))
        gap = float(bound) - world.conditional_entropy()
        if schedule == "linear":
            gap = float(bound) - oracles.entropy(world.pmf)
        assert near(estimate_score_entropy(target, model, seed=4, budget=40), gap)
        # The gap alone is far less noisy than the difference of the bound and the entropy.
        assert estimate_score_entropy(target, model, seed=4, budget=40).stderr < found.stderr


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_times_are_drawn_with_their_weights(schedule):
    """int_0^1 f(t) dt by the proposal's own quadrature, whatever alpha(1) is."""
    process = ddm.ForwardProcess(Uniform(3), schedule, length=2)
    v = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    t, weight = monte_carlo._noise_times(process, v)
    assert float((weight * t.square()).mean()) == pytest.approx(1 / 3, rel=1e-2)
    assert float(weight.mean()) == pytest.approx(1.0, rel=1e-2)


def test_budget_floor_and_refusals():
    model = Counted(Floored(Mixed(TARGET.denoiser(masked(SCHEDULES[0])), 0.2), 0.2))
    found = estimate_nelbo(TARGET, model, budget=3, seed=0)
    assert (model.count.calls, model.count.rows) == (3, 192)
    assert found.hypotheses == {"bounded terms": "verified"}
    uniform = ddm.ForwardProcess([Uniform(size) for size in PMF.shape], SCHEDULES[4])
    with pytest.raises(NotApplicable, match="core/kernel-kl"):
        estimate_nelbo(TARGET, TARGET.denoiser(uniform), stop=0.1)
    with pytest.raises(ValueError, match="budget=0"):
        estimate_nelbo(TARGET, model, budget=0)
    with pytest.raises(ValueError, match="confidence=1"):
        estimate_nelbo(TARGET, model, confidence=1.0, budget=1)
