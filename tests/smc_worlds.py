"""Small programs with diffusion priors, and their evidence and posterior by listing every sequence."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch

import ddm_pyro as ddm
from ddm_pyro.infer import DiffusionPrior, diffusion_sample

TARGET = ddm.targets.random_tabular((3, 2, 3), seed=4, concentration=0.5, zeros=0.2)
NOISE = torch.tensor([[0.8, 0.1, 0.1], [0.05, 0.7, 0.25], [0.3, 0.1, 0.6]], dtype=torch.float64)


def masked():
    return ddm.ForwardProcess([ddm.rates.Masked(v) for v in (3, 2, 3)], ddm.schedules.Cosine())


def uniform():
    return ddm.ForwardProcess([ddm.rates.Uniform(v) for v in (3, 2, 3)], ddm.schedules.Constant(total=3.0))


PRIORS = {
    "first hitting": lambda: (masked, ddm.samplers.FirstHitting(), None),
    "pairs": lambda: (masked, ddm.samplers.FirstHitting(refresh=2), None),
    "k-unmask": lambda: (masked, ddm.samplers.KUnmask((1, 2)), None),
    "ancestral": lambda: (masked, ddm.samplers.Ancestral(), 2),
    "euler": lambda: (masked, ddm.samplers.Euler(), 3),
    "uniform": lambda: (uniform, ddm.samplers.Ancestral(), 4),
    "tau": lambda: (uniform, ddm.samplers.TauLeaping(), 4),
}


def prior(name):
    process, sampler, steps = PRIORS[name]()
    return DiffusionPrior(sampler, TARGET.denoiser(process()), density="pseudo", steps=steps)


def law(name):
    """The law of the sampler, listed."""
    process, sampler, steps = PRIORS[name]()
    return ddm.push(sampler, TARGET.denoiser(process()), steps=steps)


def noisy(p):
    """Every token read through a noisy channel, some not at all: a likelihood that is a product over tokens."""

    def model(y, observed):
        with pyro.plate("people", len(y)):
            x = diffusion_sample("x", p)
            pyro.sample("y", dist.Categorical(NOISE[x]).mask(observed).to_event(1), obs=y)

    return model


def noisy_log_likelihood(x, y, observed):
    """(S, L) sequences -> (S, people)."""
    scores = NOISE.log()[x.unsqueeze(1), y]
    return torch.where(observed, scores, 0.0).sum(-1)


def summed(p):
    """Only the sum of the tokens is seen, with noise: a likelihood that is no product."""

    def model(total):
        with pyro.plate("people", len(total)):
            x = diffusion_sample("x", p)
            pyro.sample("total", dist.Normal(x.double().sum(-1), 0.5), obs=total)

    return model


def summed_log_likelihood(x, total):
    """(S, L) sequences -> (S, people)."""
    return dist.Normal(x.double().sum(-1, keepdim=True), 0.5).log_prob(total)
