from __future__ import annotations

import math
import time

import numpy as np
import oracles
import pytest
import torch
from exactness import assert_draws_follow, assert_evidence_is_the_sum, assert_is_the_law
from hypothesis import given, settings
from hypothesis import strategies as st

from ddm_pyro.targets import MarkovChain, PottsChain


def random_chain(states, length, seed, homogeneous, zeros=0.3):
    rng = np.random.default_rng(seed)

    def rows(*shape):
        weights = rng.gamma(0.8, size=shape) * (rng.random(shape) > zeros)
        weights[..., -1] += 1e-3
        return weights / weights.sum(-1, keepdims=True)

    initial = rows(states)
    return initial, rows(states, states) if homogeneous else rows(length - 1, states, states)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6), st.booleans())
def test_markov_chain_against_enumeration(states, length, seed, homogeneous):
    initial, transition = random_chain(states, length, seed, homogeneous)
    steps = [transition] * (length - 1) if homogeneous else list(transition)
    pmf = oracles.chain_pmf(initial, steps, (states,) * length)
    assert_is_the_law(MarkovChain(initial, transition, length), pmf, seed)


@pytest.mark.parametrize("homogeneous", [True, False])
def test_markov_chain_draws(homogeneous):
    initial, transition = random_chain(3, 4, 1, homogeneous)
    steps = [transition] * 3 if homogeneous else list(transition)
    torch.manual_seed(0)
    x = MarkovChain(initial, transition, 4).sample((20000,))
    assert_draws_follow(x, oracles.chain_pmf(initial, steps, (3,) * 4), (3,) * 4)


def test_a_long_chain_is_quick_and_exact_at_a_bridge():
    # Seen only at its two ends: p(x_l | x_0 = a, x_L-1 = b) = P^l[a, .] P^(L-1-l)[., b] / P^(L-1)[a, b].
    initial, transition = random_chain(4, 1024, 7, True, zeros=0.0)
    target = MarkovChain(initial, transition, 1024)
    evidence = torch.zeros(8, 1024, 4, dtype=torch.float64)
    evidence[:, 0] = torch.tensor([-torch.inf, 0.0, -torch.inf, -torch.inf])
    evidence[:, -1] = torch.tensor([-torch.inf, -torch.inf, 0.0, -torch.inf])
    start = time.process_time()
    found = target.posterior(evidence).exp()
    assert time.process_time() - start < 5.0
    power = np.linalg.matrix_power
    for position in (0, 1, 500, 1021, 1023):
        bridge = (
            power(transition, position)[1] * power(transition, 1023 - position)[:, 2] / power(transition, 1023)[1, 2]
        )
        np.testing.assert_allclose(found[3, position].numpy(), bridge, atol=1e-12)


def test_strong_evidence_does_not_underflow():
    # Two states that never change, evidence for state 0 by e^-600 at every other site and against it elsewhere.
    target = MarkovChain([0.5, 0.5], torch.eye(2), 40)
    evidence = torch.zeros(1, 40, 2, dtype=torch.float64)
    evidence[:, ::2, 0] = -600.0
    evidence[:, 1::2, 1] = -600.0 - math.log(3.0) / 20
    np.testing.assert_allclose(target.posterior(evidence).exp()[0].numpy(), [[0.75, 0.25]] * 40, atol=1e-10)


def test_one_state_pinned_by_an_impossible_evidence_elsewhere():
    # The forward message has a zero where the evidence peaks: only what is possible sets the scale.
    target = MarkovChain([0.0, 1.0], torch.eye(2), 2)
    evidence = torch.tensor([[[0.0, -5000.0], [0.0, 0.0]]], dtype=torch.float64)
    np.testing.assert_allclose(target.posterior(evidence).exp()[0].numpy(), [[0, 1], [0, 1]], atol=1e-15)


def test_marginals():
    initial, transition = random_chain(3, 4, 2, False)
    pmf = oracles.chain_pmf(initial, list(transition), (3,) * 4).reshape((3,) * 4)
    found = MarkovChain(initial, transition, 4).marginals()
    np.testing.assert_allclose(found[2].numpy(), pmf.sum((0, 1, 3)), atol=1e-13)


@pytest.mark.parametrize(
    ("initial", "transition", "length", "words"),
    [
        ([0.5, 0.6], np.eye(2), 3, "initial sums to 1.1"),
        ([0.5, 0.5], [[0.5, 0.5], [0.5, 0.4]], 3, "transition sums to 0.9 in row 1"),
        ([0.5, 0.5], [[1.5, -0.5], [0.5, 0.5]], 3, "-0.5"),
        ([0.5, 0.5], [[float("nan"), 0.5], [0.5, 0.5]], 3, "nan"),
        ([0.5, 0.5], np.eye(3), 3, r"\(3, 3\).*\(2, 2\)"),
        ([0.5, 0.5], np.stack([np.eye(2)] * 3), 3, r"\(3, 2, 2\).*\(2, 2, 2\)"),
        ([[0.5, 0.5]], np.eye(2), 3, "initial has shape"),
        ([0.5, 0.5], np.eye(2), 0, "length=0"),
    ],
)
def test_markov_chain_refuses(initial, transition, length, words):
    with pytest.raises(ValueError, match=words):
        MarkovChain(initial, transition, length)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.floats(-2.5, 2.5), st.booleans())
def test_potts_against_enumeration(states, length, coupling, periodic):
    target = PottsChain(num_states=states, length=length, coupling=coupling, periodic=periodic)
    pmf = oracles.potts_pmf(states, length, coupling, periodic)
    assert_is_the_law(target, pmf, length)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.floats(-2.5, 2.5), st.booleans())
def test_information_curve_against_enumeration(states, length, coupling, periodic):
    target = PottsChain(num_states=states, length=length, coupling=coupling, periodic=periodic)
    pmf = oracles.potts_pmf(states, length, coupling, periodic).reshape((states,) * length)
    curve = oracles.information_curve(pmf)
    np.testing.assert_allclose(target.information_curve().numpy(), curve, atol=1e-11)
    mutual = length * (curve[0] - curve[-1])
    total = length * curve[0] - oracles.entropy(pmf)
    assert float(target.total_mutual_information()) == pytest.approx(mutual, abs=1e-10)
    assert float(target.total_correlation()) == pytest.approx(total, abs=1e-10)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("length", [32, 257])
def test_the_curve_sums_to_the_entropy(length, periodic):
    target = PottsChain(num_states=3, length=length, coupling=0.8, periodic=periodic)
    assert float(target.information_curve().sum()) == pytest.approx(float(target.entropy()), rel=1e-12)


def test_published_information_curve():
    curve = PottsChain(num_states=4, length=8, coupling=1.0).information_curve()
    printed = "1.38629436 1.35410266 1.32337033 1.29400029 1.26590480 1.23900414 1.21322561 1.18850263"
    np.testing.assert_allclose(curve.numpy(), [float(value) for value in printed.split()], atol=5.1e-9)
    curve = PottsChain(num_states=4, length=32, coupling=1.0).information_curve()
    np.testing.assert_allclose(
        curve[[0, 1, 15, 31]].numpy(), [1.38629436, 1.37814895, 1.27250921, 1.16855291], atol=5.1e-9
    )


def test_published_information_totals():
    chain = PottsChain(num_states=4, length=32, coupling=1.0)
    assert float(chain.total_mutual_information()) == pytest.approx(6.967726498953, abs=5.1e-13)
    assert float(chain.total_correlation()) == pytest.approx(3.657778874206, abs=5.1e-13)
    assert float(PottsChain(num_states=4, length=256, coupling=1.0).total_mutual_information()) == pytest.approx(
        57.2314, abs=5.1e-5
    )


@pytest.mark.parametrize(
    ("coupling", "printed", "error"),
    [
        (0.25, 0.391735, 5.1e-7),
        (0.5, 1.65918, 5.1e-6),
        (1, 6.96773, 5.1e-6),
        (1.5, 14.9954, 5.1e-5),
        (2, 23.5244, 5.1e-5),
        (3, 35.825, 5.1e-4),
    ],
)
def test_published_coupling_sweep(coupling, printed, error):
    chain = PottsChain(num_states=4, length=32, coupling=coupling)
    assert float(chain.total_mutual_information()) == pytest.approx(printed, abs=error)


def step_error(chain, parts):
    """Factorisation error of a reveal schedule from the information curve (the notes' exact formula)."""
    curve = chain.information_curve().numpy()
    total, seen = 0.0, 0
    for size in parts:
        total += sum(curve[seen] - curve[seen + k] for k in range(size))
        seen += size
    return total


def balanced(length, steps):
    return [length // steps + (step < length % steps) for step in range(steps)]


@pytest.mark.parametrize(
    ("length", "steps", "printed"),
    [
        (8, 1, 0.825950), (8, 2, 0.344392), (8, 4, 0.113185), (8, 8, 0.0),
        (16, 1, 1.769893), (16, 2, 0.804669), (16, 4, 0.340271), (16, 8, 0.112658), (16, 16, 0.0),
        (32, 1, 3.657779), (32, 2, 1.725419), (32, 4, 0.794767), (32, 8, 0.338377), (32, 16, 0.112419), (32, 32, 0.0),
        (256, 64, 0.336805), (256, 128, 0.112223), (256, 32, 0.786517),
    ],
)  # fmt: skip
def test_published_reveal_errors(length, steps, printed):
    chain = PottsChain(num_states=4, length=length, coupling=1.0)
    assert step_error(chain, balanced(length, steps)) == pytest.approx(printed, abs=5.1e-7)


@pytest.mark.parametrize(
    ("parts", "printed"),
    [
        ([1] * 24 + [8], 0.175644),
        ([8] + [1] * 24, 0.223407),
        ([1, 2, 3, 4, 5, 7, 10], 0.580344),
        ([10, 7, 5, 4, 3, 2, 1], 0.639908),
        ([4, 4, 4, 5, 5, 5, 5], 0.405003),
        ([7, 7, 6, 6, 6], 0.620377),
        ([6, 6, 6, 7, 7], 0.611354),
    ],
)
def test_published_unbalanced_errors(parts, printed):
    assert step_error(PottsChain(num_states=4, length=32, coupling=1.0), parts) == pytest.approx(printed, abs=5.1e-7)


@pytest.mark.parametrize(
    ("states", "free", "ring"),
    [
        (2, 0.302251, 0.310974),
        (3, 0.347127, 0.357553),
        (4, 0.338377, 0.348760),
        (8, 0.251059, 0.259008),
        (16, 0.153364, 0.158282),
    ],
)
def test_published_errors_on_line_and_ring(states, free, ring):
    for periodic, printed in ((False, free), (True, ring)):
        chain = PottsChain(num_states=states, length=32, coupling=1.0, periodic=periodic)
        assert step_error(chain, balanced(32, 8)) == pytest.approx(printed, abs=5.1e-7)


@pytest.mark.parametrize("periodic", [True, False])
def test_potts_draws(periodic):
    target = PottsChain(num_states=3, length=4, coupling=-0.9, periodic=periodic)
    torch.manual_seed(3)
    assert_draws_follow(target.sample((20000,)), oracles.potts_pmf(3, 4, -0.9, periodic), (3,) * 4)


def test_ring_of_repelling_pairs_is_frustrated_without_cancellation():
    # K = 2, L = 3: six states with one agreeing pair and two with three, weights e^J and e^3J.
    target = PottsChain(num_states=2, length=3, coupling=-50.0, periodic=True)
    assert float(target.log_prob(torch.tensor([0, 0, 1]))) == pytest.approx(-math.log(6), abs=1e-12)
    assert float(target.log_prob(torch.tensor([1, 1, 1]))) == pytest.approx(-math.log(6) - 100, abs=1e-10)
    assert float(target.entropy()) == pytest.approx(math.log(6), abs=1e-12)
    # Seen both others: certain unless they disagree (2 of 3), then either value is as likely.
    np.testing.assert_allclose(target.information_curve()[2], 2 / 3 * math.log(2), atol=1e-12)


@pytest.mark.parametrize("coupling", [300.0, -300.0, 40.0])
@pytest.mark.parametrize("periodic", [True, False])
def test_extreme_couplings_stay_finite(coupling, periodic):
    target = PottsChain(num_states=3, length=5, coupling=coupling, periodic=periodic)
    found = target.posterior(torch.zeros(1, 5, 3, dtype=torch.float64)).exp()
    np.testing.assert_allclose(found.numpy(), 1 / 3, atol=1e-12)
    assert float(target.information_curve().sum()) == pytest.approx(float(target.entropy()), abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"coupling": float("nan")}, "coupling=nan"),
        ({"coupling": float("inf")}, "coupling=inf"),
        ({"coupling": 301.0}, "coupling=301.0"),
        ({"num_states": 0}, "num_states=0"),
        ({"length": -1}, "length=-1"),
    ],
)
def test_potts_refuses(arguments, words):
    with pytest.raises(ValueError, match=words):
        PottsChain(**{"num_states": 3, "length": 4, "coupling": 1.0, **arguments})


@pytest.mark.parametrize(
    "target",
    [
        MarkovChain([0.2, 0.5, 0.3], [[0.5, 0.5, 0.0], [0.1, 0.2, 0.7], [0.3, 0.3, 0.4]], length=4),
        MarkovChain([0.2, 0.8], [[0.5, 0.5], [0.1, 0.9]], length=1),
        PottsChain(num_states=3, length=4, coupling=0.7),
        PottsChain(num_states=3, length=4, coupling=-0.7, periodic=True),
        PottsChain(num_states=2, length=2, coupling=1.3, periodic=True),
    ],
    ids=str,
)
def test_evidence_of_a_product_likelihood(target):
    assert_evidence_is_the_sum(target)
