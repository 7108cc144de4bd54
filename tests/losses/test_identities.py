"""Every bound's integral at the truth, on spaces small enough to enumerate."""

from __future__ import annotations

import itertools

import numpy as np
import oracles
import pytest
import torch
from loss_worlds import Diluted, Tilted, World, world

from ddm_pyro import losses

KINDS = ["uniform", "masked", "rank-one", "dense"]
SCHEDULES = ["linear", "log-linear", "cosine", "geometric", "constant"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_is_the_conditional_entropy_at_the_truth(kind, schedule):
    small = world(kind, schedule)
    for loss in (losses.NELBO(), losses.ScoreEntropy()):
        assert float(small.integral(loss, small.exact)) == pytest.approx(small.conditional_entropy(), abs=2e-7)


def test_the_generalised_kl_bounds_and_is_tight_for_masks():
    masked = world("masked", "log-linear")
    value = masked.integral(losses.GeneralizedKL(), masked.exact)
    assert float(value) == pytest.approx(masked.conditional_entropy(), abs=2e-7)
    for kind in ("uniform", "rank-one"):
        small = world(kind, "log-linear")
        assert float(small.integral(losses.GeneralizedKL(), small.exact)) > small.conditional_entropy() + 0.1


@pytest.mark.parametrize("kind", ["uniform", "rank-one"])
def test_the_generalised_kl_is_the_divergence_of_mixture_path_rates(kind):
    small, t = world(kind, "constant"), 0.1
    x0, xt, _ = small.pairs(t)
    pace = 8.0 / np.expm1(8.0 * t)  # -alpha' / (1 - alpha)
    p = small.exact.x0_log_probs(xt, torch.full((len(x0),), t, dtype=torch.float64)).exp().numpy()
    expected = np.zeros(len(x0))
    for row in range(len(x0)):
        for position in range(2):
            for y in range(3):
                if y != xt[row, position]:
                    a, b = float(y == x0[row, position]), p[row, position, y]
                    expected[row] += pace * (b - a + (a * np.log(a / b) if a else 0.0))
    found = losses.GeneralizedKL()(small.exact, x0, xt, torch.full((len(x0),), t, dtype=torch.float64))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("kind", ["uniform", "masked"])
@pytest.mark.parametrize("sizes", [(1,), (2,), (5,), (1, 4), (2, 1, 3)])
def test_alphabets_that_differ_and_laws_with_zeros(kind, sizes):
    weights = np.arange(int(np.prod(sizes)), dtype=float) % 3
    pmf = oracles.normalized(weights + (weights.sum() == 0)).reshape(sizes)
    small = world(kind, "linear", sizes, pmf)
    assert float(small.integral(losses.NELBO(), small.exact)) == pytest.approx(oracles.entropy(pmf), abs=2e-7)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_masked_numbers_of_the_theory_notes(schedule):
    small = world("masked", schedule, (3, 3, 3), oracles.hash_pmf(3, 3))
    truth = float(small.integral(losses.NELBO(), small.exact))
    assert truth == pytest.approx(3.164312270304, abs=1e-8)
    diluted = float(small.integral(losses.NELBO(), Diluted(small.exact, 0.1)))
    assert diluted - truth == pytest.approx(0.00186075, abs=5e-9)


def test_the_uniform_numbers_of_the_theory_notes():
    small = world("uniform", "constant", (3, 3, 3), oracles.hash_pmf(3, 3))
    x0 = torch.from_numpy(oracles.sequences(small.sizes))
    loss = losses.NELBO()
    start = (torch.from_numpy(small.pmf.ravel()) * loss.constant(small.process, x0)).sum()
    assert float(small.integral(loss, small.exact, nodes=120) + start) == pytest.approx(3.1643122716, abs=1e-9)


def test_the_constants_between_kinds_of_the_theory_notes():
    small = world("uniform", "constant", (3, 3, 3), oracles.hash_pmf(3, 3))
    t, clock = 0.5 / 8, 8.0  # the notes run at rate 1
    ones = Tilted(small.exact, "score", torch.zeros(27, 3, 3, dtype=torch.float64))
    ones.log_score = lambda x, t: torch.zeros(*x.shape, 3, dtype=torch.float64)
    explicit = losses.ScoreEntropy("explicit", exact=small.exact)
    value = small.mean(explicit, ones, t) / clock
    assert float(value) == pytest.approx(0.0473795, abs=5e-8)
    assert float(small.mean(losses.ScoreEntropy(), ones, t)) / clock - float(value) == pytest.approx(2.04773, abs=5e-6)
    squares = losses.ScoreMatching("explicit", exact=small.exact)
    gap = small.mean(losses.ScoreMatching(), ones, t) - small.mean(squares, ones, t)
    assert float(gap) / clock == pytest.approx(6.51075, abs=5e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("primary", ["x0", "score"])
def test_kinds_differ_by_a_constant(kind, primary):
    small = world(kind, "geometric")
    space = small.process.space
    torch.manual_seed(1)
    for name, other in itertools.product((losses.ScoreEntropy, losses.ScoreMatching), ("denoising", "implicit")):
        gaps = []
        for scale in (0.0, 0.3, 1.0):
            shape = (space.num_states, space.length, space.vocab_size if primary == "x0" else space.num_symbols)
            model = Tilted(small.exact, primary, scale * torch.randn(shape, dtype=torch.float64))
            value = small.mean(name(other), model, 0.4)
            gaps.append(float(value - small.mean(name("explicit", exact=small.exact), model, 0.4)))
        assert gaps[1:] == pytest.approx(gaps[:1] * 2, rel=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", ["uniform", "masked"])
def test_the_implicit_kinds_lack_the_moments_of_the_true_ratios(kind, schedule):
    """explicit - implicit = E sum_y R[y, x] K(r), and E sum_y R[y, x] r^2, whatever the model."""
    small, t = world(kind, schedule, (3, 2) if kind == "uniform" else (2, 2)), 0.3
    torch.manual_seed(2)
    model = Tilted(small.exact, theta=torch.randn(Tilted(small.exact).theta.shape, dtype=torch.float64))
    p = small.pmf.ravel() @ small.kernel(t)
    width = [len(matrix) for matrix in small.matrices]
    states = oracles.sequences(width)
    pace = float(small.process.schedule.rate(t))
    entropy = squares = 0.0
    for x, y in itertools.permutations(range(len(states)), 2):
        differing = np.flatnonzero(states[x] != states[y])
        if len(differing) == 1 and p[x] > 0:
            at = differing[0]
            rate, r = pace * small.matrices[at][states[y, at], states[x, at]], p[y] / p[x]
            entropy += p[x] * rate * r * (np.log(r) - 1) if rate * r > 0 else 0.0
            squares += p[x] * rate * r**2
    for name, expected in ((losses.ScoreEntropy, entropy), (losses.ScoreMatching, squares)):
        explicit = small.mean(name("explicit", exact=small.exact), model, t)
        assert float(explicit - small.mean(name("implicit"), model, t)) == pytest.approx(expected, rel=1e-9, abs=1e-11)


def test_the_implicit_constant_of_the_theory_notes():
    small = world("uniform", "constant", (3, 3, 3), oracles.hash_pmf(3, 3))
    explicit = small.mean(losses.ScoreEntropy("explicit", exact=small.exact), small.exact, 0.5 / 8) / 8
    implicit = small.mean(losses.ScoreEntropy("implicit"), small.exact, 0.5 / 8) / 8
    assert float(implicit - explicit) == pytest.approx(1.95262, abs=5e-6)


def test_masked_explicit_entropy_is_the_likelihood_gap():
    small = world("masked", "cosine", (3, 3, 3), oracles.hash_pmf(3, 3))
    loss = losses.ScoreEntropy("explicit", exact=small.exact)
    assert float(small.integral(loss, Diluted(small.exact, 0.1))) == pytest.approx(0.00186075, abs=5e-9)


def test_the_constant_is_the_divergence_from_the_prior():
    small = world("dense", "geometric")
    p = small.kernel(1.0)
    stationary = np.linalg.matrix_power(np.eye(3) + small.matrices[0] / 10, 10_000)[0]
    prior = np.kron(stationary, stationary)
    x0 = torch.from_numpy(oracles.sequences(small.sizes))
    value = losses.NELBO().constant(small.process, x0)
    np.testing.assert_allclose(value.numpy(), (p * np.log(p / prior)).sum(-1), atol=1e-10)


def test_the_constant_of_a_masked_process_is_zero_or_infinite():
    x0 = torch.tensor([[0, 1], [2, 2]])
    assert losses.NELBO().constant(world("masked", "linear").process, x0).tolist() == [0.0, 0.0]
    assert losses.NELBO().constant(world("masked", "log-linear").process, x0).isinf().all()


def test_a_wrong_weight_of_time_would_be_seen():
    small: World = world("uniform", "constant")
    loss = losses.NELBO()

    def skewed(model, x0, xt, t):
        return loss(model, x0, xt, t) * 2 * t

    assert abs(float(small.integral(skewed, small.exact)) - small.conditional_entropy()) > 0.1
