from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from metrics.oracles import draw, random_pmf, tabular
from naming import name_of
from scipy.stats import binom

from ddm_pyro.distributions import Samples
from ddm_pyro.metrics import (
    BlockTV,
    BoundedLipschitz,
    HammingMMD,
    HammingWasserstein,
    KernelMMD,
    PositionTV,
    TotalVariation,
)
from ddm_pyro.metrics.intervals import bernstein, deviation
from ddm_pyro.spaces import StateSpace


def same(x, y):
    return (x[:, None] == y[None]).all(-1).double()


METRICS = [
    TotalVariation(),
    PositionTV("max"),
    PositionTV("sum"),
    BlockTV(reduce="mean"),
    BoundedLipschitz(),
    HammingWasserstein(),
    HammingMMD(2.0),
    KernelMMD(same, 1.0, nonnegative=True),
]


@pytest.fixture
def pair():
    rng = np.random.default_rng(12)
    space = StateSpace((3, 2, 3), 3)
    p = random_pmf(rng, 18, 0.2)
    return space, p, 0.4 * p + 0.6 * random_pmf(rng, 18, 0.2)


@pytest.mark.parametrize("metric", METRICS, ids=name_of)
@pytest.mark.parametrize("known", ["none", "p", "q"])
def test_limits_hold_far_more_often_than_promised(metric, known, pair):
    space, p, q = pair
    truth = metric(tabular(p, space), tabular(q, space)).value
    rng = np.random.default_rng(1)
    inside, runs = 0, 25
    for i in range(runs):
        a = tabular(p, space) if known == "p" else draw(p, space, 250, rng)
        b = tabular(q, space) if known == "q" else draw(q, space, 180, rng)
        estimate = metric(a, b, seed=i)
        inside += estimate.lcb <= truth <= estimate.ucb
        assert 0.0 <= estimate.lcb <= estimate.ucb <= 2 * metric.constant(space) + 1e-12
        assert (estimate.n, estimate.m) == (None if known == "p" else 250, None if known == "q" else 180)
    # Each run misses with probability at most 0.05: 9 or more misses of 25 have probability below 2e-5.
    assert inside >= runs - 8


@pytest.mark.parametrize("metric", METRICS, ids=name_of)
def test_limits_close_on_the_truth(metric, pair):
    space, p, q = pair
    rng = np.random.default_rng(2)
    truth = metric(tabular(p, space), tabular(q, space)).value
    # A kernel without structure is summed over all pairs of rows.
    rows = 3000 if isinstance(metric, KernelMMD) else 40_000
    estimate = metric(draw(p, space, rows, rng), draw(q, space, rows, rng), seed=0)
    assert estimate.lcb <= truth <= estimate.ucb
    assert estimate.ucb - estimate.lcb < 40.0 / math.sqrt(rows) * metric.constant(space)
    assert estimate.lcb > 0.0


@pytest.mark.parametrize("metric", METRICS, ids=name_of)
def test_the_plug_in_value_is_that_of_the_empirical_laws(metric, pair):
    space, p, q = pair
    rng = np.random.default_rng(3)
    x, y = draw(p, space, 90, rng), draw(q, space, 90, rng)
    estimate = metric(x, y, seed=0)
    plug_in = estimate.extra.get("plug_in", estimate.value)
    assert plug_in == pytest.approx(metric(x.tabular(), y.tabular()).value, abs=1e-8)
    eps = deviation(metric.constant(space), 2 / 90, 0.025)
    assert estimate.ucb == pytest.approx(min(2 * metric.constant(space), plug_in + eps))


@pytest.mark.parametrize("metric", METRICS, ids=name_of)
def test_a_seed_fixes_everything_and_the_global_generator_stays(metric, pair):
    space, p, q = pair
    rng = np.random.default_rng(4)
    x, law = draw(p, space, 60, rng), tabular(q, space)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = metric(x, law, seed=3), metric(x, law, seed=3), metric(x, law, seed=4)
    assert first == again
    assert torch.equal(torch.get_rng_state(), before)
    assert first.value == pytest.approx(other.value, abs=1e-12)
    assert first.null_mean != other.null_mean


@pytest.mark.parametrize("metric", [TotalVariation(), HammingWasserstein(), HammingMMD(2.0)], ids=name_of)
def test_the_noise_floor_is_the_mean_value_under_equal_laws(metric, pair):
    space, p, _ = pair
    rng = np.random.default_rng(6)
    values = [metric(draw(p, space, 60, rng), draw(p, space, 50, rng), seed=i).value for i in range(150)]
    floors = [metric(draw(p, space, 60, rng), draw(p, space, 50, rng), seed=i).null_mean for i in range(25)]
    assert np.mean(floors) == pytest.approx(np.mean(values), rel=0.15)


def test_the_permutation_p_value_is_uniform_under_equal_laws(pair):
    space, p, q = pair
    rng = np.random.default_rng(7)
    levels = [TotalVariation()(draw(p, space, 80, rng), draw(p, space, 80, rng), seed=i).p_value for i in range(200)]
    assert sum(level <= 0.1 for level in levels) <= 40
    levels = [TotalVariation()(tabular(p, space), draw(p, space, 80, rng), seed=i).p_value for i in range(200)]
    assert sum(level <= 0.1 for level in levels) <= 40
    assert TotalVariation()(draw(p, space, 3000, rng), draw(q, space, 3000, rng), seed=0).p_value == 0.01


def test_deviation_is_mcdiarmid_and_hoeffding():
    assert deviation(0.5, 1 / 400 + 1 / 100, 0.05) == pytest.approx(0.5 * math.sqrt(2 * 0.0125 * math.log(20)))
    assert deviation(math.inf, 0.0, 0.05) == 0.0
    assert deviation(math.inf, 0.1, 0.05) == math.inf


def test_long_sequences_and_many_rows_are_thinned_with_the_limits_of_the_thinned_sizes():
    rng = np.random.default_rng(8)
    space = StateSpace(20, 40)
    x = Samples(torch.from_numpy(rng.integers(0, 20, (700, 40))), space)
    y = Samples(torch.from_numpy(np.where(rng.random((500, 40)) < 0.4, 0, rng.integers(0, 20, (500, 40)))), space)
    # Independent positions: every position has TV 0.4 * 19/20, and W1 is their sum.
    truth = 40 * 0.4 * 19 / 20
    estimate = HammingWasserstein()(x, y, seed=0)
    assert "plug-in of 500 and 500 rows" in estimate.method
    assert (
        0.5 * truth
        < estimate.lcb
        <= truth
        <= estimate.ucb
        == pytest.approx(min(40.0, estimate.value + deviation(20.0, 2 / 500, 0.025)))
    )
    bounded = BoundedLipschitz()(x, y, seed=0)
    assert 1.0 < bounded.lcb <= bounded.ucb == 2.0
    assert TotalVariation()(x, y, seed=0).value == 1.0


def test_one_row_has_no_split_and_no_lower_limit(pair):
    space, p, q = pair
    rng = np.random.default_rng(9)
    for metric in METRICS:
        estimate = metric(draw(p, space, 1, rng), draw(q, space, 1, rng), seed=0)
        assert estimate.lcb == 0.0
        assert estimate.ucb == pytest.approx(2 * metric.constant(space))


def test_natural_numbers_are_compared_by_rows():
    rng = np.random.default_rng(10)
    space = StateSpace(None, 2)
    x = Samples(torch.from_numpy(rng.poisson(3.0, (400, 2))), space)
    y = Samples(torch.from_numpy(rng.poisson(9.0, (300, 2))), space)
    for metric in METRICS:
        estimate = metric(x, y, seed=0)
        # Nearly all pairs are distinct, so a kernel of equality can not tell the laws apart from so few rows.
        assert estimate.lcb > 0.0 or isinstance(metric, KernelMMD)
        assert estimate.lcb <= estimate.value <= estimate.ucb


@pytest.mark.parametrize(("n", "chance"), [(10, 0.3), (60, 0.02), (200, 0.5), (400, 0.001)])
def test_the_bernstein_margin_covers_by_the_binomial_law(n, chance):
    counts, delta = np.arange(n + 1), 0.05
    margins = [bernstein([k * (n - k) / n / (n - 1)], [n], 1.0, delta) for k in counts]
    missed = counts / n - np.array(margins) > chance
    assert float(binom.pmf(counts, n, chance)[missed].sum()) <= delta
    normal = 1.645 * math.sqrt(0.25 / 1e6)
    assert normal < bernstein([0.25], [10**6], 1.0, delta) < 2 * normal
    assert bernstein([0.1, 0.2], [50, 80], 2.0, 0.1) == pytest.approx(
        sum(math.sqrt(2 * v * math.log(40) / k) + 14 * math.log(40) / 3 / (k - 1) for v, k in [(0.1, 50), (0.2, 80)])
    )
