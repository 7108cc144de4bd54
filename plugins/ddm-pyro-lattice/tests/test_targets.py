"""Laws of counts: densities, draws, boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from ddm_pyro_lattice.targets import BoxedPoissonMixture, DigitCounts, PoissonMixture, TwoModes

import ddm_pyro as ddm

WEIGHTS, MEANS = [0.25, 0.75], [[1.0, 6.0], [4.0, 0.5]]


def test_density_of_a_mixture():
    law = PoissonMixture(WEIGHTS, MEANS)
    x = torch.tensor([[[0, 0], [3, 1]], [[9, 2], [1, 7]]])
    expected = sum(
        w * scipy.stats.poisson.pmf(x.numpy(), m).prod(-1) for w, m in zip(WEIGHTS, np.array(MEANS), strict=True)
    )
    np.testing.assert_allclose(law.log_prob(x).exp().numpy(), expected, rtol=1e-12)
    assert law.entropy() is None
    assert law.space.is_countable


def test_draws_of_a_mixture_follow_its_density():
    law, n = PoissonMixture(WEIGHTS, MEANS), 20_000
    with ddm.random.indexed(1, range(n)):
        x = law.sample((n,))
    states = ddm.StateSpace(4, 2).enumerate()
    chances = law.log_prob(states).exp().numpy()
    inside = (x < 4).all(-1)
    counts = np.bincount((x[inside] * torch.tensor([4, 1])).sum(-1).numpy(), minlength=16)
    counts, chances = np.r_[counts, n - counts.sum()], np.r_[chances, 1 - chances.sum()]
    assert scipy.stats.chisquare(counts, n * chances).pvalue > 2e-5


def test_a_box_reports_what_it_cuts_off():
    law = PoissonMixture([1.0], [3.0])
    box = law.box(16)
    tail = scipy.stats.poisson.sf(16, 3.0)
    assert box.tail_mass == pytest.approx(tail, rel=1e-5)
    np.testing.assert_allclose(box.pmf.numpy(), scipy.stats.poisson.pmf(np.arange(17), 3.0) / (1 - tail), rtol=1e-12)
    assert BoxedPoissonMixture([1.0], [3.0], maximum=16).tabular().tail_mass == box.tail_mass
    with pytest.raises(ValueError, match="maximum=5 cuts off mass"):
        law.box(5)
    with pytest.raises(NotImplementedError, match=r"box\(maximum\)"):
        law.tabular()
    with pytest.raises(NotImplementedError, match="no table of x_0"):
        law.posterior(torch.zeros(1, 1, 3))


def test_the_two_modes():
    pmf = TwoModes(7, floor=0.5).pmf.reshape(7, 7).numpy()
    weight = np.empty((7, 7))
    for x in range(7):
        for y in range(7):
            weight[x, y] = 0.5 + sum(math.exp(-((x - a) ** 2 + (y - b) ** 2) / 2) for a, b in ((1.4, 1.4), (4.9, 4.2)))
    np.testing.assert_allclose(pmf, weight / weight.sum(), rtol=1e-12)


def test_digits_as_counts_are_the_digits():
    counts, digits = DigitCounts(split="test"), ddm.targets.Digits(split="test")
    assert counts.space == ddm.StateSpace(None, 64)
    assert (counts.rows == digits.rows).all()
    assert (counts.test_labels == digits.test_labels).all()
    assert "1438 train" in repr(counts)
    with pytest.raises(ValueError, match="split='all'"):
        DigitCounts(split="all")


@pytest.mark.parametrize(
    ("weights", "means", "message"),
    [
        ([0.5, 0.6], [1.0, 2.0], "sums to 1.1"),
        ([0.5, 0.5], [1.0, 0.0], "must all be positive"),
        ([0.5, 0.5], [1.0, 2.0, 3.0], "must be"),
    ],
)
def test_bad_mixtures_are_refused(weights, means, message):
    with pytest.raises(ValueError, match=message):
        PoissonMixture(weights, means)
