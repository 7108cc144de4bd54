"""Continuous-time certificates against the law of the reverse process, found by dense linear algebra."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from bound_worlds import SCHEDULES, Blurred, Perturbed, Tilted, continuous_law, lognormal, on_states, tv

import ddm_pyro as ddm
from ddm_pyro.bounds import (
    AdjointIPM,
    Best,
    ConditionedPathKL,
    ExitRouting,
    GeneralizedPinsker,
    KernelTV,
    Local,
    NotApplicable,
    PathKL,
    Row,
)
from ddm_pyro.bounds.base import Question
from ddm_pyro.bounds.best import LOSS, SCORE
from ddm_pyro.bounds.facts import facts_of

METRICS = [
    ddm.create("metrics", name)
    for name in ("core/tv", "core/position-tv", "core/bounded-lipschitz", "core/w1-hamming", "core/mmd-hamming")
]
ALL = (*SCORE, *LOSS, KernelTV())


def world(rng, masked, schedule=None):
    size = int(rng.integers(1, 5))
    length = int(rng.integers(1, 4 if size > 2 else 5))
    zeros = float(rng.choice([0.0, 0.0, 0.4]))
    target = ddm.targets.RandomTabular(
        num_states=size, length=length, seed=int(rng.integers(10**6)), zeros=zeros, concentration=rng.choice([0.5, 2.0])
    )
    rate = ddm.rates.Masked(size) if masked else ddm.rates.Uniform(size)
    schedule = SCHEDULES[rng.integers(len(SCHEDULES))] if schedule is None else schedule
    process = ddm.ForwardProcess(rate, schedule, length)
    exact, error, seed = target.denoiser(process), float(10 ** rng.uniform(-2, 0.1)), int(rng.integers(10**6))
    kind = rng.choice(["tilted", "blurred", "perturbed"]) if masked else rng.choice(["perturbed", "scaled"])
    if kind == "tilted":
        return target, Tilted(exact, error, seed)
    if kind == "blurred":
        return target, Blurred(exact, min(error, 0.9), seed)
    factors = lognormal(process.space, error, seed)
    return target, Perturbed(exact, factors if kind == "perturbed" else torch.full_like(factors, 1.0 + error))


def check(seed, masked):
    rng = np.random.default_rng(seed)
    target, model = world(rng, masked)
    space = model.process.space
    law, data = continuous_law(model), on_states(target, model.process)
    if masked:  # leftover masks of the oracle, below rounding
        law = np.where(space.is_mask(space.enumerate()).any(-1).numpy() & (law < 1e-12), 0.0, law)
    p, q = (ddm.Tabular(torch.from_numpy(v / v.sum()), space=space) for v in (law, data))
    truths = {metric.name: metric(p, q).value for metric in METRICS}
    facts = facts_of(Question(target=target, model=model), "test")
    for bound in ALL:
        try:
            certificate = bound.certify(facts)
        except NotApplicable:
            continue
        assert certificate.value >= tv(law, data) - 1e-9, (seed, bound)
        for metric in METRICS:
            limit = certificate.for_metric(metric, space).value
            # The oracle's own tolerance is 1e-8 a state.
            assert limit >= truths[metric.name] - 1e-7, (seed, bound, metric)
    return tv(law, data), Best()(target=target, model=model).value


@pytest.mark.parametrize(("seed", "masked"), [*((k, True) for k in range(6)), *((k, False) for k in (0, 2, 3))])
def test_no_certificate_is_below_any_metric(seed, masked) -> None:
    truth, best = check(seed, masked)
    assert truth - 1e-9 <= best <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("masked", [True, False])
def test_the_best_is_within_a_small_factor(masked) -> None:
    pairs = np.array([check(1000 + seed, masked) for seed in range(60)])
    truth, best = pairs[pairs[:, 0] > 1e-7].T
    assert np.median(best / truth) <= (2.5 if masked else 5.0)


def uniform_world(size=3, length=2, total=3.0, seed=5, zeros=0.0):
    target = ddm.targets.RandomTabular(num_states=size, length=length, seed=seed, zeros=zeros)
    process = ddm.ForwardProcess(ddm.rates.Uniform(size), ddm.schedules.Constant(total=total), length)
    return target, target.denoiser(process)


def masked_world(schedule, size=3, length=3, seed=5):
    target = ddm.targets.RandomTabular(num_states=size, length=length, seed=seed)
    process = ddm.ForwardProcess(ddm.rates.Masked(size), schedule, length)
    return target, target.denoiser(process)


def test_exact_scores_leave_the_start_alone() -> None:
    target, exact = uniform_world(total=2.0)
    start = tv(target.pmf.new_full((9,), 1 / 9), exact.process.push(target.pmf, 0.0, 1.0))
    for bound in (Row(), PathKL(), GeneralizedPinsker(), ExitRouting()):
        assert bound(target=target, model=exact).value == pytest.approx(start, abs=1e-7)
    theorem = AdjointIPM()(target=target, model=exact)
    assert theorem.value == pytest.approx(2 * math.exp(-2.0), abs=1e-6)


@pytest.mark.parametrize("total", [0.2, 1.0, 5.0])
def test_the_boundary_term_of_masks_is_an_artefact(total) -> None:
    target, exact = masked_world(ddm.schedules.Constant(total=total))
    boundary = 1 - (1 - math.exp(-total)) ** 3
    assert AdjointIPM()(target=target, model=exact).value == pytest.approx(boundary, rel=1e-9)
    assert PathKL()(target=target, model=exact).value == pytest.approx(boundary, rel=1e-6)
    assert ConditionedPathKL()(target=target, model=exact).value < 1e-7
    assert Row()(target=target, model=exact).value < 1e-9


def test_time_free_masked_loss_is_the_order_average() -> None:
    """L^c = CE - H with CE the mean over orders of the autoregressive cross entropy, for every schedule."""
    import itertools

    losses = []
    for schedule in SCHEDULES:
        target, exact = masked_world(schedule)
        model = Tilted(exact, 0.8, seed=2)
        losses.append(ConditionedPathKL()(target=target, model=model).terms["score_entropy"])
    space, total = model.process.space, 0.0
    for order in itertools.permutations(range(3)):
        for x, p in zip(space.data.enumerate(), target.pmf, strict=True):
            seen = torch.full((3,), space.mask)
            for position in order:
                total -= float(p * model.x0_log_probs(seen[None], torch.tensor(0.5))[0, position, x[position]]) / 6
                seen[position] = x[position]
    assert losses == pytest.approx([total - float(target.entropy())] * len(losses), rel=1e-8)


def test_generated_jumps_have_their_closed_forms() -> None:
    """A = L (1 - 1/S) B for uniform noise and L (1 - e^-B) for masks; exit errors of a scaled score have D(1 || c)."""
    target, exact = uniform_world(total=3.0)
    factors = torch.full((9, 2, 3), 1.5).double()
    facts = facts_of(Question(target=target, model=Perturbed(exact, factors)), "test")
    jumps = 2 * (1 - 1 / 3) * 3.0
    assert facts.plain.jumps == pytest.approx(jumps, rel=1e-8)
    assert facts.plain.learned_jumps == pytest.approx(1.5 * jumps, rel=1e-8)
    assert facts.plain.entropy == pytest.approx(jumps * (0.5 - math.log(1.5)), rel=1e-8)
    assert facts.plain.exit == pytest.approx(facts.plain.entropy, rel=1e-8)
    assert facts.plain.row == pytest.approx(0.5 * jumps, rel=1e-8)
    assert facts.plain.cubes == pytest.approx(2 / 3 * 0.125 * jumps, rel=1e-8)
    masked, exact = masked_world(ddm.schedules.Constant(total=2.0))
    facts = facts_of(Question(target=masked, model=exact), "test")
    assert facts.plain.jumps == pytest.approx(3 * (1 - math.exp(-2.0)), rel=1e-9)


def test_one_binary_token_makes_the_row_bound_tight() -> None:
    target = ddm.targets.Product(torch.tensor([[0.5, 0.5]]))
    process = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), 1)
    model = Blurred(target.denoiser(process), 0.5, seed=3)
    truth = tv(continuous_law(model), on_states(target, process))
    assert Row()(target=target, model=model).value == pytest.approx(truth, rel=1e-9)


def test_squared_score_error_grows_without_end_on_sparse_data() -> None:
    """L_WSM of a relative score error diverges like log(1/delta) when the data have zeros; the path KL does not."""
    target, exact = uniform_world(zeros=0.4)
    model = Perturbed(exact, lognormal(exact.process.space, 0.3))
    theorem = AdjointIPM()(target=target, model=model)
    assert theorem.value == math.inf
    assert theorem.vacuous
    assert PathKL()(target=target, model=model).terms["score_entropy"] < 1.0
    early = [AdjointIPM()(target=target, model=model, times=[1.0, d]).terms for d in (1e-2, 1e-4, 1e-6)]
    growth = np.diff([t["weighted_score_matching"] for t in early])
    assert growth[0] == pytest.approx(growth[1], rel=0.1)
    assert growth[0] > 0.05


def test_early_stopping_has_its_own_term() -> None:
    target, exact = masked_world(ddm.schedules.Linear())
    stop = 0.1
    expected = 1 - 0.9**3
    assert Row()(target=target, model=exact, times=[1.0, stop]).terms["early_stopping"] == pytest.approx(expected)
    target, exact = uniform_world()
    law = exact.process.push(target.pmf, 0.0, stop)
    certificate = PathKL()(target=target, model=exact, times=[1.0, stop])
    assert certificate.terms["early_stopping"] == pytest.approx(tv(law, target.pmf), rel=1e-9)


def test_samplers_that_are_exact_in_time_are_the_continuous_process() -> None:
    target, exact = masked_world(ddm.schedules.Cosine())
    model = Tilted(exact, 0.5)
    law = ddm.push(ddm.samplers.FirstHitting(), model)
    truth = tv(law.pmf, target.pmf)
    assert truth <= ConditionedPathKL()(target=target, model=model, sampler=ddm.samplers.FirstHitting()).value
    with pytest.raises(NotApplicable, match="takes steps"):
        PathKL()(target=target, model=model, sampler=ddm.samplers.Ancestral(), steps=4)


def test_uniformization_with_its_final_denoising() -> None:
    target, exact = uniform_world(zeros=0.3)
    sampler = ddm.samplers.Uniformization(early_stopping=0.05)
    law = ddm.push(sampler, exact, steps=6)
    certificate = Row()(target=target, model=exact, sampler=sampler, steps=6)
    assert tv(law.pmf, target.pmf) <= certificate.value + 1e-9 < 0.2


def test_what_is_refused() -> None:
    target, exact = uniform_world()
    with pytest.raises(NotApplicable, match="not masked"):
        ConditionedPathKL()(target=target, model=exact)
    with pytest.raises(NotApplicable, match="once revealed"):
        Local()(target=target, model=exact)
    with pytest.raises(ValueError, match="lives on"):
        Row()(target=ddm.targets.RandomTabular(num_states=2, length=2), model=exact)
    with pytest.raises(ValueError, match="decrease from 1"):
        Row()(target=target, model=exact, times=[0.9, 0.0])
    chain = ddm.targets.PottsChain(num_states=4, length=40, coupling=1.0)
    process = ddm.ForwardProcess(ddm.rates.Masked(4), ddm.schedules.Linear(), 40)
    with pytest.raises(NotApplicable, match="sums over all states"):
        Row()(target=chain, model=chain.denoiser(process))
    with pytest.raises(ValueError, match="'score' or 'loss'"):
        Best(knowledge="all")
