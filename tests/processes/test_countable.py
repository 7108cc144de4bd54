"""An infinite alphabet: the birth-death chain fits the process, the samplers and the exact score without a matrix."""

from __future__ import annotations

import itertools

import numpy as np
import pyro
import pytest
import scipy.stats
import torch
from birth_death import RHO, example
from exactness import assert_draws_follow
from scipy.linalg import expm

import ddm_pyro as ddm
from ddm_pyro.distributions import JumpLaw
from ddm_pyro.samplers import Ancestral, Euler, FirstHitting, Gillespie, TauLeaping

#: Truncation of the oracle; the mass above it is below 1e-12 in every test.
TOP = 60


def generator():
    """The truncated birth-death generator, (TOP + 1)^2."""
    out = np.diag(np.full(TOP, RHO), 1) + np.diag(np.arange(1.0, TOP + 1), -1)
    return out - np.diag(out.sum(1))


def start_pmf(network):
    """p_0 of the one-coordinate example."""
    x = np.arange(TOP + 1)[:, None]
    return np.exp(network.log_pmf(x, np.zeros(len(x))))


def reverse_generator(p):
    """Rates Q[y, x] p(y) / p(x) of the reverse jumps x -> y."""
    out = generator().T * (p[None, :] / p[:, None])
    np.fill_diagonal(out, 0.0)
    return out - np.diag(out.sum(1))


def test_marginal_and_transition_are_pyro_laws():
    process, _, _ = example()
    x0 = torch.tensor([[4, 0], [9, 2]])
    t = torch.tensor([0.05, 0.3], dtype=torch.float64)
    law = process.marginal(x0, t)
    assert (law.batch_shape, law.event_shape) == ((2,), (2,))
    y = torch.tensor([[3, 1], [5, 4]])
    kernels = [expm(4.0 * float(time) * generator()) for time in t]
    expected = [np.log(kernels[k][x0[k], y[k]]).sum() for k in range(2)]
    np.testing.assert_allclose(law.log_prob(y).numpy(), expected, rtol=1e-9)
    with pyro.plate("rows", 2):
        drawn = pyro.sample("x_t", process.transition(x0, 0.1, 0.4))
    assert drawn.shape == (2, 2)
    assert drawn.dtype == torch.int64
    with pytest.raises(ValueError, match="negative"):
        process.marginal(torch.tensor([0, -1]), 0.5)


def test_chapman_kolmogorov():
    process, _, _ = example(length=1)
    middle = torch.arange(TOP + 1).unsqueeze(-1)
    first = process.transition(torch.tensor([5]), 0.0, 0.1).log_prob(middle).exp()
    for y in (0, 3, 8):
        target = torch.tensor([y])
        second = process.transition(middle, 0.1, 0.35).log_prob(target.expand(TOP + 1, 1)).exp()
        whole = process.transition(torch.tensor([5]), 0.0, 0.35).log_prob(target).exp()
        np.testing.assert_allclose(float((first * second).sum()), float(whole), rtol=1e-10)


def test_rates_and_score_are_those_of_the_reversed_chain():
    process, model, network = example(length=1)
    p = start_pmf(network) @ expm(4.0 * 0.2 * generator())
    np.testing.assert_allclose(np.exp(network.log_pmf(np.arange(30)[:, None], np.full(30, 0.2))), p[:30], rtol=1e-8)
    x = torch.arange(12).unsqueeze(-1)
    rates = model.reverse_rate(x, torch.full((12,), 0.2, dtype=torch.float64)).numpy()[:, 0]
    reverse = 4.0 * reverse_generator(p)
    np.testing.assert_allclose(rates[:, 0], np.diag(reverse, 1)[:12], rtol=1e-7)
    np.testing.assert_allclose(rates[1:, 1], np.diag(reverse, -1)[:11], rtol=1e-7)
    assert rates[0, 1] == 0.0
    assert process.moves(x).shape == (12, 1, 2)


@pytest.mark.parametrize("sampler", [Euler(), TauLeaping(), TauLeaping("reject")], ids=str)
def test_a_step_is_a_law_on_the_natural_numbers(sampler):
    _, model, network = example(length=1)
    x = torch.tensor([[0], [3], [9]])
    law = sampler.step(model, x, torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.28, dtype=torch.float64)).law
    assert isinstance(law, JumpLaw)
    p = start_pmf(network) @ expm(4.0 * 0.3 * generator())
    rates = 4.0 * reverse_generator(p)
    for k, state in enumerate(x[:, 0].tolist()):
        total = -rates[state, state] * 0.02
        leave = {"Euler": total, "TauLeaping": 1 - np.exp(-total)}[type(sampler).__name__]
        if sampler == TauLeaping("reject"):
            leave = total * np.exp(-total)
        for y in {max(state - 1, 0), state, state + 1}:
            expected = 1 - leave if y == state else leave * rates[state, y] / -rates[state, state]
            found = law.log_prob(torch.tensor([[y]] * 3))[k].exp()
            np.testing.assert_allclose(float(found), expected, rtol=1e-6)


@pytest.mark.parametrize("sampler", [Gillespie(), TauLeaping(), Euler()], ids=str)
def test_draws_follow_the_law_of_the_algorithm(sampler):
    """Chi-square of samples from p_1 against the truncated chain carried by dense matrices."""
    process, model, network = example(length=1)
    times = [0.4, 0.2, 0.1, 0.05, 0.0]
    p = start_pmf(network) @ expm(4.0 * 0.4 * generator())
    start = torch.multinomial(torch.from_numpy(p), 4000, replacement=True, generator=torch.Generator().manual_seed(1))
    law = p
    for t, s in itertools.pairwise(times):
        at_t = np.clip(start_pmf(network) @ expm(4.0 * t * generator()), 1e-300, None)
        rates = 4.0 * reverse_generator(at_t)
        if isinstance(sampler, Gillespie):
            law = law @ expm((t - s) * rates)
            continue
        mean = -(t - s) * np.diag(rates)
        leave = np.minimum(1, mean) if isinstance(sampler, Euler) else 1 - np.exp(-mean)
        share = np.where(rates > 0, rates, 0.0) / -np.diag(rates)[:, None]
        law = law @ (leave[:, None] * share + np.diag(1 - leave))
    x = ddm.sample(sampler, model, 4000, times=times, start=start.unsqueeze(-1), seed=3, batch_size=4000)
    assert process.space.contains(x).all()
    assert int(x.max()) <= TOP
    assert_draws_follow(x, law / law.sum(), (TOP + 1,))


def test_two_coordinates_run_from_the_stationary_law():
    process, model, _ = example(total=8.0)
    x = ddm.sample(Gillespie(), model, 400, steps=40, seed=0, batch_size=400)
    assert x.shape == (400, 2)
    assert x.dtype == torch.int64
    # The components differ in sign of correlation: cov = 0.4 0.6 (1 - 7)(6 - 2) = -5.76; five standard errors.
    found = np.cov(x.double().numpy().T)[0, 1]
    assert -5.76 - 3.5 < found < -5.76 + 3.5
    assert scipy.stats.poisson.mean(RHO) == process.prior().mean[0]


def test_what_needs_a_finite_alphabet_says_so():
    process, model, _ = example()
    with pytest.raises(NotImplementedError, match="natural numbers"):
        model.x0_log_probs(torch.tensor([[1, 2]]), torch.tensor(0.5))
    with pytest.raises(ValueError, match="none; use"):
        ddm.sample(FirstHitting(), model, 2)
    with pytest.raises((NotImplementedError, ValueError), match=r"natural numbers|countable"):
        ddm.sample(Ancestral(), model, 2, steps=2)
    with pytest.raises(ValueError, match=r"space\.box"):
        ddm.push(Euler(), model, steps=2)
    with pytest.raises(ValueError, match="finite"):
        process.joint.matrix()
