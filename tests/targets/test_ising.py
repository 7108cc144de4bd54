from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
import torch
from exactness import assert_draws_follow, assert_is_the_law

from ddm_pyro.targets import IsingGrid

GRIDS = [
    (height, width, periodic)
    for height, width in [(1, 1), (1, 2), (2, 1), (1, 4), (2, 2), (2, 3), (3, 2), (3, 3), (4, 2)]
    for periodic in (False, True)
]


@pytest.mark.parametrize(("height", "width", "periodic"), GRIDS)
@pytest.mark.parametrize(("beta", "field"), [(0.44, 0.0), (-0.7, 0.3)])
def test_against_enumeration(height, width, periodic, beta, field):
    weights = oracles.ising_weights(height, width, beta, field, periodic)
    target = IsingGrid(height, width, beta, field, periodic)
    assert float(target.log_partition) == pytest.approx(math.log(weights.sum()), abs=1e-12)
    assert_is_the_law(target, weights / weights.sum())


@pytest.mark.parametrize(("height", "width", "periodic"), [(2, 3, False), (3, 2, True), (1, 5, True), (3, 3, False)])
def test_draws(height, width, periodic):
    weights = oracles.ising_weights(height, width, 0.5, -0.2, periodic)
    torch.manual_seed(4)
    x = IsingGrid(height, width, 0.5, -0.2, periodic).sample((20000,))
    assert_draws_follow(x, weights / weights.sum(), (2,) * (height * width))


def test_sixteen_spins_in_both_orientations():
    for height, width in ((2, 8), (8, 2), (4, 4)):
        weights = oracles.ising_weights(height, width, 0.44, 0.1, False)
        target = IsingGrid(height, width, 0.44, 0.1)
        assert float(target.log_partition) == pytest.approx(math.log(weights.sum()), abs=1e-12)
        assert float(target.entropy()) == pytest.approx(oracles.entropy(weights / weights.sum()), abs=1e-11)
        evidence = np.random.default_rng(0).normal(size=(1, 16, 2))
        evidence[0, 3, 0] = -np.inf
        expected = oracles.posterior(weights, evidence[0], (2,) * 16)
        np.testing.assert_allclose(target.posterior(torch.from_numpy(evidence))[0].exp(), expected, atol=1e-12)


def test_a_large_torus_against_its_closed_form():
    # Kaufman (1949): Z of the m x n torus as four products over momenta.
    size, beta = 8, 0.3
    target = IsingGrid(size, size, beta, periodic=True)
    gamma = [
        np.arccosh(np.cosh(2 * beta) / np.tanh(2 * beta) - np.cos(np.pi * r / size))
        if r
        else 2 * beta + np.log(np.tanh(beta))
        for r in range(2 * size)
    ]
    odd, even = np.array(gamma[1::2]), np.array(gamma[0::2])
    products = [
        np.prod(2 * np.cosh(size * odd / 2)), np.prod(2 * np.sinh(size * odd / 2)),
        np.prod(2 * np.cosh(size * even / 2)), np.prod(2 * np.sinh(size * even / 2)),
    ]  # fmt: skip
    partition = 0.5 * (2 * np.sinh(2 * beta)) ** (size * size / 2)
    # Below the critical point the zero mode is negative, and so is its product of hyperbolic sines.
    log_total = math.log(partition * (products[0] + products[1] + products[2] + products[3]))
    assert float(target.log_partition) == pytest.approx(log_total, abs=1e-9)


def test_a_strip_is_a_chain():
    # A 1 x n strip without field: Z = 2 (2 cosh beta)^(n-1), and E s_i s_j = tanh(beta)^|i-j|.
    target = IsingGrid(1, 200, 0.6)
    assert float(target.log_partition) == pytest.approx(math.log(2) + 199 * math.log(2 * math.cosh(0.6)), abs=1e-9)
    evidence = torch.zeros(1, 200, 2, dtype=torch.float64)
    evidence[0, 10, 0] = -torch.inf
    up = target.posterior(evidence)[0, :, 1].exp()
    np.testing.assert_allclose(up[[5, 10, 13]], [(1 + math.tanh(0.6) ** d) / 2 for d in (5, 0, 3)], atol=1e-12)


def test_wide_grids_are_exact_and_wider_ones_refused():
    target = IsingGrid(12, 12, 0.4, 0.05)
    evidence = torch.zeros(2, 144, 2, dtype=torch.float64)
    evidence[1, 0, 1] = -torch.inf
    found = target.posterior(evidence).exp()
    # The law is symmetric under the reflections of the square.
    image = found[0, :, 1].reshape(12, 12)
    torch.testing.assert_close(image, image.flip(0))
    torch.testing.assert_close(image, image.T)
    assert float(found[1, 0, 1]) == 0.0
    assert target.sample((3,)).shape == (3, 144)
    with pytest.raises(ValueError, match="16 x 15 grid needs rows of 2\\^15"):
        IsingGrid(16, 15, 0.4)
    with pytest.raises(ValueError, match="torus"):
        IsingGrid(9, 9, 0.4, periodic=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"beta": float("nan")}, "beta=nan"),
        ({"beta": 1000.0}, "beta=1000.0 is too strong"),
        ({"field": float("inf")}, "field=inf"),
        ({"height": 0}, "height=0"),
        ({"width": 1.5}, "width=1.5"),
    ],
)
def test_refuses(arguments, words):
    with pytest.raises(ValueError, match=words):
        IsingGrid(**{"height": 2, "width": 2, "beta": 0.4, **arguments})
