"""Transport costs against closed forms on lines and circles and against the primal programme."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ddm_pyro_lattice import wasserstein
from ddm_pyro_lattice.wasserstein import LatticeWasserstein
from scipy.optimize import linprog

from ddm_pyro.distributions import Samples, Tabular
from ddm_pyro.spaces import StateSpace


def random_law(rng, shape):
    p = rng.dirichlet(np.full(math.prod(shape), 0.4))
    p[rng.random(len(p)) < 0.3] = 0.0
    return p / p.sum()


def primal(states, p, q, periods):
    gap = np.abs(states[:, None] - states[None]).astype(float)
    cost = (gap if periods is None else np.minimum(gap, periods - gap)).sum(-1)
    n = len(p)
    rows = np.concatenate([np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))])
    return linprog(cost.ravel(), A_eq=rows.reshape(2 * n, n * n)[:-1], b_eq=np.r_[p, q][:-1]).fun


@pytest.mark.parametrize("cyclic", [False, True])
@pytest.mark.parametrize("on_grid", [False, True])
def test_costs_are_those_of_the_primal_programme(cyclic, on_grid, monkeypatch):
    monkeypatch.setattr(wasserstein, "_on_grid", lambda space, pairs: on_grid)
    rng = np.random.default_rng(0)
    for sizes in ((5,), (2, 3), (4, 4), (3, 1, 2)):
        space = StateSpace(sizes, len(sizes))
        p, q = random_law(rng, sizes), random_law(rng, sizes)
        states = space.enumerate()
        expected = primal(states.numpy(), p, q, np.array(sizes) if cyclic else None)
        metric = LatticeWasserstein(cyclic)
        laws = [Tabular(torch.from_numpy(one), space=space) for one in (p, q)]
        assert metric(*laws).value == pytest.approx(expected, abs=1e-7)
        value, witness = metric.exact(space, states, torch.from_numpy(p), torch.from_numpy(q))
        f = witness.fn(states).numpy()
        gap = np.abs(states.numpy()[:, None] - states.numpy()[None])
        steps = (np.minimum(gap, np.array(sizes) - gap) if cyclic else gap).sum(-1)
        assert (np.abs(f[:, None] - f) <= steps + 1e-9).all()
        assert f @ (p - q) == pytest.approx(value, abs=1e-12)
        assert np.ptp(f) <= witness.osc + 1e-12


def test_a_line_and_a_circle_have_closed_forms():
    rng = np.random.default_rng(1)
    p, q = random_law(rng, (9,)), random_law(rng, (9,))
    laws = [Tabular(torch.from_numpy(one)) for one in (p, q)]
    cdf = np.cumsum(p - q)
    assert LatticeWasserstein()(*laws).value == pytest.approx(np.abs(cdf).sum(), abs=1e-8)
    assert LatticeWasserstein(True)(*laws).value == pytest.approx(np.abs(cdf - np.median(cdf)).sum(), abs=1e-8)
    assert LatticeWasserstein()(laws[0], laws[0]).value == 0.0


def test_constants_are_half_the_diameter():
    space = StateSpace((5, 2, 1), 3)
    assert LatticeWasserstein().constant(space) == 2.5
    assert LatticeWasserstein(cyclic=True).constant(space) == 1.5
    assert LatticeWasserstein().constant(StateSpace(None, 3)) == math.inf
    with pytest.raises(ValueError, match="no circle"):
        LatticeWasserstein(cyclic=True)(*[Samples(torch.tensor([[k, 2]]), StateSpace(None, 2)) for k in (0, 1)])


def test_samples_on_the_natural_numbers_are_compared():
    rng = np.random.default_rng(2)
    x, y = (torch.from_numpy(rng.poisson(mean, (400, 2))) for mean in (3.0, 5.0))
    space = StateSpace(None, 2)
    estimate = LatticeWasserstein()(Samples(x, space), Samples(y, space), seed=0)
    # The means differ by 2 a coordinate, and Poisson laws are stochastically ordered: the distance is 4.
    assert estimate.value == pytest.approx(4.0, abs=0.7)
    assert estimate.lcb <= 4.0 <= estimate.ucb == math.inf


def test_samples_on_a_finite_grid_are_bracketed():
    rng = np.random.default_rng(3)
    p, q = random_law(rng, (4, 4)), random_law(rng, (4, 4))
    space = StateSpace(4, 2)
    laws = [Tabular(torch.from_numpy(one), space=space) for one in (p, q)]
    truth = LatticeWasserstein()(*laws).value
    rows = space.unindex(torch.from_numpy(rng.choice(16, 3000, p=p)))
    estimate = LatticeWasserstein()(Samples(rows, space), laws[1], seed=0)
    assert estimate.lcb <= truth <= estimate.ucb
    assert estimate.value == pytest.approx(truth, abs=0.2)
