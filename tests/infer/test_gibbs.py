"""Split Gibbs against listed posteriors."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import smc_worlds as worlds
import torch
from pyro.distributions.testing.gof import multinomial_goodness_of_fit

import ddm_pyro as ddm
from ddm_pyro.infer import DiffusionPrior, SplitGibbs, diffusion_sample

OBSERVED = torch.tensor([[True, True, False], [True, True, True]])
Y = torch.tensor([[2, 1, 0], [0, 0, 2]])


def exact_prior(process, steps=None):
    sampler = ddm.samplers.FirstHitting() if process.is_masked else ddm.samplers.Ancestral()
    return DiffusionPrior(sampler, worlds.TARGET.denoiser(process), density="pseudo", steps=steps)


def posterior(weights, atoms):
    law = weights / weights.sum(0)
    return torch.einsum("sp,slv->plv", law, torch.nn.functional.one_hot(atoms, 3).double())


def test_corrected_chains_have_the_posterior_as_their_law():
    torch.manual_seed(1)
    law = worlds.TARGET.tabular()
    exact = posterior(law.pmf.unsqueeze(-1) * worlds.noisy_log_likelihood(law.atoms, Y, OBSERVED).exp(), law.atoms)
    model = worlds.noisy(exact_prior(worlds.masked()))
    draws = SplitGibbs(model, 0.7, num_chains=400).run(Y, OBSERVED, sweeps=60, burn_in=20)
    assert draws.samples["x"].shape == (400, 40, 2, 3)
    assert draws.acceptance.shape == (2,)
    assert bool(((draws.acceptance > 0.2) & (draws.acceptance < 1.0)).all())
    # 400 chains that forget within a few sweeps: standard errors below 0.02.
    torch.testing.assert_close(draws.probabilities("x", 3), exact, atol=0.05, rtol=0)


@pytest.mark.slow
def test_uncorrected_chains_have_the_split_law():
    torch.manual_seed(2)
    process, level = worlds.uniform(), 0.2
    law = worlds.TARGET.tabular()
    atoms = law.atoms
    kernel = process.marginal(atoms.unsqueeze(1), level).log_prob(atoms.unsqueeze(0)).exp()  # q(z | x), (x, z)
    split = kernel @ worlds.noisy_log_likelihood(atoms, Y, OBSERVED).exp()
    exact = posterior(law.pmf.unsqueeze(-1) * split, atoms)
    model = worlds.noisy(exact_prior(process, steps=100))
    draws = SplitGibbs(model, level, num_chains=300, correct=False).run(Y, OBSERVED, sweeps=30, burn_in=10)
    assert draws.acceptance.tolist() == [1.0, 1.0]
    torch.testing.assert_close(draws.probabilities("x", 3), exact, atol=0.06, rtol=0)


def test_uncorrected_chains_hear_likelihoods_that_couple_tokens():
    torch.manual_seed(5)
    target = ddm.targets.random_tabular((2, 2, 2), seed=1)
    process, level, chains = ddm.ForwardProcess(ddm.rates.Uniform(2), ddm.schedules.Linear(), length=3), 0.5, 4000
    scores = torch.tensor([3.0, 0.0, 1.0, 0.5, -1.0, 2.0, 0.0, 4.0], dtype=torch.float64)
    law = target.tabular()
    kernel = process.marginal(law.atoms.unsqueeze(1), level).log_prob(law.atoms.unsqueeze(0)).exp()
    split = law.pmf * (kernel @ scores.exp())
    prior = DiffusionPrior(ddm.samplers.Ancestral(), target.denoiser(process), density="pseudo", steps=60)

    def model():
        x = diffusion_sample("x", prior)
        pyro.factor("table", scores[target.space.index(x)])

    draws = SplitGibbs(model, level, num_chains=chains, correct=False).run(sweeps=15, burn_in=14)
    counts = torch.bincount(target.space.index(draws.samples["x"]).reshape(-1), minlength=8)
    assert multinomial_goodness_of_fit(split / split.sum(), counts) > 2e-5


def test_blocks_of_fixed_sizes_are_refused():
    prior = DiffusionPrior(ddm.samplers.KUnmask((1, 2)), worlds.TARGET.denoiser(worlds.masked()), density="pseudo")
    with pytest.raises(ValueError, match="blocks of fixed sizes from all masks on"):
        SplitGibbs(worlds.noisy(prior), 0.5).run(Y, OBSERVED, sweeps=2)


def test_levels_can_fall():
    levels = []

    def level(share):
        levels.append(share)
        return 0.9 - 0.5 * share

    draws = SplitGibbs(worlds.noisy(exact_prior(worlds.masked())), level, num_chains=2).run(Y, OBSERVED, sweeps=4)
    assert levels[1:] == [0.0, 0.25, 0.5, 0.75]
    assert draws.to_dict()["x"].shape == (2, 4, 2, 3)


def test_a_hard_constraint_is_found_and_kept():
    torch.manual_seed(3)
    prior = exact_prior(worlds.masked())

    def model():
        x = diffusion_sample("x", prior)
        pyro.factor("last", torch.where(x[..., 2] == 1, 0.0, -torch.inf))

    draws = SplitGibbs(model, 0.9, num_chains=50).run(sweeps=60, burn_in=50)
    assert bool((draws.samples["x"][..., 2] == 1).all())


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda m: SplitGibbs(m, 0.0), r"level=0\.0 must lie"),
        (lambda m: SplitGibbs(m, num_chains=0), "num_chains=0"),
        (lambda m: SplitGibbs(m).run(Y, OBSERVED, sweeps=3, burn_in=3), "at least one sweep"),
        (lambda m: SplitGibbs(m, correct=False).run(Y, OBSERVED, sweeps=3), "noised by masks"),
    ],
)
def test_refusals(run, message):
    with pytest.raises(ValueError, match=message):
        run(worlds.noisy(exact_prior(worlds.masked())))


def test_other_latent_sites_are_refused():
    prior = exact_prior(worlds.masked())

    def model():
        noise = pyro.sample("noise", dist.Beta(1.0, 1.0))
        x = diffusion_sample("x", prior)
        pyro.sample("y", dist.Bernoulli(noise * x[..., 0] / 2), obs=torch.tensor(1.0))

    with pytest.raises(ValueError, match="'noise' is latent too"):
        SplitGibbs(model).run(sweeps=2)


def test_a_fixed_plan_is_refused():
    forward = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), length=2)
    model = ddm.targets.Product([[0.2, 0.8], [0.6, 0.4]]).denoiser(forward)
    prior = DiffusionPrior(ddm.samplers.FirstHitting(), model, density="fixed")

    def program(sample):
        x = sample("x", prior)
        pyro.sample("y", dist.Bernoulli(0.2 + 0.6 * x).to_event(1), obs=torch.ones(2))

    with pytest.raises(ValueError, match=r"'x' follows one fixed plan.*diffusion_sample"):
        SplitGibbs(program, num_chains=4).run(pyro.sample, sweeps=2)
    # Its plans are sites of their own here, so the density of the prior does not count.
    assert SplitGibbs(program, num_chains=4).run(diffusion_sample, sweeps=2).samples["x"].shape == (4, 2, 2)
