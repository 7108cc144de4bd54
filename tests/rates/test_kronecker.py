"""The joint generator: scipy's exponential of the whole matrix against position-wise products."""

from __future__ import annotations

import math

import brute
import numpy as np
import pytest
import torch
from pairs import PROCESSES, pair, states_of
from scipy.linalg import expm

from ddm_pyro.rates import Dense, KroneckerSum, Masked, RateMatrix, Uniform


def joint_generator(oracle):
    """Built jump by jump, not by Kronecker products."""
    out = np.zeros((len(oracle.local),) * 2)
    for k, x in enumerate(oracle.local):
        for site, generator in enumerate(oracle.generators):
            for v in range(len(oracle.symbols[site])):
                if v != x[site]:
                    out[k, oracle.where[(*x[:site], v, *x[site + 1 :])]] = generator[x[site], v]
    return out - np.diag(out.sum(1))


@pytest.mark.parametrize("name", PROCESSES)
def test_matrix_and_push(name):
    process, oracle = pair(name, "linear")
    joint, expected = process.joint, joint_generator(oracle)
    np.testing.assert_allclose(joint.matrix().numpy(), expected, atol=1e-14)
    assert joint.space.enumerate().tolist() == [list(x) for x in oracle.states]
    p = np.random.default_rng(0).dirichlet(np.ones(len(expected)))
    for noise in (0.0, 0.7, 3.0):
        np.testing.assert_allclose(
            joint.push(torch.from_numpy(p), noise).numpy(), p @ expm(noise * expected), atol=1e-13
        )
    assert math.isclose(joint.exit_bound(), -np.diag(expected).min(), rel_tol=1e-12)


@pytest.mark.parametrize("name", PROCESSES)
def test_token_tables(name):
    process, oracle = pair(name, "linear")
    x, joint, width = states_of(oracle), process.joint, process.space.num_symbols
    noise = torch.linspace(0.1, 2.0, len(x), dtype=torch.float64)
    row, column = np.zeros((len(x), oracle.length, width)), np.zeros((len(x), oracle.length, width))
    for k, state in enumerate(oracle.local):
        for site, generator in enumerate(oracle.generators):
            kernel = brute.kernel(generator, float(noise[k]))
            row[k, site, oracle.symbols[site]] = kernel[state[site]]
            column[k, site, oracle.symbols[site]] = kernel[:, state[site]]
    np.testing.assert_allclose(joint.row(x, noise).numpy(), row, atol=1e-13)
    np.testing.assert_allclose(joint.likelihood(x, noise).numpy(), column, atol=1e-13)
    ones = (torch.arange(width) == x.unsqueeze(-1)).double()
    np.testing.assert_allclose(joint.evolve(ones, noise).numpy(), row, atol=1e-13)


@pytest.mark.parametrize("name", PROCESSES)
def test_moves_and_rates(name):
    process, oracle = pair(name, "linear")
    x, joint = states_of(oracle), process.joint
    moves, out, into = joint.moves(x).expand(*x.shape, -1), joint.out_rates(x), joint.in_rates(x)
    for k, state in enumerate(oracle.local):
        for site, generator in enumerate(oracle.generators):
            for table, rates in ((out, generator), (into, generator.T)):
                found = {int(v): float(r) for v, r in zip(moves[k, site], table[k, site], strict=True) if r > 0}
                jumps = {oracle.symbols[site][v]: rates[state[site], v] for v in range(len(rates)) if v != state[site]}
                expected = {v: r for v, r in jumps.items() if r > 0}
                assert found == pytest.approx(expected)


def test_positions_that_share_an_object_are_computed_together():
    one, other = Uniform(3), Uniform(3)
    assert KroneckerSum([one, one]).is_homogeneous
    assert [positions for _, positions in KroneckerSum([one, other, one]).groups] == [[0, 2], [1]]


def test_what_does_not_fit_together_is_refused():
    class Countable(RateMatrix):
        vocab_size = None

    with pytest.raises(ValueError, match="at least one"):
        KroneckerSum([])
    with pytest.raises(ValueError, match="masked and unmasked"):
        KroneckerSum([Masked(2), Uniform(2)])
    with pytest.raises(ValueError, match="finite and countable"):
        KroneckerSum([Countable(), Uniform(2)])
    with pytest.raises(TypeError, match="needs a RateMatrix"):
        KroneckerSum([Uniform(2), "uniform"])
    with pytest.raises(ValueError, match="59049"):
        KroneckerSum([Uniform(3)] * 10).matrix()


def test_a_masked_chain_given_as_a_matrix():
    """A mask need not be rank one: here tokens decay to their neighbour on the way to it."""

    class Slow(Dense):
        has_mask = True

        def __init__(self):
            super().__init__([[-1.0, 0.4, 0.6], [0.0, -1.0, 1.0], [0.0, 0.0, 0.0]])
            self.vocab_size = 2

    joint = KroneckerSum([Slow(), Masked(3)])
    assert joint.space.radices == (3, 4)
    row = joint.row(torch.tensor([0, 3]), torch.tensor(0.5, dtype=torch.float64)).numpy()
    kernel = expm(0.5 * Slow().matrix().numpy())
    np.testing.assert_allclose(row, [[kernel[0, 0], kernel[0, 1], 0.0, kernel[0, 2]], [0, 0, 0, 1]], atol=1e-14)
