from __future__ import annotations

from functools import reduce

import numpy as np
import oracles
import pytest
import torch
from exactness import assert_draws_follow

from ddm_pyro.targets import tables
from ddm_pyro.targets.messages import DenseTransfer, SpinRowTransfer, draw, line_marginals, ring_marginals


def random_model(states, length, closed, seed):
    """Asymmetric local terms and link matrices with zeros, and the pmf they define, listed."""
    rng = np.random.default_rng(seed)
    links = rng.gamma(0.7, size=(length if closed else length - 1, states, states))
    links[..., 1:][rng.random((*links.shape[:-1], states - 1)) < 0.3] = 0.0
    local = rng.normal(size=(length, states))
    weights = []
    for x in oracles.sequences((states,) * length):
        weight = np.exp(local[np.arange(length), x].sum())
        for link, matrix in enumerate(links):
            weight *= matrix[x[link], x[(link + 1) % length]]
        weights.append(weight)
    return torch.from_numpy(local), DenseTransfer(torch.from_numpy(links)), np.array(weights)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize(("states", "length"), [(1, 3), (2, 2), (3, 4), (4, 3)])
def test_marginals_and_totals_of_asymmetric_links(states, length, closed):
    local, transfer, weights = random_model(states, length, closed, seed=length)
    batch = torch.stack([local, local + 1.0])
    found, log_total = (ring_marginals if closed else line_marginals)(batch, transfer)
    expected = oracles.posterior(weights, np.zeros((length, states)), (states,) * length)
    np.testing.assert_allclose(found.softmax(-1).numpy(), np.stack([expected] * 2), atol=1e-12)
    np.testing.assert_allclose(log_total.numpy(), np.log(weights.sum()) + np.array([0.0, length]), atol=1e-12)


@pytest.mark.parametrize("closed", [False, True])
def test_draws_of_asymmetric_links(closed):
    local, transfer, weights = random_model(3, 4, closed, seed=9)
    torch.manual_seed(5)
    x = draw(local, transfer, closed, torch.rand(20000, 4, dtype=torch.float64))
    assert_draws_follow(x, weights / weights.sum(), (3,) * 4)


def test_rows_of_spins_are_a_kronecker_product():
    same, cross = torch.tensor(0.7).double(), torch.tensor(0.2).double()
    matrix = reduce(np.kron, [np.array([[0.7, 0.2], [0.2, 0.7]])] * 3)
    transfer = SpinRowTransfer(same, cross, 3)
    message = np.random.default_rng(0).random((2, 8))
    np.testing.assert_allclose(transfer.forward(torch.from_numpy(message), 0), message @ matrix, rtol=1e-6)
    states = torch.tensor([5, 0, 6])
    np.testing.assert_allclose(transfer.into(states, 0), matrix[:, states.numpy()].T, rtol=1e-6)


@pytest.mark.parametrize("target", ["Tabular", "MarkovChain", "PottsChain", "IsingGrid", "atoms"])
def test_chunks_change_nothing(target, monkeypatch):
    from ddm_pyro import distributions, targets

    law = {
        "Tabular": lambda: targets.Tabular(oracles.hash_pmf(2, 4)),
        "MarkovChain": lambda: targets.MarkovChain([0.5, 0.5], [[0.9, 0.1], [0.3, 0.7]], 4),
        "PottsChain": lambda: targets.PottsChain(num_states=2, length=4, coupling=0.5, periodic=True),
        "IsingGrid": lambda: targets.IsingGrid(2, 2, 0.5, 0.1, periodic=True),
        "atoms": lambda: targets.Tabular(
            distributions.Tabular(
                atoms=oracles.sequences((2,) * 4)[::3],
                probs=[1 / 6] * 6,
                space=targets.Tabular(oracles.hash_pmf(2, 4)).space,
            )
        ),
    }[target]()
    evidence = torch.from_numpy(np.random.default_rng(1).normal(size=(7, 4, 2)))
    whole = law.posterior(evidence)
    torch.manual_seed(0)
    x = law.sample((50,))
    monkeypatch.setattr(tables, "CHUNK_DOUBLES", 40)
    torch.testing.assert_close(law.posterior(evidence), whole)
    torch.manual_seed(0)
    assert torch.equal(law.sample((50,)), x)
