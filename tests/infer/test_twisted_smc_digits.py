"""Real images, a likelihood with holes, and the exact answer: twisted SMC against plain importance sampling."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

import ddm_pyro as ddm
from ddm_pyro.infer import DiffusionPrior, TwistedSMC, diffusion_sample

Z = stats.norm.isf(1e-5)
NOISE = torch.tensor([[0.8, 0.15, 0.05], [0.15, 0.7, 0.15], [0.05, 0.15, 0.8]], dtype=torch.float64)


def ink(images):
    """No ink, some, much."""
    return torch.bucketize(images, torch.tensor([1, 10]), right=True)


@pytest.fixture(scope="module")
def chain():
    """The Markov chain along the pixels in reading order whose transitions are those of the training images."""
    x = ink(ddm.targets.Digits().train)
    pairs = torch.nn.functional.one_hot(3 * x[:, :-1] + x[:, 1:], 9).sum(0).reshape(63, 3, 3).double() + 0.5
    first = torch.bincount(x[:, 0], minlength=3).double() + 0.5
    return ddm.targets.MarkovChain(first / first.sum(), pairs / pairs.sum(-1, keepdim=True), 64)


@pytest.fixture(scope="module")
def program(chain):
    forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=64)
    prior = DiffusionPrior(ddm.samplers.FirstHitting(), chain.denoiser(forward))

    def model(y, observed):
        with pyro.plate("images", len(y)):
            x = diffusion_sample("x", prior)
            pyro.sample("y", dist.Categorical(NOISE[x]).mask(observed).to_event(1), obs=y)

    return model


@pytest.fixture(scope="module")
def data():
    torch.manual_seed(0)
    x = ink(ddm.targets.Digits().test[:2])
    return dist.Categorical(NOISE[x]).sample(), torch.rand(x.shape) < 0.4


def exact(chain, y, observed):
    """log P(y) and the posterior law of every pixel, by transfer matrices: a noisy chain is a hidden Markov model."""
    seen = torch.where(observed.unsqueeze(-1), NOISE.log().T[y], 0.0)
    hidden = ddm.targets.HiddenMarkov(chain.initial, chain.transition, NOISE, 64)
    tokens = torch.where(observed, y, 3)
    padded = torch.nn.functional.pad(NOISE, (0, 1), value=1.0).log()
    joint = hidden.states(tokens)
    torch.testing.assert_close(joint, chain.posterior(seen).exp())
    weights = [padded[:, tokens[:, 0]].T + chain.initial.log()]
    for position in range(1, 64):
        step = (weights[-1].unsqueeze(-1) + chain.transition[position - 1].log()).logsumexp(1)
        weights.append(step + padded[:, tokens[:, position]].T)
    return weights[-1].logsumexp(-1), joint


@pytest.mark.slow
def test_five_times_the_effective_sample_size(chain, program, data):
    torch.manual_seed(1)
    plain = TwistedSMC(program, 256, twist="none").run(*data)
    steered = TwistedSMC(program, 256).run(*data)
    kept = TwistedSMC(program, 256, resample_below=0.0).run(*data)
    assert bool((plain.ess <= 20).all()), plain.ess
    assert bool((steered.ess >= 5 * plain.ess).all()), (plain.ess, steered.ess)
    # Not an effect of resampling: proposals alone are as much better.
    assert bool((kept.ess >= 5 * plain.ess).all()), (plain.ess, kept.ess)
    log_evidence, pixels = exact(chain, *data)
    torch.testing.assert_close(steered.log_evidence, log_evidence, atol=0.5, rtol=0)
    torch.testing.assert_close(steered.probabilities("x", 3), pixels, atol=0.3, rtol=0)
    assert float((steered.probabilities("x", 3) - pixels).abs().mean()) < 0.03


@pytest.mark.slow
def test_the_evidence_of_an_image_is_unbiased(chain, program, data):
    torch.manual_seed(2)
    runs = 200
    y, observed = (value[:1].expand(runs, -1) for value in data)
    log_evidence, _ = exact(chain, y[:1], observed[:1])
    found = TwistedSMC(program, 16).run(y, observed)
    ratio = (found.log_evidence - log_evidence).exp()
    error = float(ratio.std() / math.sqrt(runs))
    assert error < 0.15
    assert abs(float(ratio.mean()) - 1.0) < Z * error
