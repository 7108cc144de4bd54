"""The closed form for uniform noise against the sum over moves."""

from __future__ import annotations

import pytest
import torch
from loss_worlds import Tilted, world

from ddm_pyro import losses
from ddm_pyro.losses.divergence import log_denoising_ratio, reverse_divergence
from ddm_pyro.losses.uniform import is_uniform


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("schedule", ["linear", "geometric", "constant"])
@pytest.mark.parametrize("t", [1e-6, 0.01, 0.3, 0.9, 1 - 1e-7])
def test_one_pass_is_the_sum_over_moves(size, schedule, t):
    small = world("uniform", schedule, (size, size))
    torch.manual_seed(6)
    theta = torch.randn(size * size, 2, size, dtype=torch.float64)
    results = []
    for closed in (True, False):
        model = Tilted(small.exact, "x0", theta.clone().requires_grad_())
        x0, xt, _ = small.pairs(t)
        time = torch.full((len(x0),), t, dtype=torch.float64)
        if closed:
            value = losses.NELBO()(model, x0, xt, time)
        else:
            value = reverse_divergence(model, log_denoising_ratio(model.process, x0, xt, time), xt, time)
        value.sum().backward()
        results.append((value.detach(), model.theta.grad))
    assert is_uniform(small.process)
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-7, atol=1e-9)


def test_single_precision_models_keep_the_weights_right():
    small = world("uniform", "linear", (5, 5))
    x0, xt, _ = small.pairs(0.5)
    torch.manual_seed(6)
    for t in (1e-4, 0.5, 1 - 1e-6):
        time = torch.full((len(x0),), t, dtype=torch.float64)
        model = Tilted(small.exact, "x0", torch.randn(25, 2, 5, dtype=torch.float64))
        fine = losses.NELBO()(model, x0, xt, time)
        exact = model.x0_log_probs
        model.x0_log_probs = lambda x, t, at=None, exact=exact: exact(x, t).float()
        torch.testing.assert_close(losses.NELBO()(model, x0, xt, time), fine, rtol=1e-4, atol=1e-6)
