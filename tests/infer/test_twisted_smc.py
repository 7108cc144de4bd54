"""Twisted SMC against listed posteriors."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import smc_worlds as worlds
import torch
from scipy import stats

import ddm_pyro as ddm
from ddm_pyro.infer import DiffusionPrior, TwistedSMC, diffusion_sample

#: Two-sided quantile of a test with false-alarm probability 2e-5.
Z = stats.norm.isf(1e-5)
OBSERVED = torch.tensor([[True, True, False], [True, True, True]])
Y = torch.tensor([[2, 1, 0], [0, 0, 2]])
TOTAL = torch.tensor([1.0, 4.0], dtype=torch.float64)


#: Elements of a plate are independent problems, so copies of one problem in a plate are independent runs.
RUNS = 200


def copies(x):
    return x.repeat_interleave(RUNS, 0)


def assert_unbiased(posterior, evidence):
    """The mean of the estimates in the linear scale, problem by problem."""
    estimates = posterior.log_evidence.exp().reshape(-1, RUNS).T
    error = estimates.std(0) / math.sqrt(RUNS)
    assert estimates.shape[1:] == evidence.shape
    assert bool((error < 0.2 * evidence).all())
    assert bool(((estimates.mean(0) - evidence).abs() <= Z * error + 1e-12).all()), (estimates.mean(0), evidence, error)


@pytest.mark.parametrize("name", worlds.PRIORS)
@pytest.mark.parametrize("twist", ["separable", "candidates", "none"])
def test_evidence_of_a_product_likelihood_is_unbiased(name, twist):
    torch.manual_seed(1)
    law = worlds.law(name)
    evidence = law.pmf @ worlds.noisy_log_likelihood(law.atoms, Y, OBSERVED).exp()
    posterior = TwistedSMC(worlds.noisy(worlds.prior(name)), 8, twist=twist, candidates=4).run(
        copies(Y), copies(OBSERVED)
    )
    assert_unbiased(posterior, evidence)


@pytest.mark.parametrize("name", ["pairs", "k-unmask", "tau"])
@pytest.mark.parametrize(
    "options", [{}, {"resample_below": 0.0}, {"resample_below": 1.0}, {"tempering": lambda s: 0.3 + 0.7 * s}]
)
def test_evidence_of_any_likelihood_is_unbiased(name, options):
    torch.manual_seed(2)
    law = worlds.law(name)
    evidence = law.pmf @ worlds.summed_log_likelihood(law.atoms, TOTAL).exp()
    posterior = TwistedSMC(worlds.summed(worlds.prior(name)), 12, candidates=4, **options).run(copies(TOTAL))
    assert posterior.diagnostics.twist == "candidates"
    assert_unbiased(posterior, evidence)


def test_posterior_marginals():
    torch.manual_seed(3)
    law = worlds.law("first hitting")
    weights = law.pmf.unsqueeze(-1) * worlds.noisy_log_likelihood(law.atoms, Y, OBSERVED).exp()
    exact = torch.einsum("sp,slv->plv", weights / weights.sum(0), torch.nn.functional.one_hot(law.atoms, 3).double())
    posterior = TwistedSMC(worlds.noisy(worlds.prior("first hitting")), 4000).run(Y, OBSERVED)
    assert posterior.samples["x"].shape == (4000, 2, 3)
    assert posterior.log_weights.shape == (4000, 2)
    torch.testing.assert_close(posterior.probabilities("x", 3), exact, atol=0.05, rtol=0)


@pytest.mark.parametrize("resample_below", [0.0, 1.0])
def test_candidates_are_worth_their_price(resample_below):
    """Steering shows in the proposals alone, and in what survives."""
    torch.manual_seed(4)
    model, args = worlds.summed(worlds.prior("first hitting")), (copies(TOTAL),)
    plain = TwistedSMC(model, 32, twist="none", resample_below=0.0).run(*args)
    steered = TwistedSMC(model, 32, resample_below=resample_below).run(*args)
    assert float(steered.ess.mean()) > 1.5 * float(plain.ess.mean())


@pytest.mark.parametrize("options", [{}, {"resample_below": 1.0}, {"resample_below": 0.0}, {"twist": "none"}])
def test_one_run_knows_the_spread_of_the_evidence(options):
    torch.manual_seed(8)
    posterior = TwistedSMC(worlds.summed(worlds.prior("first hitting")), 64, candidates=4, **options).run(copies(TOTAL))
    evidence = posterior.log_evidence.exp().reshape(-1, RUNS)
    seen = posterior.stderr.square().reshape(-1, RUNS).mean(1).sqrt()
    true = evidence.std(1) / evidence.mean(1)
    assert bool(((seen > 0.75 * true) & (seen < 1.6 * true)).all())


def test_guesses_from_few_completions_are_not_trusted():
    """A hard constraint on ten tokens that few completions meet: steering must not cost more than it gains."""
    torch.manual_seed(9)
    target = ddm.targets.MarkovChain([0.5, 0.3, 0.2], [[0.6, 0.2, 0.2], [0.3, 0.5, 0.2], [0.1, 0.4, 0.5]], length=10)
    forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=10)
    prior = DiffusionPrior(ddm.samplers.FirstHitting(), target.denoiser(forward), density="pseudo")
    goal = torch.full((100,), 9)

    def model():
        with pyro.plate("runs", 100):
            x = diffusion_sample("x", prior)
            pyro.factor("goal", torch.where(x.sum(-1) == goal, 0.0, -torch.inf).double())

    steered, plain = (TwistedSMC(model, 32, twist=twist, candidates=8).run() for twist in ("candidates", "none"))
    spread = [run.log_evidence.exp().std() / run.log_evidence.exp().mean() for run in (steered, plain)]
    assert spread[0] < spread[1]


def test_what_another_latent_explains_counts_in_the_guess():
    """Particles that differ in a shift of all tokens are chosen by how well they explain them together."""
    torch.manual_seed(10)
    prior = worlds.prior("first hitting")
    y = torch.tensor([1.0, 0.0, 2.0]).double().expand(100, 3)

    def model():
        with pyro.plate("runs", 100):
            shift = pyro.sample("shift", dist.Normal(torch.zeros(100).double(), 1.0))
            x = diffusion_sample("x", prior)
            pyro.sample("y", dist.Normal(x + shift.unsqueeze(-1), 0.5).to_event(1), obs=y)

    steered, plain = (TwistedSMC(model, 64, twist=twist).run() for twist in ("separable", "none"))
    spread = [run.log_evidence.exp().std() / run.log_evidence.exp().mean() for run in (steered, plain)]
    assert spread[0] < 0.7 * spread[1]


def test_survivors_are_those_the_guess_prefers():
    torch.manual_seed(5)
    model, args = worlds.summed(worlds.prior("first hitting")), (copies(TOTAL),)
    found = TwistedSMC(model, 32, resample_below=1.0).run(*args).diagnostics
    assert float(found.unique_ancestors.double().mean()) < 28
    ignored = TwistedSMC(model, 32, resample_below=1.0, tempering=1e-9).run(*args).diagnostics
    assert float(ignored.ess.mean()) > 31.9


def test_tempering_acts_on_the_proposals():
    torch.manual_seed(6)
    model, args = worlds.noisy(worlds.prior("first hitting")), (copies(Y), copies(OBSERVED))
    full, none, plain = (
        TwistedSMC(model, 32, resample_below=0.0, **options).run(*args).ess.mean()
        for options in ({}, {"tempering": 1e-9}, {"twist": "none"})
    )
    assert abs(none - plain) < 1.0
    assert full > 1.3 * plain
