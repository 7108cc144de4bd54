"""Kernels, rows, likelihoods and evolution of every finite rate against scipy's matrix exponential."""

from __future__ import annotations

import math

import brute
import numpy as np
import pytest
import torch

from ddm_pyro.rates import Dense, Masked, RankOne, Uniform


def float64(values):
    return torch.tensor(values, dtype=torch.float64)


PI = [0.05, 0.6, 0.0, 0.35]
CASES = [
    *(pytest.param(Uniform(size), brute.uniform_generator(size), id=f"uniform-{size}") for size in range(1, 6)),
    *(pytest.param(Masked(size), brute.masked_generator(size), id=f"masked-{size}") for size in range(1, 6)),
    pytest.param(RankOne(float64(PI)), brute.rank_one_generator(PI), id="rank-one"),
    pytest.param(RankOne([1.0]), brute.rank_one_generator([1.0]), id="rank-one-1"),
    *(
        pytest.param(Dense(brute.random_generator(v, v)), brute.random_generator(v, v), id=f"dense-{v}")
        for v in (1, 2, 5)
    ),
    pytest.param(
        Dense(np.diag([1.0, 1, 1], 1) - np.diag([1.0, 1, 1, 0])),
        np.diag([1.0, 1, 1], 1) - np.diag([1.0, 1, 1, 0]),
        id="death",
    ),
]
EACH = pytest.mark.parametrize(("rate", "generator"), CASES)
NOISES = [0.0, 1e-12, 0.3, 2.0, 40.0, math.inf]


@EACH
def test_generator_and_kernel(rate, generator):
    np.testing.assert_allclose(rate.matrix().numpy(), generator, atol=1e-15)
    kernels = rate.kernel(float64(NOISES)).numpy()
    np.testing.assert_allclose(kernels, [brute.kernel(generator, noise) for noise in NOISES], atol=1e-13)
    np.testing.assert_allclose(kernels.sum(-1), 1.0, atol=1e-13)
    assert (kernels >= 0).all()


@EACH
def test_negative_noise_is_the_inverse(rate, generator):
    back = rate.kernel(float64(-0.8)).numpy()
    np.testing.assert_allclose(back @ brute.kernel(generator, 0.8), np.eye(len(generator)), atol=1e-12)
    p = float64(np.linspace(0.1, 1, len(generator)).tolist())
    there_and_back = rate.evolve(rate.evolve(p, float64(0.8)), float64(-0.8))
    np.testing.assert_allclose(there_and_back.numpy(), p.numpy(), atol=1e-12)


@EACH
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_rows_columns_and_measures(rate, generator, shape):
    size = len(generator)
    draw = torch.Generator().manual_seed(size)
    x = torch.randint(size, shape, generator=draw)
    noise = float64([0.2, math.inf, 1.5])[torch.randint(3, shape[-1:], generator=draw)]
    p = torch.rand((*shape, size), dtype=torch.float64, generator=draw) - 0.3
    whole = np.broadcast_to(noise.numpy(), shape)
    row, column, evolved = rate.row(x, noise), rate.likelihood(x, noise), rate.evolve(p, noise)
    assert row.shape == column.shape == evolved.shape == (*shape, size)
    for index in np.ndindex(shape):
        kernel = brute.kernel(generator, float(whole[index]))
        np.testing.assert_allclose(row[index].numpy(), kernel[x[index]], atol=1e-13)
        np.testing.assert_allclose(column[index].numpy(), kernel[:, x[index]], atol=1e-13)
        np.testing.assert_allclose(evolved[index].numpy(), p[index].numpy() @ kernel, atol=1e-13)
    law = rate.transition(x, noise)
    np.testing.assert_allclose(law.probs.numpy(), row.numpy(), atol=1e-13)


@EACH
def test_moves_and_rates(rate, generator):
    x = torch.arange(len(generator))
    jumps = generator - np.diag(np.diag(generator))
    out, into, moves = np.zeros_like(jumps), np.zeros_like(jumps), rate.moves(x).numpy()
    for k in range(len(x)):
        np.add.at(out[k], moves[k], rate.out_rates(x)[k].numpy())
        np.add.at(into[:, k], moves[k], rate.in_rates(x)[k].numpy())
    np.testing.assert_allclose(out, jumps, atol=1e-15)
    np.testing.assert_allclose(into, jumps, atol=1e-15)
    assert math.isclose(rate.exit_bound(), jumps.sum(1).max(), abs_tol=1e-15)


@EACH
def test_stationary_law_does_not_move(rate, generator):
    p = rate.stationary().probs.numpy()
    np.testing.assert_allclose(p @ generator, 0.0, atol=1e-12)
    assert math.isclose(p.sum(), 1.0, rel_tol=1e-12)


def test_a_reducible_chain_has_no_one_stationary_law():
    with pytest.raises(ValueError, match="reducible"):
        Dense([[-1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]).stationary()


def test_slow_chains_reach_their_limit():
    generator = 1e-9 * brute.random_generator(3, 1)
    p = Dense(generator).stationary().probs.numpy()
    np.testing.assert_allclose(p @ generator / 1e-9, 0.0, atol=1e-9)
