from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from metrics.oracles import draw, random_pmf, tabular

from ddm_pyro.distributions import FactorizedCategorical, Samples, Tabular
from ddm_pyro.metrics import KL, NLL, Duplicates, UnigramEntropy
from ddm_pyro.spaces import StateSpace


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return StateSpace((2, 3), 2), random_pmf(rng, 6, 0.0), random_pmf(rng, 6, 0.4)


def test_kl_is_of_the_target_from_the_sampler(pair):
    space, p, q = pair
    expected = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True) if b > 0)
    estimate = KL()(tabular(p, space), tabular(q, space))
    assert estimate.value == pytest.approx(expected)
    assert estimate.kind == "exact"
    assert KL()(tabular(q, space), tabular(p, space)).value == math.inf
    assert KL()(tabular(p, space), tabular(p, space)).value == 0.0


def test_kl_from_densities_on_a_large_space():
    rng = np.random.default_rng(1)
    a, b = (torch.from_numpy(rng.dirichlet(np.ones(3) * 5, size=30)) for _ in range(2))
    expected = float((b * (b / a).log()).sum())
    estimate = KL()(FactorizedCategorical(a), FactorizedCategorical(b), n=4000, seed=0)
    assert estimate.kind == "unbiased"
    assert abs(estimate.value - expected) < 4.3 * estimate.stderr
    assert "asymptotic" in estimate.method


def test_kl_from_samples_is_a_lower_limit_only(pair):
    space, p, q = pair
    rng = np.random.default_rng(2)
    truth = KL()(tabular(p, space), tabular(q, space)).value
    for b in (tabular(q, space), draw(q, space, 5000, rng)):
        estimate = KL()(draw(p, space, 5000, rng), b, seed=0)
        assert estimate.kind == "lower"
        assert 0.0 < estimate.lcb <= truth
        assert estimate.ucb == math.inf


def test_nll_is_the_cross_entropy(pair):
    space, p, q = pair
    estimate = NLL()(tabular(p, space), tabular(q, space))
    expected = -sum(b * math.log(a) for a, b in zip(p, q, strict=True))
    assert estimate.value == pytest.approx(expected)
    assert estimate.extra["nats_per_token"] == pytest.approx(expected / 2)
    assert estimate.extra["bits_per_token"] == pytest.approx(expected / 2 / math.log(2))
    assert estimate.extra["perplexity"] == pytest.approx(math.exp(expected / 2))
    sampled = NLL()(tabular(p, space), draw(q, space, 4000, np.random.default_rng(3)))
    assert abs(sampled.value - expected) < 4.3 * sampled.stderr
    assert sampled.m == 4000
    assert NLL()(tabular(q, space), tabular(p, space)).value == math.inf


def test_nll_needs_a_density(pair):
    space, p, q = pair
    x = draw(p, space, 10, np.random.default_rng(4))
    with pytest.raises(ValueError, match=r"p \(Samples\) offers none"):
        NLL()(x, tabular(q, space))

    class Bounded(FactorizedCategorical):
        density = "bound"

    with pytest.raises(ValueError, match="NLL needs log p exactly"):
        NLL()(Bounded(torch.full((30, 3), 1 / 3)), Samples(torch.zeros(4, 30), StateSpace(3, 30)))


def test_unigram_entropy_against_the_sum_over_positions(pair):
    space, p, q = pair
    x = space.enumerate().numpy()
    share = sum(weight * np.bincount(row, minlength=3) / 2 for weight, row in zip(p, x, strict=True))
    expected = -float(sum(s * math.log(s) for s in share if s > 0))
    estimate = UnigramEntropy()(tabular(p, space), tabular(q, space))
    assert estimate.value == pytest.approx(expected)
    assert estimate.extra["gap"] == pytest.approx(expected - estimate.extra["reference"])
    rng = np.random.default_rng(5)
    for n in (3, 30, 3000):
        for _ in range(20):
            sampled = UnigramEntropy()(draw(p, space, n, rng), tabular(q, space))
            assert sampled.lcb <= expected <= sampled.ucb
    assert sampled.value == pytest.approx(expected, abs=0.05)
    # 2000 rows show at most 2000 of 10,000 symbols; only the allowance for bias reaches the uniform law.
    wide = StateSpace(10_000, 1)
    few = UnigramEntropy()(Samples(torch.arange(2000)[:, None], wide), Samples(torch.zeros(1, 1), wide))
    assert few.value == pytest.approx(math.log(2000))
    assert few.ucb == pytest.approx(math.log(10_000))


def test_duplicates_counts_repeats_copies_and_collisions():
    space = StateSpace(3, 2)
    x = Samples(torch.tensor([[0, 0], [0, 0], [0, 0], [1, 2], [2, 2], [2, 2]]), space)
    y = Samples(torch.tensor([[1, 2], [0, 0], [0, 1]]), space)
    estimate = Duplicates()(x, y)
    assert estimate.value == pytest.approx(3 / 6)
    assert estimate.extra["copied"] == pytest.approx(4 / 6)
    assert estimate.extra["collision"] == pytest.approx((3 * 2 + 2 * 1) / 30)
    assert estimate.extra["reference"] == 0.0
    # A count on a sample, whatever it is taken from, and nothing to rank by.
    assert (estimate.kind, Duplicates.higher_is_better, UnigramEntropy.higher_is_better) == ("unbiased", None, None)
    law = Tabular(torch.full((3, 3), 1 / 9))
    assert Duplicates()(law, law, n=100, seed=0) == Duplicates()(law, law, n=100, seed=0)
    assert Duplicates()(law, law, n=100, seed=0).value >= 0.91
