"""What is no generator or no law is refused in a sentence that quotes it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ddm_pyro.rates import Dense, Masked, RankOne, RateMatrix, Uniform


@pytest.mark.parametrize(
    ("matrix", "match"),
    [
        ([[-1.0, 1.0], [2.0, -1.0]], "Row 1 of the generator sums to 1"),
        ([[1.0, -1.0], [0.0, 0.0]], r"the rate -1 at \[0, 1\]"),
        ([[-1.0, 1.0]], r"shape \(1, 2\)"),
        ([-1.0, 1.0], r"shape \(2,\)"),
        (np.zeros((0, 0)), r"shape \(0, 0\)"),
        ([[-1.0, math.nan], [1.0, -1.0]], r"nan at \[0, 1\]"),
        ([[-math.inf, math.inf], [1.0, -1.0]], "inf"),
        ([[-1.0, 2.0], [1.0, -2.0]], "pass the transpose"),
        ([[-1.0, 1.0], [1.0, -1.00001]], "Row 1"),
    ],
)
def test_wrong_generators(matrix, match):
    with pytest.raises(ValueError, match=match):
        Dense(matrix)


def test_large_rates_may_round():
    matrix = 1e9 * np.array([[-0.3, 0.1, 0.2], [0.7, -1.0, 0.3], [0.1, 0.2, -0.3]])
    assert Dense(matrix).vocab_size == 3
    assert torch.equal(Dense(matrix).matrix().sum(-1), torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("make", [Uniform, Masked])
@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_wrong_vocabularies(make, size):
    with pytest.raises(ValueError, match=f"vocab_size={size}"):
        make(size)


@pytest.mark.parametrize(
    ("law", "match"),
    [
        ([0.5, 0.4], "sum to 0.9"),
        ([1.5, -0.5], "no law"),
        ([math.nan, 1.0], "no law"),
        ([[0.5, 0.5]], "shape"),
        ([], "shape"),
    ],
)
def test_wrong_refreshing_laws(law, match):
    with pytest.raises(ValueError, match=match):
        RankOne(law)


def test_a_rate_without_matrix_or_moves_says_so():
    class Nothing(RateMatrix):
        vocab_size = 3

    with pytest.raises(NotImplementedError, match="must define matrix"):
        Nothing().matrix()

    class Countable(RateMatrix):
        vocab_size = None

    with pytest.raises(ValueError, match="countable alphabet"):
        Countable().moves(torch.tensor(0))
