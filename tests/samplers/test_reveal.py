"""RevealSubset and RevealAt: densities, mass and draws by enumeration, unequal alphabets included."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from exactness import assert_draws_follow

import ddm_pyro as ddm
from ddm_pyro.parameterizations import MaskPredictor
from ddm_pyro.rates import Masked
from ddm_pyro.samplers.gibbs import OneSiteLaw
from ddm_pyro.samplers.reveal import RevealAt, RevealSubset
from ddm_pyro.spaces import StateSpace

SPACE = StateSpace(2, 3, mask=True)
X = torch.tensor([[2, 2, 2], [2, 0, 2], [1, 0, 2], [1, 1, 0]])
LOG_P = torch.log_softmax(torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(3)).double(), -1)


def subset_pmf(row, count):
    """P(y | x) over all states, by listing subsets and values."""
    x, out = X[row].tolist(), np.zeros(27)
    free = [site for site in range(3) if x[site] == 2]
    subsets = list(itertools.combinations(free, count))
    for chosen in subsets:
        for values in itertools.product(range(2), repeat=count):
            y, p = list(x), 1.0 / len(subsets)
            for site, v in zip(chosen, values, strict=True):
                y[site], p = v, p * math.exp(LOG_P[row, site, v])
            out[int(SPACE.index(torch.tensor(y)))] += p
    return out


@pytest.mark.parametrize("counts", [(1, 1, 1, 0), (2, 2, 0, 0), (3, 1, 1, 0), (0, 0, 0, 0)])
def test_reveal_subset(counts):
    law = RevealSubset(X, torch.tensor(counts), LOG_P)
    expected = np.stack([subset_pmf(row, count) for row, count in enumerate(counts)])
    states = SPACE.enumerate().unsqueeze(1).expand(-1, 4, -1)
    np.testing.assert_allclose(law.log_prob(states).exp().numpy().T, expected, atol=1e-13)
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    np.testing.assert_allclose(law.push(weights, SPACE).numpy(), weights.numpy() @ expected, atol=1e-13)
    torch.manual_seed(0)
    draws = law.sample((5000,))
    for row in range(4):
        assert_draws_follow(SPACE.index(draws[:, row]).unsqueeze(-1), expected[row], (27,))


def test_reveal_at():
    at = torch.tensor([0, 2, 5, 8])
    law = RevealAt(X, at, LOG_P.flatten(0, 1)[at], 3)
    expected = np.zeros((4, 27))
    for row in range(4):
        sites = [int(flat) % 3 for flat in at if int(flat) // 3 == row]
        for values in itertools.product(range(2), repeat=len(sites)):
            y, p = X[row].tolist(), 1.0
            for site, v in zip(sites, values, strict=True):
                y[site], p = v, p * math.exp(LOG_P[row, site, v])
            expected[row, int(SPACE.index(torch.tensor(y)))] += p
    states = SPACE.enumerate().unsqueeze(1).expand(-1, 4, -1)
    np.testing.assert_allclose(law.log_prob(states).exp().numpy().T, expected, atol=1e-13)
    torch.manual_seed(1)
    draws = law.sample((5000,))
    assert draws.shape == (5000, 4, 3)
    for row in range(4):
        assert_draws_follow(SPACE.index(draws[:, row]).unsqueeze(-1), expected[row], (27,))


def test_nothing_to_reveal_runs_no_network():
    class Never(torch.nn.Module):
        def forward(self, x, t):
            raise RuntimeError("asked")

    process = ddm.ForwardProcess(Masked(2), ddm.schedules.Linear(), length=3)
    law = RevealAt.of(MaskPredictor(Never(), process), X, torch.tensor(0.5), torch.zeros(0, dtype=torch.int64))
    assert torch.equal(law.sample(), X)
    assert torch.equal(law.log_prob(X), torch.zeros(4, dtype=torch.float64))


def test_one_site_law():
    space, x = StateSpace(3, 2), torch.tensor([[0, 2], [1, 1]])
    probs = torch.softmax(torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0)).double(), -1)
    law, states = OneSiteLaw(x, probs), space.enumerate()
    expected = np.zeros((2, 9))
    for row, site, v in itertools.product(range(2), range(2), range(3)):
        y = x[row].clone()
        y[site] = v
        expected[row, int(space.index(y))] += float(probs[row, site, v]) / 2
    np.testing.assert_allclose(law.log_prob(states.unsqueeze(1)).exp().numpy().T, expected, atol=1e-14)
    torch.manual_seed(2)
    draws = law.sample((5000,))
    for row in range(2):
        assert_draws_follow(space.index(draws[:, row]).unsqueeze(-1), expected[row], (9,))
