"""The law of a leap against convolutions, on circles, boxes and the natural numbers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from ddm_pyro_lattice.leap import Leap, LeapLaw
from ddm_pyro_lattice.rates import CyclicWalk, ImmigrationDeath
from ddm_pyro_lattice.targets import PoissonMixture

import ddm_pyro as ddm

REACH = 80


def expected(place, x, up, down, size):
    """Mass of place(x + d), d Skellam-distributed."""
    out = np.zeros(size)
    for d in range(-REACH, REACH + 1):
        y = place(x + d)
        if y < size:
            out[y] += scipy.stats.skellam.pmf(d, up, down) if up > 0 and down > 0 else single(d, up, down)
    return out


def single(d, up, down):
    mean, count = (up, d) if up > 0 else (down, -d)
    return scipy.stats.poisson.pmf(count, mean)


CASES = [
    (CyclicWalk(5), lambda y: y % 5, 5),
    (CyclicWalk(2), lambda y: y % 2, 2),
    (ImmigrationDeath(vocab_size=6), lambda y: min(max(y, 0), 5), 6),
    (ImmigrationDeath(), lambda y: max(y, 0), 40),
]


@pytest.mark.parametrize(("rate", "place", "size"), CASES, ids=lambda one: repr(one)[:30])
@pytest.mark.parametrize(("up", "down"), [(0.3, 2.5), (9.0, 4.0), (0.0, 0.7), (1.1, 0.0)])
def test_tokens_follow_the_folded_skellam_law(rate, place, size, up, down):
    x = torch.tensor([[1, 0], [0, 1]])
    law = LeapLaw(rate, x, torch.tensor([up, down]).expand(2, 2, 2))
    values = torch.arange(size).reshape(-1, 1, 1).expand(-1, 2, 2)
    found = law.token_log_prob(values).exp().numpy()
    for i in range(2):
        for j in range(2):
            oracle = expected(place, int(x[i, j]), up, down, size)
            np.testing.assert_allclose(found[:, i, j], oracle, atol=3e-8 if 0 < up < 9 else 1e-6)
    if rate.vocab_size is not None:
        np.testing.assert_allclose(law.table().movedim(-1, 0).numpy(), found, atol=1e-15)
        np.testing.assert_allclose(law.table().sum(-1).numpy(), 1.0, atol=1e-12)


@pytest.mark.parametrize("rate", [CyclicWalk(4), ImmigrationDeath(), ImmigrationDeath(vocab_size=3)], ids=repr)
def test_draws_follow_the_density(rate):
    n = 20_000
    law = LeapLaw(rate, torch.full((n, 1), 1), torch.tensor([0.8, 1.3]).expand(n, 1, 2))
    with ddm.random.indexed(3, range(n)):
        drawn, inverse = law.sample()[:, 0], law.icdf(ddm.random.uniform((n, 1)))[:, 0]
    top = min(6, rate.vocab_size or 6)
    one = LeapLaw(rate, torch.tensor([[1]]), torch.tensor([[[0.8, 1.3]]]))
    mass = one.token_log_prob(torch.arange(top).reshape(-1, 1, 1)).exp()[:, 0, 0].numpy()
    for draws in (drawn, inverse):
        counts = np.bincount(draws.numpy(), minlength=top)
        rest = 1.0 - mass.sum()
        if rest > 1e-9:
            counts, chances = np.r_[counts[:top], counts[top:].sum()], np.r_[mass, rest]
        else:
            chances = mass / mass.sum()
        assert scipy.stats.chisquare(counts, n * chances).pvalue > 2e-5


def test_push_is_the_law_of_sample_on_the_torus():
    target = ddm.targets.RandomTabular(num_states=3, length=2, seed=1)
    process = ddm.ForwardProcess(CyclicWalk(3), ddm.schedules.Constant(total=4.0), 2)
    model, n = target.denoiser(process), 20_000
    law = ddm.push(Leap(), model, steps=3)
    x = ddm.sample(Leap(), model, n, steps=3, seed=2, batch_size=n)
    counts = np.bincount(process.space.index(x).numpy(), minlength=9)
    assert scipy.stats.chisquare(counts, n * law.pmf.numpy()).pvalue > 2e-5


def test_sampling_is_a_function_of_seed_and_index_on_the_natural_numbers():
    target = PoissonMixture([0.4, 0.6], [[1.0, 6.0], [7.0, 2.0]])
    process = ddm.ForwardProcess(ImmigrationDeath(birth=3.0), ddm.schedules.Constant(total=4.0), 2)
    model = target.denoiser(process)
    start = target.sample((300,))
    whole = ddm.sample(Leap(), model, 300, times=[0.5, 0.1, 0.0], start=start, seed=7)
    parts = ddm.sample(Leap(), model, 300, times=[0.5, 0.1, 0.0], start=start, seed=7, batch_size=77)
    assert (whole == parts).all()
    assert process.space.contains(whole).all()


def test_refusals():
    other = ddm.ForwardProcess(ddm.rates.Uniform(3), ddm.schedules.LogLinear(), 2)
    model = ddm.targets.RandomTabular(num_states=3, length=2).denoiser(other)
    with pytest.raises(ValueError, match="no walk on a lattice"):
        ddm.sample(Leap(), model, 2, steps=2, seed=0)
    with pytest.raises(ValueError, match="not finite"):
        LeapLaw(CyclicWalk(3), torch.tensor([[1]]), torch.tensor([[[torch.inf, 1.0]]]))
    crowded = LeapLaw(CyclicWalk(3), torch.tensor([[1]]), torch.tensor([[[1e5, 1.0]]]))
    with pytest.raises(ValueError, match="use more steps"):
        crowded.table()
    assert crowded.sample().shape == (1, 1)
