"""Samplers, grids and arguments that do not fit are refused in one sentence, before anything is drawn."""

from __future__ import annotations

import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.rates import Masked, Uniform
from ddm_pyro.samplers import (
    Ancestral,
    Euler,
    FirstHitting,
    GibbsCorrector,
    Gillespie,
    KUnmask,
    TauLeaping,
    Uniformization,
)
from ddm_pyro.schedules import Constant, Cosine, Linear
from ddm_pyro.targets.tabular import random_tabular

TARGET = random_tabular((3, 3), seed=4)
MASKED = TARGET.denoiser(ddm.ForwardProcess(Masked(3), Linear(), length=2))
UNIFORM = TARGET.denoiser(ddm.ForwardProcess(Uniform(3), Constant(4.0), length=2))
ENDLESS = TARGET.denoiser(ddm.ForwardProcess(Uniform(3), Linear(), length=2))


def both(sampler, model, **arguments):
    """sample and push refuse alike; returns the two calls."""
    return [
        lambda: ddm.sample(sampler, model, 3, **arguments),
        lambda: ddm.push(sampler, model, **arguments),
    ]


@pytest.mark.parametrize(
    ("sampler", "model", "arguments", "match"),
    [
        (FirstHitting(), MASKED, {"steps": 3}, "takes 2 steps on 2 positions, not steps=3"),
        (FirstHitting(2), MASKED, {"steps": 2}, "takes 1 steps"),
        (KUnmask((1, 1)), MASKED, {"steps": 1}, "takes 2 steps"),
        (KUnmask((1, 1)), MASKED, {"times": [1.0, 0.0]}, "takes 2 steps"),
        (KUnmask((1, 2)), MASKED, {}, "must sum to 2"),
        (FirstHitting(), UNIFORM, {}, "reveals masks, but"),
        (KUnmask((2,)), UNIFORM, {}, "reveals masks, but"),
        (GibbsCorrector(), MASKED, {"steps": 2}, "ratios to every token"),
        (Ancestral(), MASKED, {}, "needs steps="),
        (Ancestral(), MASKED, {"steps": 0}, "steps=0"),
        (Ancestral(), MASKED, {"steps": 2.5}, "steps=2.5"),
        (Ancestral(), MASKED, {"steps": True}, "steps=True"),
        (Ancestral(), MASKED, {"steps": 3, "times": [1.0, 0.5, 0.0]}, "disagree"),
        (Ancestral(), MASKED, {"times": [0.5]}, "at least two"),
        (Ancestral(), MASKED, {"times": [1.0, 0.5, 0.5]}, "decrease strictly"),
        (Ancestral(), MASKED, {"times": [0.0, 1.0]}, "decrease strictly"),
        (Ancestral(), MASKED, {"times": [1.5, 0.0]}, r"within \[0, 1\]"),
        (Ancestral(), MASKED, {"times": [1.0, float("nan")]}, "decrease strictly"),
        (Euler(), ENDLESS, {"steps": 4}, "infinite at t=1"),
        (TauLeaping(), ENDLESS, {"steps": 4}, "infinite at t=1"),
        (Gillespie(), ENDLESS, {"steps": 4}, "infinite at t=1"),
        (Uniformization(), ENDLESS, {"steps": 4}, "infinite at t=1"),
        ([Ancestral(), Euler()], ENDLESS, {"steps": 4}, "infinite at t=1"),
        (Euler("raise"), UNIFORM, {"times": [0.9, 0.01]}, "more steps"),
        (Ancestral(), UNIFORM, {"steps": 2, "observe": {0: 1}}, "twisted SMC"),
        (Ancestral(), MASKED, {"steps": 2, "observe": {2: 1}}, "position 2"),
        (Ancestral(), MASKED, {"steps": 2, "observe": {0: 7}}, "observe holds"),
        (Ancestral(), MASKED, {"steps": 2, "observe": [0]}, "shape"),
        ([], MASKED, {"steps": 2}, "empty"),
    ],
)
def test_arguments_that_do_not_fit(sampler, model, arguments, match):
    for call in both(sampler, model, **arguments):
        with pytest.raises(ValueError, match=match):
            call()


@pytest.mark.parametrize("t", [0.9, 0.5])
def test_rates_at_uniform_noise_work_below_time_one(t):
    assert ddm.sample(Euler(), ENDLESS, 4, times=[t, 0.0], seed=0).shape == (4, 2)


def test_a_masked_score_cannot_start_where_alpha_is_zero():
    class Flat(torch.nn.Module):
        def forward(self, x, t):
            return torch.zeros(*x.shape, 3)

    model = ddm.Score(Flat(), MASKED.process)
    for call in both(Euler(), model, steps=2):
        with pytest.raises(ValueError, match="infinite at t=1"):
            call()
    assert ddm.sample(TauLeaping(), model, 4, times=[0.9, 0.0], final_denoise=False, seed=0).shape == (4, 2)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Euler("ignore"), "negative='ignore'"),
        (lambda: TauLeaping("last"), "multi_jump='last'"),
        (lambda: FirstHitting(0), "refresh=0"),
        (lambda: FirstHitting(1.5), "refresh=1.5"),
        (lambda: KUnmask(()), "sizes="),
        (lambda: KUnmask((2, 0)), "sizes="),
        (lambda: KUnmask((1.5, 0.5)), "sizes="),
        (lambda: Uniformization(bound=0.0), "bound=0.0"),
        (lambda: Uniformization(bound=float("inf")), "bound=inf"),
        (lambda: Uniformization(early_stopping=0.0), "early_stopping=0.0"),
    ],
)
def test_wrong_parameters(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_what_is_no_sampler():
    for call in both("euler", MASKED, steps=2):
        with pytest.raises(TypeError, match="no Sampler"):
            call()
    for call in both([Ancestral(), 5], MASKED, steps=2):
        with pytest.raises(TypeError, match="no Sampler"):
            call()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"n": -1}, "n=-1"),
        ({"n": 2.5}, "n=2.5"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"start": torch.tensor([[0, 3]] * 4)}, "start has shape"),
        ({"start": torch.tensor([0, 4])}, "start holds"),
        ({"observe": torch.full((4, 2), -1)}, "observe has shape"),
    ],
)
def test_wrong_counts_and_starts(arguments, match):
    with pytest.raises(ValueError, match=match):
        ddm.sample(Ancestral(), MASKED, **{"n": 3, "steps": 2, **arguments})


def test_no_samples():
    assert ddm.sample(Ancestral(), MASKED, 0, steps=2, seed=0).shape == (0, 2)


def test_sizes_must_fill_what_the_start_leaves_masked():
    start = torch.tensor([3, 1])
    x = ddm.sample(KUnmask((1,)), MASKED, 5, start=start, seed=0)
    assert bool((x[:, 1] == 1).all())
    assert bool((x[:, 0] < 3).all())
    with pytest.raises(ValueError, match="1 are masked"):
        ddm.sample(KUnmask((1, 1)), MASKED, 5, start=start, seed=0)
    with pytest.raises(ValueError, match="1 are masked"):
        ddm.push(KUnmask((1, 1)), MASKED, pmf=point(MASKED.process.space, start))
    found = ddm.push(KUnmask((1,)), MASKED, pmf=point(MASKED.process.space, start))
    column = TARGET.pmf.reshape(3, 3)[:, 1]
    assert torch.allclose(found.pmf.reshape(3, 3)[:, 1], column / column.sum())


def point(space, x):
    out = torch.zeros(space.num_states, dtype=torch.float64)
    out[space.index(x)] = 1.0
    return out


def test_uniformization_refuses_a_bound_that_does_not_bound():
    with pytest.raises(ValueError, match="times its bound"):
        ddm.sample(Uniformization(bound=0.05), UNIFORM, 200, times=[0.5, 0.01], seed=0)
    x = ddm.sample(Uniformization(bound=200.0), UNIFORM, 20, times=[0.5, 0.4], seed=0, final_denoise=False)
    assert x.shape == (20, 2)


def test_uniformization_needs_a_finite_bound():
    with pytest.raises(ValueError, match="unbounded"):
        ddm.sample(Uniformization(), UNIFORM, 2, times=[0.5, 0.0], seed=0)


def test_steps_at_random_times_need_a_time_free_model_to_be_pushed():
    class Clocked(torch.nn.Module):
        def forward(self, x, t):
            return torch.zeros(*x.shape, 3) + t[..., None, None]

    model = ddm.X0(Clocked(), MASKED.process)
    with pytest.raises(ValueError, match="time-free"):
        ddm.push(FirstHitting(), model)
    assert ddm.sample(FirstHitting(), model, 3, seed=0).shape == (3, 2)


def test_steps_without_a_density_say_so():
    x, t = torch.zeros(1, 2, dtype=torch.int64), torch.tensor(0.5, dtype=torch.float64)
    for sampler in (Gillespie(), Uniformization()):
        with pytest.raises(NotImplementedError, match="density"):
            sampler.step(UNIFORM, x, t, t / 2).log_prob(x)


def test_push_names_a_space_that_is_too_large():
    process = ddm.ForwardProcess(Masked(9), Cosine(), length=30)
    model = ddm.targets.PottsChain(num_states=9, length=30, coupling=0.5).denoiser(process)
    with pytest.raises(ValueError, match=r"about 10\^30 states"):
        ddm.push(Ancestral(), model, steps=2)


def test_correctors_need_a_process_without_masks():
    model = random_tabular((2, 3)).denoiser(ddm.ForwardProcess([Masked(2), Masked(3)], Constant(1.0)))
    with pytest.raises(ValueError, match="ratios to every token"):
        GibbsCorrector().step(model, torch.zeros(1, 2, dtype=torch.int64), torch.tensor(0.5), torch.tensor(0.2))
