"""What sample draws follows the law push carries: chi-square for every sampler, false-alarm 2e-5 each, seeds fixed."""

from __future__ import annotations

import pytest
import torch
from exactness import assert_draws_follow
from pairs import pair

import ddm_pyro as ddm
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
from ddm_pyro.targets.tabular import random_tabular

N = 6000
GRID = [0.9, 0.5, 0.25, 0.1, 0.0]
THINNING = [Ancestral(), Euler(), TauLeaping(), TauLeaping("reject")]
EVENTS = [Gillespie(), Uniformization()]
BLOCKS = [FirstHitting(), FirstHitting(2)]
PROCESSES = ["uniform", "rank-one", "dense", "masked", "uniform alphabets", "masked alphabets", "mixed alphabets"]


def model_of(name, schedule="log-linear"):
    process, oracle = pair(name, schedule)
    return random_tabular(oracle.sizes, seed=9, concentration=0.8, zeros=0.25).denoiser(process)


def assert_agreement(sampler, model, seed=0, start=None, pmf=None, n=N, **arguments):
    law = ddm.push(sampler, model, pmf=pmf, **arguments)
    x = ddm.sample(sampler, model, n, start=start, seed=seed, batch_size=2000, **arguments)
    index = law.space.index(x).unsqueeze(-1)
    assert bool(law.space.contains(x).all())
    assert_draws_follow(index, law.pmf.clamp(min=0.0).numpy(), (law.space.num_states,))


@pytest.mark.parametrize("sampler", THINNING, ids=str)
@pytest.mark.parametrize("name", PROCESSES)
def test_from_the_prior(name, sampler):
    assert_agreement(sampler, model_of(name), times=GRID)


@pytest.mark.parametrize("name", PROCESSES)
def test_frozen_rates(name):
    assert_agreement(Gillespie(), model_of(name), times=GRID[:-1], n=3000)


@pytest.mark.parametrize("name", ["uniform", "dense", "masked alphabets", "uniform alphabets"])
def test_events_at_their_own_times(name):
    assert_agreement(Uniformization(), model_of(name), times=[0.9, 0.5, 0.2], n=2000)


def test_events_on_unequal_dense_alphabets():
    assert_agreement(Uniformization(), model_of("mixed alphabets", "constant"), times=[0.9, 0.6], n=1000)


@pytest.mark.parametrize("final_denoise", [True, False])
@pytest.mark.parametrize("sampler", [*THINNING, Gillespie()], ids=str)
@pytest.mark.parametrize("name", ["uniform", "masked alphabets"])
def test_a_grid_that_stops_early(name, sampler, final_denoise):
    assert_agreement(sampler, model_of(name, "cosine"), seed=1, times=[0.9, 0.6, 0.3], final_denoise=final_denoise)


@pytest.mark.parametrize("name", ["masked", "masked alphabets"])
@pytest.mark.parametrize("sampler", [*BLOCKS, KUnmask((1, 1)), KUnmask((2, 1)), KUnmask((1, 2))], ids=str)
def test_blocks(name, sampler):
    model = model_of(name, "linear")
    if isinstance(sampler, KUnmask) and sum(sampler.sizes) != model.process.length:
        sampler = KUnmask((model.process.length,))
    assert_agreement(sampler, model, seed=2)


@pytest.mark.parametrize("sampler", [*THINNING, *EVENTS, *BLOCKS, KUnmask((1, 1)), KUnmask((2,))], ids=str)
def test_observed_tokens(sampler):
    model = model_of("masked alphabets", "cosine")
    steps = {} if hasattr(sampler, "sizes_for") else {"steps": 3}
    assert_agreement(sampler, model, seed=3, observe={0: 2}, **steps)


class Unplanned(Ancestral):
    """The plain step, never a plan."""

    def plan(self, process, x, times):
        return None


@pytest.mark.parametrize(
    "sampler",
    [Unplanned(), [Ancestral(), Ancestral()], [TauLeaping(), Gillespie()], [FirstHitting(), Ancestral()]],
    ids=["unplanned", "twice", "two kinds", "blocks"],
)
def test_masked_samplers_without_a_plan(sampler):
    steps = {} if isinstance(sampler, list) and isinstance(sampler[0], FirstHitting) else {"steps": 3}
    assert_agreement(sampler, model_of("masked", "linear"), seed=4, **steps)


@pytest.mark.parametrize(
    "sampler",
    [[Ancestral(), GibbsCorrector()], [Euler(), GibbsCorrector(), GibbsCorrector()], [Gillespie(), GibbsCorrector()]],
    ids=["ancestral", "euler twice", "gillespie"],
)
@pytest.mark.parametrize("name", ["uniform", "dense"])
def test_predictors_with_correctors(name, sampler):
    assert_agreement(sampler, model_of(name), seed=5, times=GRID[:-1])


@pytest.mark.parametrize("sampler", [*THINNING, *EVENTS, FirstHitting()], ids=str)
def test_a_start_drawn_from_a_law(sampler):
    """The start's own randomness must not come back in the plan or the steps."""
    model = model_of("masked", "linear")
    process, x0 = model.process, torch.tensor([0, 2])
    start = process.marginal(x0, 0.5)
    pmf = start.log_prob(process.space.enumerate()).exp()
    times = [0.5, 0.25, 0.05] if not isinstance(sampler, FirstHitting) else [0.5, 0.2, 0.1]
    assert_agreement(sampler, model, seed=6, start=start, pmf=pmf, times=times)


@pytest.mark.parametrize("sampler", [Ancestral(), Euler(), Gillespie()], ids=str)
@pytest.mark.parametrize("name", ["uniform", "mixed alphabets"])
def test_given_start_tokens(name, sampler):
    model = model_of(name)
    space, x = model.process.space, torch.tensor([1, 2])
    pmf = torch.zeros(space.num_states, dtype=torch.float64)
    pmf[space.index(x)] = 1.0
    assert_agreement(sampler, model, seed=7, start=x, pmf=pmf, times=[0.6, 0.2, 0.1])


def test_the_chi_square_would_notice():
    """Draws of one step count against the law of another: the test has power."""
    model = model_of("uniform")
    law = ddm.push(Ancestral(), model, times=[0.9, 0.0])
    x = ddm.sample(Ancestral(), model, N, times=GRID, seed=0)
    with pytest.raises(AssertionError):
        assert_draws_follow(law.space.index(x).unsqueeze(-1), law.pmf.numpy(), (9,))
