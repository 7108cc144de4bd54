"""Bounds on likelihoods against enumeration."""

from __future__ import annotations

import math

import birth_death
import loss_worlds
import numpy as np
import oracles
import pytest
import torch
from loss_worlds import Tilted, world
from scipy.linalg import expm
from scipy.stats import binom, norm, poisson

from ddm_pyro import likelihood, losses, push, schedules
from ddm_pyro.likelihood import NegativeLogLikelihood, exact_nll, nll_bound
from ddm_pyro.samplers import Ancestral, KUnmask, TauLeaping

FALSE_ALARM = 2e-5


def skewed(kind, schedule, sizes=(2, 3)):
    return world(kind, schedule, sizes, oracles.normalized(np.arange(1.0, np.prod(sizes) + 1) ** 2).reshape(sizes))


def tilted(small, primary="x0", scale=0.5):
    torch.manual_seed(9)
    shape = Tilted(small.exact, primary).theta.shape
    return Tilted(small.exact, primary, scale * torch.randn(shape, dtype=torch.float64))


KINDS = ["uniform", "masked", "rank-one", "dense"]
BOUNDS = [
    losses.NELBO(),
    losses.ScoreEntropy(),
    losses.DiscreteNELBO(3),
    losses.DiscreteNELBO(3, sampler=TauLeaping()),
    losses.GeneralizedKL(),
    losses.MaskSizeWeighted((2, 1)),
]
CASES = [
    (kind, primary, loss)
    for kind in KINDS
    for primary in ("x0", "score")
    for loss in BOUNDS
    if not (isinstance(loss, losses.MaskSizeWeighted) and (kind != "masked" or primary == "score"))
    and not (isinstance(loss, losses.GeneralizedKL) and (kind == "dense" or primary == "score"))
    and not (isinstance(loss, losses.DiscreteNELBO) and isinstance(loss.sampler, Ancestral) and primary == "score")
]
ENDS = {"uniform": "cosine", "masked": "linear", "rank-one": "constant", "dense": "geometric"}


@pytest.mark.parametrize(("kind", "primary", "loss"), CASES, ids=repr)
def test_every_bound_is_estimated_without_bias(kind, primary, loss):
    """Every loss that is a bound, every noise, both heads: against quadrature, or the grid's sum, of exact means."""
    sizes = (2, 2, 2) if kind == "masked" else (3, 3) if kind == "dense" else (2, 3)
    schedule = ENDS[kind]
    if (kind == "uniform" and primary == "score") or isinstance(loss, losses.DiscreteNELBO):
        schedule = "constant"  # an infinite rate at t = 1 makes a score that is off infinitely bad
    small = skewed(kind, schedule, sizes)
    model, x0 = tilted(small, primary), torch.from_numpy(oracles.sequences(sizes))
    if kind == "masked" and schedule == "constant":
        small = given_masks(small)
    found = nll_bound(model, x0, loss=loss, samples=1500, seed=3)
    total = 0.0
    for row, weight in zip(range(len(x0)), small.pmf.ravel(), strict=True):
        total += weight * float(found.value[row])
    if isinstance(loss, losses.DiscreteNELBO):
        exact = float(torch.stack([small.mean(loss, model, k / 3) for k in (1, 2, 3)]).mean())
    else:
        exact = float(small.integral(loss, model, nodes=60))
    if kind != "masked":
        exact += float((torch.from_numpy(small.pmf.ravel()) * loss.constant(small.process, x0)).sum())
    error = float((torch.from_numpy(small.pmf.ravel()) * found.stderr).square().sum().sqrt())
    assert abs(total - exact) < norm.isf(FALSE_ALARM / 2) * error
    assert error < 0.25


def given_masks(small):
    """The same world noised on the way to all masks: q(x_t | x_0, x_1), by Bayes' rule from matrix exponentials."""
    sigma, plain = small.sigma, small.kernel

    def kernel(t):
        onward = np.ones((1, 1))
        for matrix in small.matrices:
            onward = np.kron(onward, expm((sigma(1.0) - sigma(t)) * matrix))
        joint = plain(t) * onward[:, -1]
        return joint / joint.sum(1, keepdims=True)

    small.kernel = kernel
    return small


@pytest.mark.parametrize("schedule", ["log-linear", "geometric", "constant", "short"])
@pytest.mark.parametrize("primary", ["x0", "score"])
def test_masks_that_some_tokens_outlive_have_a_tight_bound_too(monkeypatch, schedule, primary):
    """Sampling starts from all masks, whatever alpha(1) is: at the truth the mean bound is the data's entropy."""
    monkeypatch.setitem(loss_worlds.SIGMA, "short", (schedules.Constant(total=0.7), lambda t: 0.7 * t))
    small = given_masks(skewed("masked", schedule, (2, 3)))
    exact = tilted(small, primary, scale=0.0)
    assert float(small.integral(losses.NELBO(), exact, nodes=60)) == pytest.approx(oracles.entropy(small.pmf), abs=1e-6)
    x0 = torch.from_numpy(oracles.sequences((2, 3)))
    found = nll_bound(exact, x0, samples=2000)
    weight = torch.from_numpy(small.pmf.ravel())
    gap = float((weight * (found.value + weight.log())).sum())
    error = float((weight * found.stderr).square().sum().sqrt())
    assert abs(gap) < norm.isf(FALSE_ALARM / 2) * error
    assert error < 0.05


def test_counts_without_end_have_a_bound():
    """On the natural numbers: sum_x p_0(x) bound(x) - H(p_0) = KL(p_1 || prior), p_0 a Poisson mixture."""
    process, model, _ = birth_death.example(length=1, total=1.5)
    x = np.arange(40)
    weights, means = np.array(birth_death.WEIGHTS), np.array(birth_death.MEANS)[:, 0]
    law = (weights[:, None] * poisson.pmf(x, means[:, None])).sum(0)
    end = (weights[:, None] * poisson.pmf(x, (means * np.exp(-1.5) + 3.0 * (1 - np.exp(-1.5)))[:, None])).sum(0)
    mismatch = (end * (np.log(end) - poisson.logpmf(x, 3.0))).sum()
    found = nll_bound(model, torch.from_numpy(x[:, None]), samples=500, seed=2)
    gap = float((law * found.value.numpy()).sum()) - oracles.entropy(law) - mismatch
    error = float(np.sqrt(np.square(law * found.stderr.numpy()).sum()))
    assert abs(gap) < norm.isf(FALSE_ALARM / 2) * error
    assert error < 0.12
    constant = losses.NELBO().constant(process, torch.tensor([[0], [20]]))
    kept = np.exp(-1.5)
    for start, value in zip((0, 20), constant.tolist(), strict=True):
        q = np.convolve(binom.pmf(np.arange(21), start, kept), poisson.pmf(x, 3.0 * (1 - kept)))[:40]
        assert value == pytest.approx((q * (np.log(q) - poisson.logpmf(x, 3.0))).sum(), abs=1e-8)


def test_no_finite_variance_is_wasted():
    """The estimate over t ~ U(0, 1) has infinite variance: its error falls slower, and is larger here by far."""
    small = skewed("uniform", "linear", (2, 3))
    x0 = torch.tensor([[0, 2]]).expand(400, -1)
    ours = nll_bound(small.exact, x0, samples=16).value.std()
    torch.manual_seed(0)
    t = (torch.arange(16) + torch.rand(400, 16, dtype=torch.float64)) / 16
    rows = x0.unsqueeze(1).expand(-1, 16, -1)
    plain = losses.NELBO()(small.exact, rows, small.process.marginal(rows, t).sample(), t).mean(-1).std()
    assert float(ours) < 0.8 * float(plain)


@pytest.mark.parametrize("kind", KINDS)
def test_very_small_times_do_no_harm(kind):
    small = skewed(kind, "geometric", (3, 3))
    for primary in ("x0", "score"):
        found = nll_bound(tilted(small, primary), torch.tensor([[0, 1]]), samples=20_000, batch_size=20_000)
        assert bool(found.value.isfinite().all())
        assert float(found.stderr) < 1.0


def test_the_error_is_that_of_repeated_runs():
    small = skewed("uniform", "linear")
    x0 = torch.tensor([[1, 2]])
    runs = [nll_bound(small.exact, x0, samples=50, seed=seed) for seed in range(60)]
    spread = torch.stack([run.value for run in runs]).std()
    claimed = torch.stack([run.stderr for run in runs]).square().mean().sqrt()
    assert 0.5 * float(claimed) < float(spread) < 1.4 * float(claimed)


def test_draws_depend_on_the_seed_alone():
    small = skewed("uniform", "linear")
    x0 = torch.from_numpy(oracles.sequences((2, 3)))
    before = torch.get_rng_state()
    whole = nll_bound(small.exact, x0, samples=30, seed=4)
    torch.testing.assert_close(nll_bound(small.exact, x0, samples=30, seed=4, batch_size=7).value, whole.value)
    assert not torch.equal(nll_bound(small.exact, x0, samples=30, seed=5).value, whole.value)
    assert torch.equal(torch.get_rng_state(), before)
    shaped = nll_bound(small.exact, x0.reshape(2, 3, 2), samples=30, seed=4)
    assert shaped.value.shape == shaped.stderr.shape == (2, 3)
    torch.testing.assert_close(shaped.value.flatten(), whole.value)
    assert nll_bound(small.exact, x0[0], samples=2).value.shape == ()


@pytest.mark.parametrize("kind", ["uniform", "masked"])
def test_exact_values_lie_below_the_bound_of_the_same_steps(kind):
    small = skewed(kind, "linear", (2, 2))
    model, x0 = tilted(small), torch.from_numpy(oracles.sequences((2, 2)))
    exact = exact_nll(Ancestral(), model, x0, steps=3)
    law = push(Ancestral(), model, steps=3).pmf.reshape(-1)
    np.testing.assert_allclose(exact.value.detach().numpy(), -law.detach().log().numpy(), rtol=1e-12)
    bound = nll_bound(model, x0, loss=losses.DiscreteNELBO(3), samples=3000)
    assert bool((exact.value < bound.value + 4.3 * bound.stderr).all())
    assert exact.mean_stderr == 0.0
    if kind == "masked":
        blocks = exact_nll(KUnmask((1, 1)), model, x0).value
        assert float(blocks.neg().exp().sum()) == pytest.approx(1.0, rel=1e-12)


def test_units():
    nll = NegativeLogLikelihood(torch.tensor([2.0, 4.0, 6.0]), torch.tensor([0.3, 0.4, 1.2]), length=4)
    assert nll.bits_per_token == pytest.approx(4.0 / 4 / math.log(2))
    assert nll.mean_stderr == pytest.approx(1.3 / 3)
    assert nll.bits_per_token_stderr == pytest.approx(1.3 / 3 / 4 / math.log(2))


def test_a_token_that_cannot_be_is_infinite_without_a_nan():
    pmf = np.array([[0.5, 0.0], [0.25, 0.25]])
    small = world("masked", "linear", (2, 2), pmf)
    found = nll_bound(small.exact, torch.tensor([[0, 1], [1, 1]]), samples=200)
    assert found.value[0].item() == math.inf
    assert found.stderr[0].item() == 0.0
    assert bool(found.value[1].isfinite())


def test_what_cannot_be_is_refused():
    small = skewed("uniform", "linear")
    x0 = torch.tensor([[0, 1]])
    with pytest.raises(ValueError, match="is no bound"):
        nll_bound(small.exact, x0, loss=losses.CrossEntropy())
    with pytest.raises(TypeError, match="must be a Loss"):
        nll_bound(small.exact, x0, loss="nelbo")
    with pytest.raises(TypeError, match="must be a Parameterization"):
        likelihood.nll_bound(None, x0)
    with pytest.raises(ValueError, match="samples=1 must be"):
        nll_bound(small.exact, x0, samples=1)
    for name, bad in (
        ("samples", 2.5),
        ("samples", "9"),
        ("batch_size", 0),
        ("seed", None),
        ("seed", 1.0),
        ("seed", True),
    ):
        with pytest.raises(ValueError, match=f"{name}={bad!r} must be a whole number"):
            nll_bound(small.exact, x0, **{name: bad})
    with pytest.raises(ValueError, match="x0"):
        nll_bound(small.exact, torch.tensor([[0, 7]]))
    with pytest.raises(TypeError, match="must be a Parameterization"):
        exact_nll(Ancestral(), None, x0, steps=2)
