from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from metrics.oracles import draw, hamming, mmd_dense, random_pmf, tabular
from naming import name_of

from ddm_pyro.distributions import Samples
from ddm_pyro.metrics import HammingMMD, KernelMMD
from ddm_pyro.metrics.subset import _Columns, subset_mmd2
from ddm_pyro.spaces import StateSpace


def exp_kernel(x, y):
    return torch.exp(-(x[:, None] != y[None]).double().sum(-1) / 1.5)


VARIANTS = [
    HammingMMD(1.5),
    HammingMMD(1.5, method="histogram"),
    HammingMMD(1.5, method="subset"),
    KernelMMD(exp_kernel, 1.0, nonnegative=True),
]


def pair_statistic(x, y, bandwidth):
    """The U-statistic of MMD^2, from the definition."""

    def k(a, b):
        return np.exp(-(a != b).sum() / bandwidth)

    n, m = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i, j in itertools.permutations(range(n), 2)) / (n * (n - 1))
    within_y = sum(k(y[i], y[j]) for i, j in itertools.permutations(range(m), 2)) / (m * (m - 1))
    return within_x + within_y - 2 * np.mean([k(a, b) for a in x for b in y])


@pytest.mark.parametrize("metric", VARIANTS, ids=name_of)
def test_the_u_statistic_is_unbiased_over_all_samples_of_three_and_two_rows(metric):
    # A length of 2 leaves the subset estimator a single subset of two positions, so it has no noise of its own.
    space = StateSpace(2, 2)
    states = space.enumerate()
    p, q = np.array([0.5, 0.2, 0.0, 0.3]), np.array([0.1, 0.4, 0.4, 0.1])
    mean = 0.0
    quick = type(metric) is HammingMMD
    for a in itertools.product(range(4), repeat=3 if quick else 2):
        for b in itertools.product(range(4), repeat=2):
            weight = np.prod(p[list(a)]) * np.prod(q[list(b)])
            if weight:
                x, y = Samples(states[list(a)], space), Samples(states[list(b)], space)
                if metric.name == "core/mmd-hamming" and metric.method == "subset":
                    rng = np.random.default_rng(0)
                    square = subset_mmd2(x.x.numpy(), y.x.numpy(), 1.5, 2, rng).value
                else:
                    square = metric.moments(space, x, y).unbiased
                mean += weight * square
    assert mean == pytest.approx(mmd_dense(space, p, q, 1.5) ** 2, abs=1e-12)


@pytest.mark.parametrize("metric", VARIANTS, ids=name_of)
def test_samples_against_a_pmf_are_unbiased_too(metric):
    space = StateSpace(2, 2)
    states = space.enumerate()
    p, q = np.array([0.5, 0.2, 0.0, 0.3]), np.array([0.1, 0.4, 0.4, 0.1])
    mean = 0.0
    for b in itertools.product(range(4), repeat=3):
        moments = metric.moments(space, tabular(p, space), Samples(states[list(b)], space))
        mean += np.prod(q[list(b)]) * moments.unbiased
    assert mean == pytest.approx(mmd_dense(space, p, q, 1.5) ** 2, abs=1e-12)


@pytest.mark.parametrize("space", [StateSpace(3, 4), StateSpace((2, 3, 5, 2), 4), StateSpace(2, 1)], ids=name_of)
def test_all_routes_give_the_statistic_of_the_definition(space):
    rng = np.random.default_rng(3)
    p, q = random_pmf(rng, space.num_states), random_pmf(rng, space.num_states)
    x, y = (
        draw(
            p,
            space,
            21,
            rng,
        ),
        draw(q, space, 17, rng),
    )
    expected = pair_statistic(x.x.numpy(), y.x.numpy(), 1.5)
    for metric in VARIANTS:
        assert metric.moments(space, x, y).unbiased == pytest.approx(expected, abs=1e-12)
    estimate = HammingMMD(1.5)(x, y)
    assert estimate.extra["mmd2"] == pytest.approx(expected, abs=1e-12)
    assert estimate.value == pytest.approx(math.sqrt(max(0.0, expected)), abs=1e-9)
    counts = [np.bincount(space.index(z.x).numpy(), minlength=space.num_states) / len(z) for z in (x, y)]
    assert estimate.extra["plug_in"] == pytest.approx(mmd_dense(space, *counts, 1.5), abs=1e-9)


def test_the_mean_over_every_subset_is_the_pair_statistic():
    rng = np.random.default_rng(8)
    x, y = rng.integers(0, 3, (9, 5)), rng.integers(0, 2, (7, 5))
    columns, keep = _Columns.of(x, y, rng), 1.0 - math.exp(-1.0 / 1.5)
    total = 0.0
    for size in range(1, 6):
        for subset in itertools.combinations(range(5), size):
            total += keep**size * (1 - keep) ** (5 - size) * columns.collisions(list(subset))[0]
    assert total == pytest.approx(pair_statistic(x, y, 1.5), abs=1e-12)


def test_the_subset_estimator_is_within_its_error_of_the_pair_statistic():
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, 4, (400, 24)), rng.integers(0, 4, (300, 24)) * (rng.random((300, 24)) < 0.9)
    exact = pair_statistic_fast(x, y, 12.0)
    errors, spreads = [], []
    for seed in range(20):
        found = subset_mmd2(x, y, 12.0, 64, np.random.default_rng(seed))
        errors.append(found.value - exact)
        spreads.append(found.stderr_subsets)
    assert max(np.abs(errors)) < 5 * np.mean(spreads)
    assert abs(np.mean(errors)) < 5 * np.mean(spreads) / math.sqrt(20)
    assert np.mean(spreads) < 0.1 * exact
    space = StateSpace(4, 24)
    moments = HammingMMD(12.0).moments(space, *(Samples(torch.from_numpy(z), space) for z in (x, y)))
    assert found.stderr_rows == pytest.approx(moments.stderr, rel=0.2)


@pytest.mark.parametrize("bandwidth", [0.001, 1e6])
def test_extreme_bandwidths(bandwidth):
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 2, (30, 6)), rng.integers(0, 2, (20, 6))
    found = subset_mmd2(x, y, bandwidth, 16, rng)
    assert found.value == pytest.approx(pair_statistic_fast(x, y, bandwidth), rel=1e-4, abs=1e-15)


def pair_statistic_fast(x, y, bandwidth):
    z = np.concatenate([x, y])
    kernel = np.exp(-(z[:, None] != z[None]).sum(-1) / bandwidth)
    np.fill_diagonal(kernel, 0.0)
    n, m = len(x), len(y)
    a, b, c = kernel[:n, :n].sum(), kernel[n:, n:].sum(), kernel[:n, n:].mean()
    return a / (n * (n - 1)) + b / (m * (m - 1)) - 2 * c


def test_many_rows_go_to_the_subset_estimator_by_themselves(monkeypatch):
    monkeypatch.setattr("ddm_pyro.metrics.hamming_mmd.PAIR_ROWS", 4000)
    monkeypatch.setattr("ddm_pyro.metrics.mmd.PAIR_ROWS", 4000)
    monkeypatch.setattr("ddm_pyro.metrics.hamming_mmd.LIMIT_ROWS", 2000)
    rng = np.random.default_rng(6)
    space = StateSpace(7, 32)
    x = Samples(torch.from_numpy(rng.integers(0, 7, (5000, 32))), space)
    y = Samples(torch.from_numpy(rng.integers(0, 6, (3000, 32))), space)
    estimate = HammingMMD()(x, y, seed=1)
    assert "subsets" in estimate.method
    # Independent uniform tokens: E k over a position is rho + (1 - rho) times the collision probability.
    rho = math.exp(-1 / 32)
    xx, yy, xy = (rho + (1 - rho) * c for c in (1 / 7, 1 / 6, 1 / 7))
    truth = xx**32 + yy**32 - 2 * xy**32
    assert abs(estimate.extra["mmd2"] - truth) < 5 * estimate.extra["mmd2_stderr"]
    assert estimate.lcb <= math.sqrt(truth) <= estimate.ucb
    assert "all pairs of 4000 and 3000 rows" in HammingMMD(method="histogram")(x, y, seed=1).method


def test_standard_error_and_p_value():
    rng = np.random.default_rng(9)
    space = StateSpace(3, 3)
    p = random_pmf(rng, 27, 0.0)
    q = 0.5 * p + 0.5 * random_pmf(rng, 27, 0.0)
    truth = mmd_dense(space, p, q, 2.0) ** 2
    far = [HammingMMD(2.0).moments(space, draw(p, space, 300, rng), draw(q, space, 200, rng)) for _ in range(300)]
    errors = np.array([m.unbiased - truth for m in far])
    assert abs(errors.mean()) < 4.3 * errors.std() / math.sqrt(300)
    assert np.mean([m.stderr for m in far]) == pytest.approx(errors.std(), rel=0.25)
    near = [HammingMMD(2.0)(draw(p, space, 40, rng), draw(p, space, 30, rng), seed=i).p_value for i in range(200)]
    # Uniform under the null: 200 draws, chance of more than 40 below 0.1 is under 1e-5.
    assert sum(value <= 0.1 for value in near) <= 40
    assert sum(value <= 0.5 for value in near) >= 65
    assert HammingMMD(2.0)(draw(p, space, 2000, rng), draw(q, space, 2000, rng)).p_value == pytest.approx(1 / 200)


def test_one_row_gives_the_plug_in_value_and_a_wrong_kernel_is_refused():
    space = StateSpace(3, 2)
    x, y = Samples(torch.tensor([[0, 1]]), space), Samples(torch.tensor([[2, 2]]), space)
    estimate = HammingMMD(2.0)(x, y)
    assert estimate.kind == "upper_biased"
    assert estimate.value == pytest.approx(math.sqrt(2 - 2 * math.exp(-1.0)))
    with pytest.raises(ValueError, match=r"it must give finite values of shape \(1, 1\)"):
        KernelMMD(lambda x, y: torch.ones(3), 1.0)(x, y)


def test_distances_beyond_255_do_not_wrap():
    space = StateSpace(2, 300)
    x, y = Samples(torch.zeros(3, 300, dtype=torch.long), space), Samples(torch.ones(2, 300, dtype=torch.long), space)
    assert HammingMMD(150.0)(x, y).value == pytest.approx(math.sqrt(2 - 2 * math.exp(-2.0)))
    assert hamming(StateSpace(2, 2)).max() == 2
