"""Bounds on likelihoods against enumeration."""

from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
import torch
from loss_worlds import Tilted, world
from scipy.stats import norm

from ddm_pyro import likelihood, losses, push
from ddm_pyro.likelihood import NegativeLogLikelihood, exact_nll, nll_bound
from ddm_pyro.samplers import Ancestral, KUnmask

FALSE_ALARM = 2e-5


def skewed(kind, schedule, sizes=(2, 3)):
    return world(kind, schedule, sizes, oracles.normalized(np.arange(1.0, np.prod(sizes) + 1) ** 2).reshape(sizes))


def tilted(small):
    torch.manual_seed(9)
    return Tilted(small.exact, theta=0.5 * torch.randn(Tilted(small.exact).theta.shape, dtype=torch.float64))


@pytest.mark.parametrize(
    ("kind", "schedule", "loss"),
    [
        ("uniform", "cosine", losses.NELBO()),
        ("masked", "linear", losses.NELBO()),
        ("rank-one", "constant", losses.DiscreteNELBO(3)),
        ("masked", "geometric", losses.MaskSizeWeighted((2, 1))),
    ],
    ids=repr,
)
def test_the_bound_is_estimated_without_bias(kind, schedule, loss):
    sizes = (2, 2, 2) if kind == "masked" else (2, 3)
    small = skewed(kind, schedule, sizes)
    model, x0 = tilted(small), torch.from_numpy(oracles.sequences(sizes))
    found = nll_bound(model, x0, loss=loss, samples=4000, seed=3)
    total = 0.0
    for row, weight in zip(range(len(x0)), small.pmf.ravel(), strict=True):
        total += weight * float(found.value[row])
    if isinstance(loss, losses.DiscreteNELBO):
        exact = float(torch.stack([small.mean(loss, model, k / 3) for k in (1, 2, 3)]).mean())
    else:
        exact = float(small.integral(loss, model, nodes=60))
    exact += float((torch.from_numpy(small.pmf.ravel()) * loss.constant(small.process, x0)).sum())
    error = float((torch.from_numpy(small.pmf.ravel()) * found.stderr).square().sum().sqrt())
    assert abs(total - exact) < norm.isf(FALSE_ALARM / 2) * error
    assert error < 0.25


def test_the_error_is_that_of_repeated_runs():
    small = skewed("uniform", "linear")
    x0 = torch.tensor([[1, 2]])
    runs = [nll_bound(small.exact, x0, samples=50, seed=seed) for seed in range(60)]
    spread = torch.stack([run.value for run in runs]).std()
    claimed = torch.stack([run.stderr for run in runs]).mean()
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


def test_a_prior_that_cannot_be_is_infinite_without_a_nan():
    small = skewed("masked", "log-linear", (2, 2))
    found = nll_bound(small.exact, torch.tensor([[0, 1]]), samples=4)
    assert found.value.tolist() == [math.inf]
    assert found.stderr.tolist() == [0.0]


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
    with pytest.raises(ValueError, match="x0"):
        nll_bound(small.exact, torch.tensor([[0, 7]]))
