from __future__ import annotations

import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics.oracles import hamming, lipschitz_lp, random_pmf, tabular
from scipy.optimize import linprog

from ddm_pyro.distributions import Tabular
from ddm_pyro.metrics import BoundedLipschitz, HammingWasserstein, PositionTV, TotalVariation, transport
from ddm_pyro.metrics.assignment import _programme, atom_potential
from ddm_pyro.metrics.transport import star_potential
from ddm_pyro.spaces import StateSpace


def markov_pair(size, length, seed):
    rng = np.random.default_rng(seed)

    def law():
        kernel, table = rng.dirichlet(np.full(size, 2.0), size=size), rng.dirichlet(np.full(size, 2.0))
        for _ in range(length - 1):
            table = table[..., None] * kernel
        return table.ravel()

    p, q = law(), law()
    return p, 0.7 * p + 0.3 * q


def transport_cost(p, q, distance):
    """The primal: least cost over couplings, all pairs of states."""
    n = len(p)
    rows = np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))
    result = linprog(distance.ravel(), A_eq=np.vstack(rows), b_eq=np.r_[p, q], bounds=(0, None), method="highs")
    return result.fun


@pytest.mark.parametrize("cap", [None, 2])
@pytest.mark.parametrize("route", ["_network", "_interior", "_simplex"])
@pytest.mark.parametrize("sizes", [(2, 3, 4), (2, 2, 2, 2), (4, 1, 3), (30,)])
def test_every_solver_finds_the_cheapest_coupling(route, sizes, cap, monkeypatch):
    if route == "_network":
        pytest.importorskip("ortools")
    for other in {"_network", "_interior", "_simplex"} - {route}:
        monkeypatch.setattr(transport, other, lambda star, supply: None)
    space, rng = StateSpace(sizes, len(sizes)), np.random.default_rng(11)
    distance = np.minimum(hamming(space), cap or 99)
    for zeros in (0.0, 0.7):
        p, q = random_pmf(rng, space.num_states, zeros), random_pmf(rng, space.num_states, zeros)
        f = star_potential(sizes, p - q, cap)
        # The oracle's solver drops masses below 1e-7.
        assert f @ (p - q) == pytest.approx(transport_cost(p, q, distance), abs=1e-6)
        assert (np.abs(f[:, None] - f[None]) <= distance + 1e-12).all()


@pytest.mark.parametrize("cap", [None, 2])
def test_weighted_atoms_go_through_the_programme_and_equal_masses_through_the_assignment(cap):
    rng = np.random.default_rng(2)
    atoms = np.unique(rng.integers(0, 3, (14, 5)), axis=0)
    distance = np.minimum((atoms[:, None] != atoms[None]).sum(-1), cap or 99)
    k = len(atoms)
    equal = np.r_[np.full(k // 2, 2.0 / k), np.zeros(k - k // 2)], np.r_[np.zeros(k - k // 2), np.full(k // 2, 2.0 / k)]
    repeated = rng.multinomial(9, np.ones(k) / k) / 9, rng.multinomial(9, np.ones(k) / k) / 9
    for p, q in [(rng.dirichlet(np.ones(k)), rng.dirichlet(np.ones(k))), equal, repeated]:
        anchors, g = atom_potential(atoms, p - q, cap)
        cost = np.minimum((atoms[:, None] != anchors[None]).sum(-1), cap or 99)
        f = (g + cost).min(1)
        assert f @ (p - q) == pytest.approx(transport_cost(p, q, distance), abs=1e-9)


@given(st.integers(0, 2**32), st.integers(2, 12), st.sampled_from([None, 2]))
@settings(max_examples=40, deadline=None)
def test_assignment_of_samples_equals_the_coupling_of_their_empirical_laws(seed, n, cap):
    rng = np.random.default_rng(seed)
    space = StateSpace((2, 3, 2), 3)
    p, q = (np.bincount(rng.integers(0, 12, n), minlength=12) / n for _ in range(2))
    metric = HammingWasserstein() if cap is None else BoundedLipschitz()
    value = metric(tabular(p, space), tabular(q, space)).value
    assert value == pytest.approx(lipschitz_lp(space, p, q, cap and cap / 2), abs=1e-8)


def test_too_many_pairs_of_atoms_are_refused_with_the_way_out():
    rng = np.random.default_rng(0)
    atoms = np.unique(rng.integers(0, 9, (2600, 30)), axis=0)
    weights = rng.dirichlet(np.ones(len(atoms)))
    gap = np.where(np.arange(len(atoms)) % 2 == 0, weights, -weights)
    gap[0] -= gap.sum()
    with pytest.raises(ValueError, match="compare samples of equal size"):
        atom_potential(atoms, gap, None)


@pytest.mark.parametrize("extra", [True, False])
def test_4096_states_within_the_promised_time(extra, monkeypatch):
    if extra:
        pytest.importorskip("ortools")
    else:
        monkeypatch.setitem(sys.modules, "ortools.graph.python", None)
    p, q = markov_pair(4, 6, 3)
    space = StateSpace(4, 6)
    start = time.process_time()
    estimate = HammingWasserstein()(tabular(p, space), tabular(q, space))
    spent = time.process_time() - start
    assert spent < (2.0 if extra else 10.0)
    value, witness = HammingWasserstein().exact(space, space.enumerate(), torch.tensor(p), torch.tensor(q))
    f = witness.fn(space.enumerate()).numpy().reshape(space.radices)
    # Feasible: along every axis line the potential varies by at most one.
    assert max(float(np.ptp(f, axis=axis).max()) for axis in range(6)) <= 1.0
    assert estimate.value == pytest.approx(value, abs=1e-9)
    tv, total = TotalVariation()(tabular(p, space), tabular(q, space)).value, PositionTV("sum")
    assert max(tv, total(tabular(p, space), tabular(q, space)).value) <= estimate.value <= 6 * tv


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(4,) * 6, (2, 3, 4, 2, 3, 4, 5), (2,) * 12, (64, 64)])
@pytest.mark.parametrize("metric", [HammingWasserstein(), BoundedLipschitz()], ids=str)
def test_without_the_extra_4096_states_take_under_ten_seconds(metric, sizes, monkeypatch):
    space, rng = StateSpace(sizes, len(sizes)), np.random.default_rng(5)
    n = space.num_states
    dirac = np.zeros(n)
    dirac[0] = 1.0
    pairs = [(rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n))), (dirac, np.full(n, 1.0 / n))]
    for p, q in pairs:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "ortools.graph.python", None)
            start = time.process_time()
            value = metric(tabular(p, space), tabular(q, space)).value
            assert time.process_time() - start < 10.0
        if "ortools" in sys.modules:
            assert metric(tabular(p, space), tabular(q, space)).value == pytest.approx(value, abs=1e-9)
    uniform_distance = sum((size - 1) / size for size in sizes)
    if metric.cap is None:
        assert value == pytest.approx(uniform_distance, abs=1e-9)


@pytest.mark.parametrize("metric", [HammingWasserstein(), BoundedLipschitz()])
@pytest.mark.parametrize("scale", [1e-18, 1e-17, 1e-16, 1e-15, 1e-13, 1e-11])
@pytest.mark.parametrize("extra", [True, False])
def test_laws_that_differ_by_rounding_are_next_to_nothing_apart(metric, scale, extra, monkeypatch):
    if not extra:
        monkeypatch.setattr(transport, "_network", lambda star, supply: None)
    rng = np.random.default_rng(5)
    p = rng.dirichlet(np.ones(243))
    q = np.abs(p + scale * rng.standard_normal(243))
    space = StateSpace(3, 5)
    value = metric(Tabular(torch.tensor(p), space=space), Tabular(torch.tensor(q), space=space)).value
    assert 0.0 <= value <= 5 * (np.abs(p - q).sum() + 1e-13)


def test_masses_of_very_different_size_have_potentials() -> None:
    """A programme that the solver's presolve calls infeasible is feasible: its sides have equal mass."""
    cost = np.array(
        [
            *([1, 2, 2, 1, 2, 2], [1, 2, 2, 2, 2, 2], [2, 1, 2, 2, 2, 1], [2, 2, 2, 2, 2, 2]),
            *([2, 2, 2, 2, 1, 2], [2, 2, 1, 2, 2, 2], [2, 2, 2, 2, 2, 1], [2, 1, 2, 2, 2, 2]),
        ],
        dtype=float,
    )
    supply = np.array(
        [
            *(0.012117483566597718, 2.415859651277416e-08, 0.031677627808359116, 3.631714432514677e-09),
            *(0.007267441793525689, 0.013414323274658309, 1.9793912652811186e-12, 1.4818907805579725e-09),
        ]
    )
    demand = np.array(
        [
            *(0.0378294988188968, 0.000625558233809255, 0.0012817926255771859),
            *(0.007725554259412501, 0.007109602844141187, 0.009904898935484685),
        ]
    )
    potential = _programme(cost, supply, demand)
    # Any potential is dual feasible by f(x) = min over y of cost + potential; the optimal one attains the primal.
    value = float(supply @ (cost + potential).min(1) - demand @ potential)
    balance = np.vstack([np.kron(np.eye(8), np.ones(6)), np.kron(np.ones(8), np.eye(6))[:-1]])
    sides = np.r_[supply, demand[:-1]] * 1e3
    primal = linprog(cost.ravel(), A_eq=balance, b_eq=sides, method="highs-ipm", options={"presolve": False})
    assert value == pytest.approx(primal.fun / 1e3, rel=1e-6)
