"""Systematic resampling and weights on the log scale."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddm_pyro.infer.resampling import effective_sample_size, log_mean_exp, normalized, systematic, take

weights = st.lists(st.floats(0.0, 1e6) | st.just(0.0), min_size=1, max_size=30)


@given(weights, st.integers(0, 10))
def test_offspring_are_the_expected_number_rounded_either_way(values, seed):
    torch.manual_seed(seed)
    w = torch.tensor(values, dtype=torch.float64)
    ancestors = systematic(w.log())
    count = torch.bincount(ancestors, minlength=len(w))
    share = w / w.sum() if float(w.sum()) > 0 else torch.full_like(w, 1 / len(w))
    expected = len(w) * share
    assert bool((count >= (expected - 1e-6).floor()).all())
    assert bool((count <= (expected + 1e-6).ceil()).all())
    assert bool((count[w == 0] == 0).all()) or float(w.sum()) == 0
    assert bool((ancestors.diff() >= 0).all())


def test_offspring_are_right_on_average():
    torch.manual_seed(0)
    w = torch.tensor([0.05, 0.6, 0.1, 0.25], dtype=torch.float64)
    runs = 20_000
    count = torch.nn.functional.one_hot(systematic(w.log().unsqueeze(-1).expand(4, runs)), 4).sum(0).double()
    error = count.std(0) / math.sqrt(runs)
    assert bool(((count.mean(0) - 4 * w).abs() <= 4.3 * error + 1e-12).all())


def test_columns_are_resampled_apart():
    torch.manual_seed(1)
    log_weights = torch.full((3, 2, 2), -torch.inf)
    log_weights[1, 0, 0] = log_weights[2, 0, 1] = log_weights[0, 1, 0] = 5.0
    assert systematic(log_weights)[:, 0].tolist() == [[1, 2]] * 3
    assert systematic(log_weights)[:, 1, 0].tolist() == [0] * 3
    assert systematic(log_weights)[:, 1, 1].tolist() == [0, 1, 2]  # no weight at all: everyone stays


@given(weights)
def test_effective_sample_size(values):
    w = torch.tensor(values, dtype=torch.float64)
    found = float(effective_sample_size(w.log()))
    if float(w.sum()) == 0:
        assert found == 0
    else:
        assert found == pytest.approx(float((w / w.max()).sum() ** 2 / (w / w.max()).square().sum()), rel=1e-6)
        assert 1 - 1e-9 <= found <= len(w) + 1e-9


def test_means_and_normalization_far_from_zero():
    log_weights = torch.tensor([[-1000.0, 2000.0], [-1000.0 + math.log(3), -torch.inf]], dtype=torch.float64)
    torch.testing.assert_close(
        log_mean_exp(log_weights), torch.tensor([-1000 + math.log(2), 2000 - math.log(2)]).double()
    )
    torch.testing.assert_close(normalized(log_weights), torch.tensor([[0.25, 1.0], [0.75, 0.0]]).double())


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_take_broadcasts_groups_over_the_rest(batch):
    torch.manual_seed(2)
    values = torch.randn(4, *batch, 5)
    ancestors = torch.randint(0, 4, (4, *(1,) * len(batch)))
    found = take(values, ancestors)
    for particle in range(4):
        assert torch.equal(found[particle], values[int(ancestors[particle])])
