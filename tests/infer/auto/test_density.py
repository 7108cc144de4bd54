"""Samplers from densities alone, against laws whose partition function is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ddm_pyro as ddm
from ddm_pyro.infer import TokenMLP, WeightedPosterior, fit_density
from ddm_pyro.spaces import StateSpace


def small(space):
    return TokenMLP(space, width=32, timed=True)


GRID = ddm.targets.IsingGrid(2, 3, beta=0.4, field=0.2)
CHAIN = ddm.targets.PottsChain(num_states=3, length=4, coupling=0.8)


@pytest.mark.parametrize("objective", ["rloo", "rws", "wdce"])
@pytest.mark.parametrize("family", ["masked", "uniform"])
@pytest.mark.parametrize("target", [GRID, pytest.param(CHAIN, marks=pytest.mark.slow)], ids=["grid", "chain"])
def test_log_z_and_ess(target, family, objective):
    sampler = fit_density(
        lambda x: target.log_prob(x) + 3.0,
        target.space,
        network=small,
        objective=objective,
        family=family,
        chain_steps=8 if family == "uniform" else None,
        steps=80,
        num_particles=64,
        lr=0.01,
        anneal=0.0,
        seed=0,
    )
    draws = sampler.weigh(3000, seed=1)
    assert abs(draws.log_evidence - 3.0) < 4.5 * draws.stderr + 1e-6
    assert draws.ess_fraction > (0.5 if family == "masked" else 0.25)
    assert len(sampler.losses) == 80
    assert objective != "rloo" or sampler.losses[-1] < sampler.losses[0]


def test_weighted_draws_have_the_right_law():
    sampler = fit_density(GRID.log_prob, GRID.space, network=small, steps=60, num_particles=64, lr=0.01, seed=0)
    draws = sampler.weigh(5000, seed=2)
    pmf = torch.zeros(GRID.space.num_states, dtype=torch.float64)
    pmf.index_add_(0, GRID.space.index(draws.samples["x"]), draws.weights)
    right = GRID.tabular().pmf
    assert 0.5 * (pmf - right).abs().sum() < 3 * (right / draws.ess).sqrt().sum()
    torch.testing.assert_close(draws.mean("x"), draws.samples["x"].double().T @ draws.weights)


def test_the_denoiser_is_the_sampler():
    sampler = fit_density(CHAIN.log_prob, CHAIN.space, network=small, steps=60, num_particles=32, lr=0.01, seed=0)
    law = ddm.push(ddm.samplers.FirstHitting(), sampler.denoiser(), steps=4)
    x = sampler.sample(8000, seed=3)
    found = torch.bincount(CHAIN.space.index(x), minlength=81).double() / 8000
    assert 0.5 * (found - law.pmf).abs().sum() < 3 * (law.pmf / 8000).sqrt().sum()


@pytest.mark.slow
def test_the_uniform_familys_denoiser_runs():
    space = StateSpace((2, 3), 2)
    table = torch.tensor([0.5, 0.1, 0.1, 0.05, 0.05, 0.2], dtype=torch.float64).log()
    sampler = fit_density(
        lambda x: table[space.index(x)], space, family="uniform", steps=150, num_particles=64, lr=0.01, seed=0
    )
    law = ddm.push(ddm.samplers.Ancestral(), sampler.denoiser(), steps=16)
    assert 0.5 * (law.pmf - table.exp()).abs().sum() < 0.15


def test_seeds_fix_everything_and_leave_the_generator_alone():
    state = torch.random.get_rng_state()
    runs = [fit_density(GRID.log_prob, GRID.space, steps=3, num_particles=8, seed=5) for _ in range(2)]
    draws = [run.weigh(300, seed=1).log_weights for run in runs]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert runs[0].losses == runs[1].losses
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(runs[0].sample(40, seed=1), runs[0].sample(300, seed=1)[:40])


@pytest.mark.slow
def test_annealing_keeps_both_modes():
    """Two far modes and little between them: 64 particles without annealing keep the first that they meet."""
    grid = ddm.targets.IsingGrid(3, 3, beta=0.9)
    sampler = fit_density(grid.log_prob, grid.space, network=small, steps=250, num_particles=64, anneal=0.6, seed=0)
    share = sampler.sample(2000, seed=1).double().mean(-1).gt(0.5).double().mean()
    assert 0.3 < share < 0.7


def test_forbidden_states():
    def odd(x):
        return torch.where(x.sum(-1) % 2 == 1, 0.0, -torch.inf)

    space = StateSpace(2, 3)
    with pytest.raises(ValueError, match="objective='rws'"):
        fit_density(odd, space, steps=2)
    draws = fit_density(odd, space, objective="rws", network=small, steps=60, lr=0.01, seed=0).weigh(1000, seed=0)
    assert draws.ess_fraction > 0.9
    assert draws.log_evidence.item() == pytest.approx(math.log(4), abs=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"num_particles": 1}, "num_particles=1"),
        ({"lr": 0.0}, "lr=0.0"),
        ({"anneal": 2.0}, "anneal=2.0"),
        ({"objective": "kl"}, "objective='kl'"),
        ({"family": "kl"}, "family='kl'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        fit_density(GRID.log_prob, GRID.space, **options)


def test_bad_spaces_and_densities():
    with pytest.raises(ValueError, match=r"space\.box"):
        fit_density(GRID.log_prob, StateSpace(None, 3))
    with pytest.raises(ValueError, match=r"space\.data"):
        fit_density(GRID.log_prob, GRID.space.masked)
    with pytest.raises(TypeError, match="space=3 must be a StateSpace"):
        fit_density(GRID.log_prob, 3)
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match=f"log_density is {bad} at the tokens"):
            fit_density(lambda x, bad=bad: x.sum(-1) + bad, GRID.space, steps=1, num_particles=4, objective="rws")
    with pytest.raises(TypeError, match="made 3 of the space"):
        fit_density(GRID.log_prob, GRID.space, network=lambda space: 3)
    sampler = fit_density(GRID.log_prob, GRID.space, steps=1, num_particles=4, seed=0)
    with pytest.raises(ValueError, match="n=0 must be"):
        sampler.weigh(0)
    with pytest.raises(ValueError, match=r"log_density returned \(4, 6\)"):
        fit_density(lambda x: x.double(), GRID.space, steps=1, num_particles=4)


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=20))
@settings(max_examples=50, deadline=None)
def test_summaries_of_weights(log_weights):
    w = torch.tensor(log_weights, dtype=torch.float64)
    draws = WeightedPosterior({"x": torch.arange(len(w))}, w)
    assert draws.log_evidence.item() == pytest.approx(w.exp().mean().log().item(), abs=1e-9)
    assert 1 - 1e-9 <= draws.ess <= len(w) + 1e-9
    assert draws.ess.item() == pytest.approx((w.exp().sum() ** 2 / w.exp().square().sum()).item(), rel=1e-9)
    assert draws.stderr.item() == pytest.approx(
        (w.exp().std() / w.exp().mean() / len(w) ** 0.5).item(), rel=1e-6, abs=1e-12
    )


def test_systematic_resampling_keeps_expected_counts():
    w = torch.tensor([0.1, 0.6, 0.3], dtype=torch.float64)
    torch.manual_seed(0)
    draws = WeightedPosterior({"x": torch.arange(3)}, w.log())
    counts = torch.stack([torch.bincount(draws.resample(10)["x"], minlength=3) for _ in range(200)]).double()
    assert ((counts - 10 * w).abs() < 1).all()
    assert ((counts.mean(0) - 10 * w).abs() < 0.15).all()
    assert len(draws.resample()["x"]) == 3


def test_weights_of_groups_resample_each_its_own_column():
    w = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    x = torch.arange(6).reshape(3, 2, 1)
    draws = WeightedPosterior({"x": x, "shared": x}, w.log(), {"x": (3, 2), "shared": (3, 2)})
    assert draws.resample(4)["x"].tolist() == [[[0], [5]]] * 4
    assert draws.mean("x").tolist() == [[0.0], [5.0]]
