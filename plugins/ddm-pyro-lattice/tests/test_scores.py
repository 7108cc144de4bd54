"""Exact scores of Poisson mixtures, the box, and learned scores with two moves a coordinate."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from ddm_pyro_lattice.network import CountMLP
from ddm_pyro_lattice.rates import CyclicWalk, ImmigrationDeath
from ddm_pyro_lattice.scores import Boxed, ExactPoissonScore, LatticeScore
from ddm_pyro_lattice.targets import BoxedPoissonMixture, DigitCounts, PoissonMixture, TwoModes

import ddm_pyro as ddm

WEIGHTS, MEANS = [0.4, 0.6], [[1.0, 6.0], [7.0, 2.0]]


def world(birth=3.0, death=1.5, total=2.0):
    target = PoissonMixture(WEIGHTS, MEANS)
    return target, ddm.ForwardProcess(ImmigrationDeath(birth, death), ddm.schedules.Constant(total=total), 2)


def density(x, t, birth=3.0, death=1.5, total=2.0):
    """p_t at counts x, by scipy."""
    kept = np.exp(-death * total * t)
    means = np.asarray(MEANS) * kept + birth / death * (1 - kept)
    return sum(w * np.prod(scipy.stats.poisson.pmf(x, m)) for w, m in zip(WEIGHTS, means, strict=True))


@pytest.mark.parametrize("t", [0.0, 0.15, 1.0])
def test_the_exact_score_is_the_ratio_of_densities(t):
    target, process = world()
    model = target.denoiser(process)
    assert isinstance(model, ExactPoissonScore)
    x = torch.tensor([[0, 3], [5, 0], [9, 9]])
    score = model.log_score(x, t).exp().numpy()
    rates = model.reverse_rate(x, torch.tensor(t, dtype=torch.float64)).numpy()
    for row, state in enumerate(x.numpy()):
        for site in range(2):
            for k, step in enumerate((1, -1)):
                other = state.copy()
                other[site] += step
                expected = density(other, t) / density(state, t)
                assert score[row, site, k] == pytest.approx(expected, rel=1e-9)
                # Reverse birth: the forward death from above; reverse death: the forward birth from below.
                forward = 1.5 * other[site] if step == 1 else 3.0
                assert rates[row, site, k] == pytest.approx(2.0 * forward * expected, rel=1e-9)


def test_the_exact_score_takes_a_time_for_each_row():
    target, process = world()
    model, x = target.denoiser(process), torch.tensor([[0, 3], [5, 1]])
    both = model.log_score(x, torch.tensor([0.2, 0.7]).double())
    assert torch.allclose(both[1], model.log_score(x[1], 0.7))
    assert both.shape == (2, 2, 2)


def test_the_mixture_after_some_time_is_the_law_of_the_process():
    target, process = world()
    later = target.after(process, 0.3)
    assert float(later.log_prob(torch.tensor([2, 5])).exp()) == pytest.approx(density(np.array([2, 5]), 0.3))
    with pytest.raises(ValueError, match="ImmigrationDeath only"):
        target.after(ddm.ForwardProcess(CyclicWalk(4), ddm.schedules.Constant(), 2), 0.3)


def test_a_boxed_score_is_the_exact_model_of_the_boxed_chain():
    """Two routes to the same rates: the closed score in a box, and the core's posteriors of the boxed law."""
    target = PoissonMixture([0.3, 0.7], [1.0, 4.0])
    process = ddm.ForwardProcess(ImmigrationDeath(2.0), ddm.schedules.Constant(total=3.0), 1)
    boxed = Boxed(target.denoiser(process), 40)
    finite = BoxedPoissonMixture([0.3, 0.7], [1.0, 4.0], maximum=40)
    model = finite.denoiser(boxed.process)
    x, t = torch.arange(12).unsqueeze(-1), torch.tensor(0.2, dtype=torch.float64)
    np.testing.assert_allclose(model.reverse_rate(x, t).numpy(), boxed.reverse_rate(x, t).numpy(), rtol=1e-6)
    top = torch.tensor([[40]])
    assert float(boxed.reverse_rate(top, t)[0, 0, 0]) == 0.0
    with pytest.raises(ValueError, match="not on the natural numbers"):
        Boxed(model_on_circle(), 3)


def model_on_circle():
    target = TwoModes(4)
    return target.denoiser(ddm.ForwardProcess(CyclicWalk(4), ddm.schedules.Constant(), 2))


def test_an_untrained_score_is_that_of_the_stationary_law():
    process = ddm.ForwardProcess(ImmigrationDeath(6.0, 1.5), ddm.schedules.Constant(total=2.0), 3)
    model = LatticeScore(CountMLP(3, scale=4.0), process)
    x = torch.tensor([[0, 4, 900]])
    rates = model.reverse_rate(x, torch.tensor([0.4]))
    # The stationary chain is reversible: backwards it has its own rates.
    np.testing.assert_allclose(rates.detach().numpy(), process.out_rates(x, 0.4).numpy(), rtol=1e-12)
    circle = ddm.ForwardProcess(CyclicWalk(5), ddm.schedules.Constant(total=2.0), 3)
    network = LatticeScore.network_for(circle, width=8, depth=1)
    flat = LatticeScore(network, circle).reverse_rate(torch.tensor([[0, 4, 2]]), torch.tensor([0.4]))
    assert flat.detach().flatten().tolist() == [1.0] * 6


@pytest.mark.parametrize("kind", ["circle", "line"])
def test_a_learned_score_approaches_the_exact_one(kind):
    torch.manual_seed(0)
    if kind == "circle":
        target = TwoModes(6)
        process = ddm.ForwardProcess(CyclicWalk(6), ddm.schedules.Constant(total=3.0), 2)
        x = process.marginal(target.sample((400,)), 0.2).sample()
    else:
        target = PoissonMixture(WEIGHTS, MEANS)
        process = ddm.ForwardProcess(ImmigrationDeath(4.0), ddm.schedules.Constant(total=3.0), 2)
        x = process.marginal(target.sample((400,)), 0.2).sample()
    model = LatticeScore(LatticeScore.network_for(process, width=48), process)
    exact = target.denoiser(process)
    loss = ddm.create("losses", "core/score-entropy", kind="explicit", exact=exact)
    t = torch.full((len(x),), 0.2, dtype=torch.float64)
    before = float(loss(model, x, x, t).mean().detach())
    ddm.fit(model, target, loss=loss, steps=300, batch_size=128, lr=5e-3, seed=0)
    assert float(loss(model, x, x, t).mean().detach()) < 0.2 * before


def test_digits_are_learned_as_counts():
    target = DigitCounts()
    process = ddm.ForwardProcess(ImmigrationDeath(4.0), ddm.schedules.Constant(total=4.0), 64)
    model = LatticeScore(LatticeScore.network_for(process, width=32, depth=1), process)
    loss = ddm.create("losses", "core/score-entropy")
    losses = ddm.fit(model, target, loss=loss, steps=40, batch_size=32, lr=3e-3, seed=0).losses
    assert float(losses[-10:].mean()) < 0.8 * float(losses[:5].mean())
    x = ddm.sample(ddm.samplers.TauLeaping(), model, 4, steps=8, seed=0, final_denoise=False)
    assert x.shape == (4, 64)
    assert int(x.min()) >= 0


def test_refusals():
    target, process = world()
    one = ddm.ForwardProcess(ImmigrationDeath(), ddm.schedules.Constant(), 1)
    with pytest.raises(ValueError, match="must be a PoissonMixture on"):
        ExactPoissonScore(target, one)
    with pytest.raises(ValueError, match="no walk on a lattice"):
        LatticeScore(CountMLP(2), ddm.ForwardProcess(ddm.rates.Uniform(3), ddm.schedules.Linear(), 2))
    with pytest.raises(TypeError, match="no nn"):
        LatticeScore(None, process)
    with pytest.raises(ValueError, match="'transformer'"):
        LatticeScore.network_for(process, kind="transformer")
    wide = LatticeScore(torch.nn.Identity(), process)
    wide.network.forward = lambda x, t: torch.zeros(*x.shape, 3)
    with pytest.raises(ValueError, match="returned 3 scores"):
        wide.log_score(torch.tensor([[0, 1]]), 0.5)
