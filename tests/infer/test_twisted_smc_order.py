"""Programs whose sites particles cannot draw apart, or at their own weight: refused."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ddm_pyro as ddm
from ddm_pyro.infer import DiffusionPrior, SplitGibbs, TwistedSMC, diffusion_sample

FORWARD = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=2)
PRIOR = DiffusionPrior(ddm.samplers.FirstHitting(), ddm.targets.random_tabular((3, 3), seed=0).denoiser(FORWARD))


class Labelled(nn.Module):
    """Tokens like the label."""

    def forward(self, x, t, label):
        logits = 3.0 * nn.functional.one_hot(label % 3, 3).double()
        return logits.unsqueeze(-2).expand(len(x), 2, 3)


def observe(x):
    pyro.sample("y", dist.Normal(x.double().sum(-1), 1.0), obs=torch.tensor(3.0))


def after_a_coin():
    coin = pyro.sample("coin", dist.Bernoulli(0.5))
    observe(diffusion_sample("x", ddm.X0(Labelled(), FORWARD).bind(label=coin.long().reshape(-1))))


def after_tokens():
    label = diffusion_sample("w", PRIOR)[..., 0]
    observe(diffusion_sample("x", ddm.X0(Labelled(), FORWARD).bind(label=label.reshape(-1))))


def after_observed(labels):
    diffusion_sample("w", PRIOR)
    observe(diffusion_sample("x", ddm.X0(Labelled(), FORWARD).bind(label=labels.clone())))


def smc(model, *args):
    return TwistedSMC(model, 4).run(*args)


def gibbs(model, *args):
    return SplitGibbs(model, 0.5, num_chains=4).run(*args, sweeps=2)


def test_a_latent_given_one_middle_token():
    def model():
        x = diffusion_sample("x", PRIOR)
        z = pyro.sample("z", dist.Normal(3.0 * (x[..., 0] == 1), 1.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=torch.tensor(3.0))

    for seed in range(10):
        torch.manual_seed(seed)
        with pytest.raises(ValueError, match="'z' is drawn given the diffusion sites"):
            smc(model)


@pytest.mark.parametrize(("model", "run"), [(after_a_coin, smc), (after_tokens, smc), (after_tokens, gibbs)])
def test_a_prior_given_other_latent_sites(model, run):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="prior of site 'x' changes with the values of other latent sites"):
        run(model)


@pytest.mark.parametrize("particles", [1, 5, 8, 40])
def test_few_particles_beside_another_latent(particles):
    def model():
        shift = pyro.sample("shift", dist.Normal(0.0, 1.0))
        x = diffusion_sample("x", PRIOR)
        pyro.sample("y", dist.Normal(x + shift.unsqueeze(-1), 1.0).to_event(1), obs=torch.tensor([1.0, 0.0]))

    posterior = TwistedSMC(model, particles).run()
    assert posterior.samples["shift"].shape == (particles,)
    assert posterior.diagnostics.twist == "separable"


def subsampled():
    with pyro.plate("rows", 4, subsample=torch.tensor([0, 1])):
        observe(diffusion_sample("x", PRIOR))


def scaled():
    with pyro.poutine.scale(scale=0.5):
        observe(diffusion_sample("x", PRIOR))


@pytest.mark.parametrize(("model", "scale"), [(subsampled, "2"), (scaled, "0.5")])
@pytest.mark.parametrize("run", [smc, gibbs])
def test_scaled_sites(model, scale, run):
    with pytest.raises(ValueError, match=f"Site 'x' is scaled by {scale}"):
        run(model)


@pytest.mark.parametrize("run", [smc, gibbs])
def test_a_plan_that_is_given(run):
    model = pyro.condition(lambda: observe(diffusion_sample("x", PRIOR)), data={"x_plan": torch.tensor([0, 1])})
    with pytest.raises(ValueError, match="Site 'x_plan' is observed"):
        run(model)


@pytest.mark.parametrize("run", [smc, gibbs])
def test_infinite_likelihoods(run):
    def model():
        x = diffusion_sample("x", PRIOR)
        pyro.factor("f", torch.where(x[..., 0] >= 0, torch.inf, 0.0).double())

    with (
        pyro.validation_enabled(False),
        pytest.raises(ValueError, match="Site 'f' has a log-probability of NaN or inf"),
    ):
        run(model)


@pytest.mark.parametrize("run", [smc, gibbs])
def test_a_prior_given_observed_values_is_free(run):
    assert run(after_observed, torch.tensor([2])).samples["x"].shape[-1] == 2
