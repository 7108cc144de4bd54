"""Pyro's exact inference in programs of the default floating-point type: float32 unless told otherwise."""

from __future__ import annotations

import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, config_enumerate, infer_discrete

import ddm_pyro as ddm
from ddm_pyro.infer import DiffusionPrior, diffusion_sample

V, L = 2, 3
TARGET = ddm.targets.MarkovChain([0.2, 0.8], [[0.7, 0.3], [0.1, 0.9]], length=L)
MASKED = ddm.ForwardProcess(ddm.rates.Masked(V), ddm.schedules.Linear(), length=L)
UNIFORM = ddm.ForwardProcess(ddm.rates.Uniform(V), ddm.schedules.LogLinear(), length=L)
PRIORS = {
    "first-hitting": DiffusionPrior(ddm.samplers.FirstHitting(), TARGET.denoiser(MASKED), "exact"),
    "all at once": DiffusionPrior(ddm.samplers.KUnmask((L,)), TARGET.denoiser(MASKED), "exact"),
    "uniform": DiffusionPrior(ddm.samplers.Ancestral(), TARGET.denoiser(UNIFORM), "exact", steps=2),
}
Y = torch.tensor([[0, 1, 1], [1, 0, 1]])


def program(prior, dtype):
    noise = torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=dtype)

    def model(y):
        scale = pyro.param("scale", torch.tensor(0.5, dtype=dtype))
        with pyro.plate("rows", 2):
            x = diffusion_sample("x", prior)
            pyro.sample("y", dist.Categorical(noise[x]).to_event(1), obs=y)
            pyro.sample("sum", dist.Normal(x.sum(-1).to(dtype), scale), obs=torch.tensor(1.5, dtype=dtype))

    return model


def posterior(prior):
    """P(x, observed) of every x, (2, 8), float64, without Pyro's inference."""
    x = prior.space.enumerate()
    noise = torch.tensor([[0.9, 0.1], [0.3, 0.7]]).double()
    likelihood = noise[x.unsqueeze(1), Y].prod(-1)
    total = dist.Normal(x.sum(-1).double(), 0.5).log_prob(torch.tensor(1.5)).exp()
    return (prior.log_prob(x).exp() * total).unsqueeze(0) * likelihood.T


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PRIORS)
def test_evidence_has_the_type_of_the_program(name, dtype) -> None:
    pyro.clear_param_store()
    model = program(PRIORS[name], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the guide is empty on purpose
        loss = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(config_enumerate(model), lambda y: None, Y)
    expected = -posterior(PRIORS[name]).sum(-1).log().sum()
    assert loss.dtype == dtype
    torch.testing.assert_close(loss.detach().double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PRIORS)
def test_infer_discrete_draws_from_the_posterior(name, dtype) -> None:
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    model, n = program(PRIORS[name], dtype), 3000
    many = pyro.plate("many", n, dim=-2)(model)
    drawn = poutine.trace(infer_discrete(config_enumerate(many), first_available_dim=-3)).get_trace(Y)
    index = PRIORS[name].space.index(drawn.nodes["x"]["value"])
    counts = torch.nn.functional.one_hot(index, V**L).sum(0).double()
    law = posterior(PRIORS[name])
    law = law / law.sum(-1, keepdim=True)
    # Seven degrees of freedom twice: 52 is exceeded with probability below 1e-6 each.
    assert float((((counts - n * law) ** 2) / (n * law)).sum(-1).max()) < 52
