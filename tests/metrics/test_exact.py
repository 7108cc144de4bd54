from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics.oracles import (
    SPACES,
    block_lp,
    hamming,
    lipschitz_lp,
    mmd_dense,
    random_pmf,
    states,
    tabular,
    tv_lp,
)
from naming import name_of

from ddm_pyro.distributions import Tabular
from ddm_pyro.metrics import (
    BlockTV,
    BoundedLipschitz,
    HammingMMD,
    HammingWasserstein,
    KernelMMD,
    PositionTV,
    TotalVariation,
)
from ddm_pyro.spaces import StateSpace


def ordinal_kernel(x, y):
    return torch.exp(-(x[:, None] - y[None]).abs().double().sum(-1) / 3.0)


METRICS = [
    TotalVariation(),
    PositionTV("max"),
    PositionTV("mean"),
    PositionTV("sum"),
    BlockTV(),
    BlockTV(n=2, reduce="sum"),
    BlockTV(n=3, reduce="mean"),
    BoundedLipschitz(),
    HammingWasserstein(),
    HammingMMD(),
    HammingMMD(bandwidth=0.7),
    KernelMMD(ordinal_kernel, bound=1.0, nonnegative=True),
]


def oracle(metric, space, p, q):
    length = space.length
    if isinstance(metric, TotalVariation):
        return tv_lp(space, p, q)
    if isinstance(metric, (PositionTV, BlockTV)):
        width = 1 if isinstance(metric, PositionTV) else min(metric.n, length)
        blocks = [tuple(range(i, i + width)) for i in range(length - width + 1)]
        if metric.reduce == "max":
            return max(block_lp(space, p, q, [block]) for block in blocks)
        return block_lp(space, p, q, blocks) / (len(blocks) if metric.reduce == "mean" else 1)
    if isinstance(metric, BoundedLipschitz):
        return lipschitz_lp(space, p, q, bound=1.0)
    if isinstance(metric, HammingWasserstein):
        return lipschitz_lp(space, p, q, bound=None)
    if isinstance(metric, HammingMMD):
        return mmd_dense(space, p, q, metric.bandwidth or length)
    x = space.enumerate().double().numpy()
    kernel = np.exp(-np.abs(x[:, None] - x[None]).sum(-1) / 3.0)
    return np.sqrt(max(0.0, (p - q) @ kernel @ (p - q)))


@pytest.mark.parametrize("space", SPACES, ids=name_of)
@pytest.mark.parametrize("metric", METRICS, ids=name_of)
def test_value_and_witness_agree_with_the_definition(metric, space):
    rng = np.random.default_rng(7)
    for zeros in (0.0, 0.6):
        p, q = random_pmf(rng, space.num_states, zeros), random_pmf(rng, space.num_states, zeros)
        estimate = metric(tabular(p, space), tabular(q, space))
        expected = oracle(metric, space, p, q)
        assert estimate.value == pytest.approx(expected, abs=2e-8)
        assert estimate.kind == "exact"
        assert estimate.lcb == estimate.ucb == estimate.value
        everything = space.enumerate()
        value, witness = metric.exact(space, everything, torch.tensor(p), torch.tensor(q))
        f = witness.fn(everything).numpy()
        assert value == pytest.approx(expected, abs=2e-8)
        assert (p - q) @ f == pytest.approx(expected, abs=2e-8)
        assert np.ptp(f) <= witness.osc + 1e-12
        assert witness.osc <= 2 * metric.constant(space) + 1e-12


@pytest.mark.parametrize("space", SPACES, ids=name_of)
@pytest.mark.parametrize("metric", [HammingWasserstein(), BoundedLipschitz()], ids=name_of)
def test_transport_witnesses_are_lipschitz_everywhere_even_off_the_atoms(metric, space):
    rng = np.random.default_rng(3)
    everything, distance = space.enumerate(), hamming(space)
    for k in (1, 2, 5):
        kept = torch.from_numpy(np.sort(rng.choice(space.num_states, min(k, space.num_states), replace=False)))
        p, q = random_pmf(rng, len(kept), 0.0), random_pmf(rng, len(kept), 0.0)
        value, witness = metric.exact(space, everything[kept], torch.tensor(p), torch.tensor(q))
        f = witness.fn(everything).numpy()
        assert (np.abs(f[:, None] - f[None]) <= np.minimum(distance, metric.cap or distance) + 1e-12).all()
        assert np.ptp(f) <= witness.osc + 1e-12
        whole_p, whole_q = np.zeros(space.num_states), np.zeros(space.num_states)
        whole_p[kept.numpy()], whole_q[kept.numpy()] = p, q
        assert value == pytest.approx(lipschitz_lp(space, whole_p, whole_q, metric.cap and metric.cap / 2), abs=2e-8)


@pytest.mark.parametrize("space", SPACES, ids=name_of)
@pytest.mark.parametrize("metric", METRICS, ids=name_of)
def test_the_constant_is_half_the_largest_distance_of_two_dirac_laws(metric, space):
    everything, one = space.enumerate(), torch.eye(2, dtype=torch.float64)
    pairs = itertools.combinations(range(space.num_states), 2)
    largest = max((metric.exact(space, everything[list(pair)], one[0], one[1])[0] for pair in pairs), default=0.0)
    assert metric.constant(space) == pytest.approx(largest / 2, abs=1e-12)


def test_constants_of_the_table():
    space = StateSpace(4, 6)
    assert TotalVariation().constant(space) == PositionTV().constant(space) == BlockTV().constant(space) == 0.5
    assert PositionTV("sum").constant(space) == HammingWasserstein().constant(space) == 3.0
    assert BlockTV(((0, 1), (2, 3), (4, 5)), reduce="sum").constant(space) == 1.5
    assert BoundedLipschitz().constant(space) == 1.0
    assert BoundedLipschitz().constant(StateSpace(4, 1)) == 0.5
    assert HammingMMD(bandwidth=3.0).constant(space) == pytest.approx(((1 - np.exp(-2.0)) / 2) ** 0.5)
    assert TotalVariation().constant(StateSpace(None, 2)) == 0.5
    assert HammingWasserstein().constant(StateSpace(None, 4)) == 2.0


LATTICE_SPACES = [StateSpace(2, 3), StateSpace((2, 3, 2), 3), StateSpace(3, 2), StateSpace((1, 4), 2), StateSpace(4, 1)]


@given(st.integers(0, 2**32), st.sampled_from(LATTICE_SPACES), st.sampled_from([0.3, 1.0, 4.0]))
@settings(max_examples=60, deadline=None)
def test_lattice_of_inequalities(seed, space, sigma):
    rng = np.random.default_rng(seed)
    p, q = (tabular(random_pmf(rng, space.num_states), space) for _ in range(2))
    value = {str(m): m(p, q).value for m in METRICS}
    tv, w1, bl = (m(p, q).value for m in (TotalVariation(), HammingWasserstein(), BoundedLipschitz()))
    top, total, block = (m(p, q).value for m in (PositionTV(), PositionTV("sum"), BlockTV()))
    mmd, rho = HammingMMD(sigma), np.exp(-1 / sigma)
    ulp = 1e-9
    assert top <= block + ulp
    assert block <= tv + ulp
    assert tv <= bl + ulp
    assert bl <= min(w1, 2 * tv) + ulp
    assert total <= w1 + ulp
    assert w1 <= space.length * tv + ulp
    assert mmd(p, q).value <= 2 * mmd.constant(space) * tv + ulp
    assert mmd(p, q).value <= np.sqrt(2 * (1 - rho)) * w1 + ulp
    for metric in METRICS:
        assert value[str(metric)] <= 2 * metric.constant(space) * tv + ulp


@given(st.integers(0, 2**32), st.sampled_from(LATTICE_SPACES), st.sampled_from(METRICS))
@settings(max_examples=80, deadline=None)
def test_axioms_of_an_ipm(seed, space, metric):
    rng = np.random.default_rng(seed)
    p, q, r = (random_pmf(rng, space.num_states) for _ in range(3))

    def d(a, b):
        return metric(tabular(a, space), tabular(b, space)).value

    eps = rng.random()
    assert d(p, p) == 0.0
    assert d(p, q) == pytest.approx(d(q, p), abs=1e-8)
    assert d(p, (1 - eps) * p + eps * q) == pytest.approx(eps * d(p, q), abs=1e-8)
    assert d(p, q) <= d(p, r) + d(r, q) + 1e-8
    middle = (p + q) / 2
    assert d(p, middle) + d(middle, q) == pytest.approx(d(p, q), abs=1e-8)


def test_total_variation_contracts_under_a_kernel():
    rng = np.random.default_rng(5)
    space = StateSpace((2, 3), 2)
    kernel = rng.dirichlet(np.ones(6) * 0.3, size=6)
    p, q = random_pmf(rng, 6), random_pmf(rng, 6)
    before = TotalVariation()(tabular(p, space), tabular(q, space)).value
    assert TotalVariation()(tabular(p @ kernel, space), tabular(q @ kernel, space)).value <= before + 1e-12


def test_total_variation_halves_the_bound_on_functions_of_norm_one():
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.2, 0.7])
    space = StateSpace(3, 1)
    best = max(float((p - q) @ np.array(f)) for f in itertools.product([-1.0, 1.0], repeat=3))
    assert TotalVariation()(tabular(p, space), tabular(q, space)).value == pytest.approx(best / 2)


def test_listed_atoms_in_a_space_too_large_to_enumerate():
    space = StateSpace(50_000, 40)
    rng = np.random.default_rng(1)
    atoms = torch.from_numpy(rng.integers(0, 50_000, (6, 40)))
    atoms[1] = atoms[0]
    atoms[1, :3] += 1
    p = Tabular(atoms=atoms[[0, 2, 3]], probs=torch.tensor([0.5, 0.3, 0.2]), space=space)
    q = Tabular(atoms=atoms[[1, 2, 4]], probs=torch.tensor([0.5, 0.3, 0.2]), space=space)
    assert TotalVariation()(p, q).value == pytest.approx(0.7)
    far = int((atoms[3] != atoms[4]).sum())
    assert HammingWasserstein()(p, q).value == pytest.approx(0.5 * 3 + 0.2 * far)
    assert BoundedLipschitz()(p, q).value == pytest.approx(1.4)
    gap = np.array([0.5, -0.5, 0.2, -0.2])
    x = atoms[[0, 1, 3, 4]].numpy()
    kernel = np.exp(-(x[:, None] != x[None]).sum(-1) / 5.0)
    assert HammingMMD(5.0)(p, q).value == pytest.approx(np.sqrt(gap @ kernel @ gap))


def test_states_follow_the_index_order_of_the_space():
    space = StateSpace((2, 3), 2, mask=True)
    digits = torch.tensor(states(space))
    tokens = torch.where(digits == torch.tensor([2, 3]), 3, digits)
    assert torch.equal(space.enumerate(), tokens)


def test_unknown_options_and_blocks_are_refused():
    with pytest.raises(ValueError, match="reduce='median' must be one of max, mean, sum"):
        PositionTV("median")
    with pytest.raises(ValueError, match="reach past the length 2"):
        BlockTV(((0, 2),)).blocks(StateSpace(2, 2))
    with pytest.raises(ValueError, match="distinct positions"):
        BlockTV(((0, 0),))
    with pytest.raises(ValueError, match=r"bandwidth=0\.0 must be a positive"):
        HammingMMD(bandwidth=0.0)
    with pytest.raises(ValueError, match="method='fast'"):
        HammingMMD(method="fast")
    with pytest.raises(ValueError, match="must be a positive number"):
        KernelMMD(ordinal_kernel, bound=-1.0)
