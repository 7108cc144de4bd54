"""Every loss is least at the truth, with gradient zero there and the right gradient elsewhere."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from loss_worlds import Tilted, world

from ddm_pyro import losses

T = 0.35
BOTH = (
    "NELBO",
    "ScoreEntropy",
    "explicit",
    "ScoreMatching",
    "matching",
    "implicit",
    "implicit matching",
    "RatioMatching",
)
BOTH += ("squared ratios",)
OF_POSTERIORS = ("CrossEntropy", "GeneralizedKL", "DiscreteNELBO", "MaskSizeWeighted")
CASES = [
    (kind, primary, name)
    for kind in ("uniform", "masked", "rank-one", "dense")
    for primary in ("x0", "score")
    for name in (*BOTH, *OF_POSTERIORS)
    if not (name in OF_POSTERIORS and primary == "score")
    and not (name == "GeneralizedKL" and kind == "dense")
    and not (name == "MaskSizeWeighted" and kind != "masked")
]


def make(name, exact):
    if name == "explicit":
        return losses.ScoreEntropy("explicit", exact=exact)
    if name == "matching":
        return losses.ScoreMatching("explicit", exact=exact)
    if name.startswith("implicit"):
        return (losses.ScoreMatching if name.endswith("matching") else losses.ScoreEntropy)("implicit")
    if name == "squared ratios":
        return losses.RatioMatching("squared")
    if name == "DiscreteNELBO":
        return losses.DiscreteNELBO(times=(1.0, T, 0.1, 0.0))
    return getattr(losses, name)()


@pytest.mark.parametrize(("kind", "primary", "name"), CASES)
def test_least_at_the_truth(kind, primary, name):
    small = world(kind, "cosine")
    loss = make(name, small.exact)
    model = Tilted(small.exact, primary)
    least = small.mean(loss, model, T)
    least.backward()
    assert float(model.theta.grad.abs().max()) < 1e-12
    assert float(model.theta.grad.isnan().sum()) == 0
    torch.manual_seed(3)
    for size in (0.05, -0.05, 0.2, -0.2):
        theta = size * torch.randn(model.theta.shape, dtype=torch.float64)
        assert float(small.mean(loss, Tilted(small.exact, primary, theta), T)) > least.item()


@pytest.mark.parametrize(("kind", "primary", "name"), CASES)
def test_the_gradient_is_that_of_the_expectation(kind, primary, name):
    small = world(kind, "cosine", (3, 2) if kind != "dense" else (3, 3))
    loss = make(name, small.exact)
    torch.manual_seed(4)
    start = 0.5 * torch.randn(Tilted(small.exact, primary).theta.shape, dtype=torch.float64)
    direction = torch.randn(start.shape, dtype=torch.float64)
    model = Tilted(small.exact, primary, start.clone().requires_grad_())
    small.mean(loss, model, T).backward()
    step = 1e-5
    with torch.no_grad():
        high = small.mean(loss, Tilted(small.exact, primary, start + step * direction), T)
        low = small.mean(loss, Tilted(small.exact, primary, start - step * direction), T)
    expected = float(high - low) / (2 * step)
    assert float((model.theta.grad * direction).sum()) == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", ["NELBO", "explicit"])
def test_zeros_in_the_data_leave_no_nan(name):
    pmf = np.zeros((3, 3))
    pmf[0, 1], pmf[2, 2] = 0.25, 0.75
    for kind in ("uniform", "masked", "dense"):
        small = world(kind, "linear", pmf=pmf)
        model = Tilted(small.exact)
        value = small.mean(make(name, small.exact), model, T)
        value.backward()
        assert value.item() < np.inf
        assert bool(model.theta.grad.isfinite().all())


def test_the_loss_reads_x0():
    small = world("uniform", "linear")
    x0, xt, _ = small.pairs(T)
    t = torch.full((len(x0),), T)
    for loss in (losses.NELBO(), losses.CrossEntropy(), losses.GeneralizedKL(), losses.ScoreMatching()):
        assert not torch.allclose(loss(small.exact, x0, xt, t), loss(small.exact, x0.flip(-1), xt, t))


def test_rows_do_not_see_each_other():
    small = world("masked", "cosine", (3, 3, 3), oracles.hash_pmf(3, 3))
    x0, xt, _ = small.pairs(T)
    t = torch.linspace(0.1, 0.9, len(x0))
    implicit = [losses.ScoreEntropy("implicit"), losses.ScoreMatching("implicit")]
    for loss in (losses.NELBO(), losses.CrossEntropy(), losses.ScoreMatching(), *implicit):
        whole = loss(small.exact, x0, xt, t)
        parts = torch.cat([loss(small.exact, x0[i::7], xt[i::7], t[i::7]) for i in range(7)])
        order = torch.cat([torch.arange(len(x0))[i::7] for i in range(7)])
        torch.testing.assert_close(whole[order], parts, rtol=1e-12, atol=0)
        shaped = loss(small.exact, x0[:6].reshape(2, 3, 3), xt[:6].reshape(2, 3, 3), t[:6].reshape(2, 3))
        torch.testing.assert_close(shaped.flatten(), whole[:6], rtol=1e-12, atol=0)
        torch.testing.assert_close(loss(small.exact, x0[0], xt[0], t[0]), whole[0], rtol=1e-12, atol=0)
    masks = torch.full((2, 3), 3)
    for loss in implicit:  # nothing to jump to
        assert bool(loss(small.exact, x0[:2], masks, t[:2]).isfinite().all())
