"""Conditions of a prior that follow a latent site: right one run at a time, refused where runs lie side by side."""

from __future__ import annotations

import math
from itertools import product

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Importance, TraceEnum_ELBO, config_enumerate
from pyro.infer.importance import vectorized_importance_weights
from torch import nn

import ddm_pyro as ddm
from ddm_pyro.infer import diffusion_sample

FORWARD = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), length=2)
SEEN = torch.tensor([1.0, 0.2, 2.0])


class Biased(nn.Module):
    """Tokens are 1 with log-odds y, independent of each other."""

    def forward(self, x, t, y):
        odds = y.double().reshape(len(x), 1, 1).expand(-1, 2, 1)
        return torch.cat([torch.zeros_like(odds), odds], -1)


NET = ddm.X0(Biased(), FORWARD)


def mixture(rows):
    def model():
        with pyro.plate("rows", rows):
            coin = pyro.sample("coin", dist.Bernoulli(0.3))
            x = diffusion_sample("x", NET.bind(y=2 * coin - 1))
            pyro.sample("seen", dist.Normal(x.double().sum(-1), 0.6), obs=SEEN[:rows])

    return model


def evidence(rows):
    total = 0.0
    for seen in SEEN[:rows].tolist():
        each = 0.0
        for coin, x in product((0, 1), product((0, 1), repeat=2)):
            one = 1 / (1 + math.exp(1 - 2 * coin))
            weight = (0.3 if coin else 0.7) * math.prod(one if token else 1 - one for token in x)
            each += weight * math.exp(-0.5 * ((seen - sum(x)) / 0.6) ** 2) / 0.6 / math.sqrt(2 * math.pi)
        total += math.log(each)
    return total


def test_one_run_at_a_time_is_right():
    pyro.set_rng_seed(0)
    model = mixture(2)
    weights = torch.stack(Importance(model, num_samples=150).run().log_weights).double() - evidence(2)
    assert abs(weights.exp().mean() - 1) <= 4.3 * weights.exp().std() / math.sqrt(150)


@pytest.mark.parametrize("rows", [2, 3])
def test_enumerated_latents_are_no_rows(rows):
    with pytest.raises(ValueError, match=r"Condition 'y' has shape \(2, 1\), like a latent site"):
        TraceEnum_ELBO(max_plate_nesting=1).loss(config_enumerate(mixture(rows)), lambda: None)


@pytest.mark.parametrize(("rows", "particles"), [(2, 2), (3, 2), (3, 5)])
def test_particles_are_no_rows(rows, particles):
    guide = poutine.block(mixture(rows), hide=["seen"])
    with pytest.raises(ValueError, match=rf"Condition 'y' has shape \({particles}, {rows}\), like a latent site"):
        vectorized_importance_weights(mixture(rows), guide, num_samples=particles, max_plate_nesting=1)


@pytest.mark.parametrize("features", [1, 4])
def test_data_may_have_features(features):
    class Featured(nn.Module):
        def forward(self, x, t, y):
            return Biased()(x, t, y.sum(-1))

    y = torch.randn(3, features, generator=torch.Generator().manual_seed(0))

    def model():
        with pyro.plate("rows", 3):
            coin = pyro.sample("coin", dist.Bernoulli(0.3))
            x = diffusion_sample("x", ddm.X0(Featured(), FORWARD).bind(y=y))
            pyro.sample("seen", dist.Normal((x.sum(-1) + coin).double(), 0.6), obs=SEEN)

    assert math.isfinite(TraceEnum_ELBO(max_plate_nesting=1).loss(config_enumerate(model), lambda: None))
    guide = poutine.block(model, hide=["seen"])
    log_w, _, _ = vectorized_importance_weights(model, guide, num_samples=5, max_plate_nesting=1, normalized=False)
    assert log_w.shape == (5,)
