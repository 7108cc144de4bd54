"""Twisted SMC on programs of every shape: plates, couplings, other latents, several sites, known tokens."""

from __future__ import annotations

import math
import sys
import types

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import smc_worlds as worlds
import torch
from scipy import stats

import ddm_pyro as ddm
from ddm_pyro.infer import DiffusionPrior, SplitGibbs, TwistedSMC, diffusion_sample
from ddm_pyro.targets.programs import NotBroadcast

Z = stats.norm.isf(1e-5)
TARGET = ddm.targets.PottsChain(num_states=2, length=3, coupling=0.8)
FORWARD = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), length=3)
PRIOR = DiffusionPrior(ddm.samplers.FirstHitting(), TARGET.denoiser(FORWARD), density="pseudo")
ATOMS, PMF = TARGET.tabular().atoms, TARGET.tabular().pmf


def close(log_evidence, exact, log_weights):
    """Within Z standard errors, judged by the spread of the final weights (no resampling) or of the runs."""
    weights = log_weights.exp()
    error = weights.std(0) / math.sqrt(len(weights))
    return bool(((log_evidence.exp() - exact).abs() <= Z * error + 1e-12).all())


def test_a_likelihood_over_all_elements_of_a_plate_couples_them():
    total = torch.tensor(4.0)

    def model():
        with pyro.plate("rows", 2):
            x = diffusion_sample("x", PRIOR)
        pyro.sample("total", dist.Normal(x.sum(-1).sum(-1, keepdim=True).double(), 0.7), obs=total)

    torch.manual_seed(0)
    smc = TwistedSMC(model, 4000, resample_below=0.0)
    posterior = smc.run()
    sums = ATOMS.sum(-1)
    likelihood = dist.Normal((sums.unsqueeze(-1) + sums).float(), 0.7).log_prob(total).exp().double()
    exact = torch.einsum("a,b,ab->", PMF, PMF, likelihood)
    assert posterior.diagnostics.twist == "candidates"
    assert posterior.samples["x"].shape == (4000, 2, 3)
    assert posterior.log_weights.shape == (4000,)
    assert posterior.log_evidence.shape == ()
    assert close(posterior.log_evidence, exact, posterior.log_weights)
    assert float(posterior.ess) > 1000
    again = TwistedSMC(model, 1000).run()
    expected = (PMF.unsqueeze(-1) * PMF * likelihood).sum(1) / exact @ ATOMS.double()
    torch.testing.assert_close(again.mean("x").mean(0), expected, atol=0.08, rtol=0)


def test_two_plates_of_which_one_is_shared():
    def model(y):
        rows = pyro.plate("rows", 3, dim=-2)
        columns = pyro.plate("columns", 2, dim=-1)
        with rows, columns:
            x = diffusion_sample("x", PRIOR)
        with rows:
            pyro.sample("y", dist.Normal(x.sum(-1).sum(-1, keepdim=True).double(), 0.5), obs=y)

    y = torch.tensor([[0.0], [3.0], [6.0]], dtype=torch.float64)
    torch.manual_seed(1)
    posterior = TwistedSMC(model, 3000, resample_below=0.0).run(y)
    sums = ATOMS.sum(-1)
    likelihood = dist.Normal((sums.unsqueeze(-1) + sums).double(), 0.5).log_prob(y.unsqueeze(-1)).exp()
    exact = torch.einsum("a,b,rab->r", PMF, PMF, likelihood)
    assert posterior.samples["x"].shape == (3000, 3, 2, 3)
    assert posterior.log_evidence.shape == (3,)
    assert posterior.diagnostics.ess.shape == (3, 3)
    assert close(posterior.log_evidence, exact, posterior.log_weights)
    assert posterior.mean("x").shape == (3, 2, 3)


def test_other_latent_sites_are_drawn_once_a_particle():
    def model(y):
        flip = pyro.sample("flip", dist.Categorical(torch.tensor([0.7, 0.3])))
        x = diffusion_sample("x", PRIOR)
        one = torch.where(flip.unsqueeze(-1) == 1, 1 - x, x)
        pyro.sample("y", dist.Bernoulli(0.1 + 0.8 * one.double()).to_event(1), obs=y)

    y = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)
    torch.manual_seed(2)
    posterior = TwistedSMC(model, 4000, resample_below=0.0).run(y)
    plain = dist.Bernoulli(0.1 + 0.8 * ATOMS.double()).to_event(1).log_prob(y).exp()
    flipped = dist.Bernoulli(0.9 - 0.8 * ATOMS.double()).to_event(1).log_prob(y).exp()
    exact = PMF @ (0.7 * plain + 0.3 * flipped)
    assert posterior.diagnostics.twist == "separable"
    assert posterior.samples["flip"].shape == (4000,)
    assert close(posterior.log_evidence, exact, posterior.log_weights)
    resampled = TwistedSMC(model, 4000, resample_below=1.0).run(y)
    torch.testing.assert_close(resampled.mean("flip"), (PMF @ (0.3 * flipped)) / exact, atol=0.05, rtol=0)


def test_latent_sites_given_the_tokens_are_refused():
    def model():
        x = diffusion_sample("x", PRIOR)
        z = pyro.sample("z", dist.Normal(x.sum(-1).double(), 1.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=torch.tensor(1.0))

    with pytest.raises(ValueError, match="'z' is drawn given the diffusion sites"):
        TwistedSMC(model, 10).run()


@pytest.mark.parametrize("likelihood", ["product", "sum"])
def test_two_diffusion_sites(likelihood):
    uniform = ddm.ForwardProcess(ddm.rates.Uniform(2), ddm.schedules.Constant(total=4.0), length=3)
    other = DiffusionPrior(ddm.samplers.Ancestral(), TARGET.denoiser(uniform), density="pseudo", steps=3)
    law = ddm.push(ddm.samplers.Ancestral(), TARGET.denoiser(uniform), steps=3).pmf

    def score(a, b):
        if likelihood == "product":
            return (a.double() @ torch.tensor([0.5, -1.0, 0.0]).double()) + b.double().sum(-1)
        return -2.0 * (a.sum(-1) - b.sum(-1) - 1.0).double() ** 2

    def model():
        a = diffusion_sample("a", PRIOR)
        b = diffusion_sample("b", other)
        pyro.factor("score", score(a, b))

    torch.manual_seed(3)
    posterior = TwistedSMC(model, 5000, resample_below=0.0).run()
    exact = torch.einsum("a,b,ab->", PMF, law, score(ATOMS.unsqueeze(1), ATOMS.unsqueeze(0)).exp())
    assert posterior.diagnostics.twist == ("separable" if likelihood == "product" else "candidates")
    assert close(posterior.log_evidence, exact, posterior.log_weights)
    assert set(posterior.samples) == {"a", "b"}


@pytest.mark.parametrize("twist", ["auto", "candidates", "none"])
def test_known_tokens_are_evidence(twist):
    known = torch.tensor([[-1, 1, -1], [0, -1, 2]])
    p = worlds.prior("first hitting")
    y, observed = torch.tensor([[2, 1, 0], [0, 0, 2]]), torch.tensor([[True, False, True], [False, True, False]])
    torch.manual_seed(4)
    smc = TwistedSMC(worlds.noisy(p), 6000, known={"x": known}, twist=twist, resample_below=0.0)
    posterior = smc.run(y, observed)
    law = worlds.law("first hitting")
    right = ((law.atoms.unsqueeze(1) == known) | (known < 0)).all(-1)
    exact = law.pmf @ (right * worlds.noisy_log_likelihood(law.atoms, y, observed).exp())
    assert close(posterior.log_evidence, exact, posterior.log_weights)
    alive = posterior.log_weights > -torch.inf
    tokens = posterior.samples["x"]
    assert bool((((tokens == known) | (known < 0)).all(-1) | ~alive).all())


def test_infilling_alone():
    def model():
        diffusion_sample("x", PRIOR)

    torch.manual_seed(5)
    posterior = TwistedSMC(model, 2000, known={"x": torch.tensor([1, -1, -1])}).run()
    assert float(posterior.log_evidence) == pytest.approx(math.log(0.5), abs=0.1)
    law = PMF.reshape(2, 2, 2)[1] / PMF.reshape(2, 2, 2)[1].sum()
    torch.testing.assert_close(posterior.mean("x")[2], law[:, 1].sum(), atol=0.08, rtol=0)


def test_a_prior_as_a_distribution():
    torch.manual_seed(6)
    network = ddm.networks.MLP.for_process(FORWARD, width=8)
    for parameter in network.parameters():
        parameter.data += torch.randn_like(parameter)
    model_of = ddm.MaskPredictor(network, FORWARD)
    fixed, other = (
        DiffusionPrior(ddm.samplers.FirstHitting(), model_of, "fixed", plan=plan) for plan in ([2, 1, 0], [0, 1, 2])
    )

    def model(y):
        x = pyro.sample("x", fixed)
        pyro.sample("y", dist.Bernoulli(0.2 + 0.6 * x.double()).to_event(1), obs=y)

    y = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    likelihood = dist.Bernoulli(0.2 + 0.6 * ATOMS.double()).to_event(1).log_prob(y).exp()
    with torch.no_grad():
        exact = fixed.log_prob(ATOMS).exp() @ likelihood
        wrong = other.log_prob(ATOMS).exp() @ likelihood
    assert abs(float(exact - wrong)) > 0.05
    posterior = TwistedSMC(model, 3000, resample_below=0.0).run(y)
    assert close(posterior.log_evidence, exact, posterior.log_weights)
    weights = fixed.log_prob(ATOMS).detach().exp() * likelihood / exact
    torch.testing.assert_close(posterior.mean("x"), weights @ ATOMS.double(), atol=0.05, rtol=0)


def test_a_coupling_that_only_the_prior_shows():
    # Random sequences all but never are all ones: a product over tokens to them, not to the prior.
    length = 6
    pmf = torch.full((3**length,), 0.3 / 3**length, dtype=torch.float64)
    ones = int(sum(3**k for k in range(length)))
    pmf[ones] += 0.7
    target = ddm.targets.Tabular(pmf.reshape((3,) * length))
    forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=length)
    prior = DiffusionPrior(ddm.samplers.FirstHitting(), target.denoiser(forward), density="pseudo")

    def model():
        x = diffusion_sample("x", prior)
        allowed = (x[..., 0] == 0) | (x == 1).all(-1)
        pyro.factor("allowed", torch.where(allowed, 0.0, -torch.inf).double())

    torch.manual_seed(6)
    runs = [TwistedSMC(model, 64).run() for _ in range(12)]
    evidence = torch.stack([run.log_evidence.exp() for run in runs])
    assert {run.diagnostics.twist for run in runs} == {"candidates"}
    assert abs(evidence.mean() - (0.7 + 0.3 / 3 + 0.3 / 3**length)) <= Z * evidence.std() / math.sqrt(len(runs))


def test_hard_constraints():
    def model():
        x = diffusion_sample("x", PRIOR)
        pyro.factor("alike", torch.where(x[..., 0] == x[..., 2], 0.0, -torch.inf).double())

    torch.manual_seed(7)
    posterior = TwistedSMC(model, 2000, resample_below=0.5).run()
    exact = PMF[ATOMS[:, 0] == ATOMS[:, 2]].sum()
    assert float(posterior.log_evidence) == pytest.approx(math.log(exact), abs=0.15)
    best = posterior.resample()["x"]
    assert bool((best[:, 0] == best[:, 2]).all())


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_settings_of_pyro_and_torch(local, dtype):
    before = torch.get_default_dtype()
    network = ddm.networks.MLP.for_process(FORWARD, width=8).to(dtype)
    prior = DiffusionPrior(ddm.samplers.FirstHitting(), ddm.MaskPredictor(network, FORWARD))

    class Model(pyro.nn.PyroModule):
        def __init__(self):
            super().__init__()
            self.rate = pyro.nn.PyroParam(torch.tensor(0.6), constraint=dist.constraints.unit_interval)

        def forward(self, y):
            with pyro.plate("rows", len(y)):
                x = diffusion_sample("x", prior)
                pyro.sample("y", dist.Bernoulli(0.2 + self.rate * x).to_event(1), obs=y)

    with pyro.settings.context(module_local_params=local):
        try:
            torch.set_default_dtype(dtype)
            posterior = TwistedSMC(Model(), 50).run(torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
        finally:
            torch.set_default_dtype(before)
    assert posterior.diagnostics.twist == "separable"
    assert posterior.log_weights.dtype == torch.float64
    assert bool((posterior.ess > 40).all())
    pyro.clear_param_store()


def test_diagnostics_and_export():
    torch.manual_seed(8)
    y, observed = torch.tensor([[2, 1, 0], [0, 0, 2]]), torch.ones(2, 3, dtype=torch.bool)
    posterior = TwistedSMC(worlds.noisy(worlds.prior("first hitting")), 40, resample_below=1.0).run(y, observed)
    found = posterior.diagnostics
    assert found.ess.shape == found.resampled.shape == (3, 2)
    assert bool((found.num_resamplings <= 3).all())
    assert bool(((found.unique_ancestors >= 1) & (found.unique_ancestors <= 40)).all())
    torch.testing.assert_close(posterior.weights.sum(0), torch.ones(2, dtype=torch.float64))
    assert posterior.to_dict()["x"].shape == (1, 40, 2, 3)
    assert set(posterior.to_dict(weighted=True)) == {"x", "log_weights"}
    with pytest.raises(ImportError, match="pip install arviz"):
        posterior.to_arviz()
    with pytest.raises(ValueError, match="no inferred site"):
        posterior.mean("y")
    assert {n: v.shape for n, v in posterior.resample(7).items()} == {"x": (7, 2, 3)}
    with pytest.raises(ValueError, match="n=0 draws"):
        posterior.resample(0)
    none = TwistedSMC(worlds.noisy(worlds.prior("uniform")), 40, resample_below=0.0).run(y, observed)
    assert none.stderr.shape == none.elbo.shape == none.ess_fraction.shape == (2,)
    weights = none.log_weights.exp()
    torch.testing.assert_close(none.stderr, weights.std(0) / weights.mean(0) / math.sqrt(40))
    assert bool((none.elbo < none.log_evidence).all())
    assert none.diagnostics.unique_ancestors.tolist() == [40, 40]
    assert not bool(none.diagnostics.resampled.any())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_particles": 0}, "num_particles=0"),
        ({"resample_below": 1.5}, r"resample_below=1\.5"),
        ({"twist": "best"}, "twist='best'"),
        ({"candidates": 0}, "candidates=0"),
        ({"tempering": 0.0}, r"tempering gave 0\.0"),
        ({"known": {"z": torch.zeros(3)}}, "known names the site 'z'"),
        ({"known": {"x": torch.full((3,), 9)}}, "holds the sequence"),
        ({"known": {"x": torch.zeros(5, 3)}}, "has shape"),
        ({"known": {"x": torch.full((3,), 0.5)}}, r"holds 0\.5; tokens are whole"),
    ],
)
def test_refused_settings(options, message):
    y, observed = torch.tensor([[2, 1, 0], [0, 0, 2]]), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=message):
        TwistedSMC(worlds.noisy(worlds.prior("first hitting")), **{"num_particles": 4, **options}).run(y, observed)


def no_prior():
    pyro.sample("x", dist.Categorical(torch.ones(3)))


def no_plate():
    x = diffusion_sample("x", PRIOR)
    pyro.sample("y", dist.Bernoulli(0.2 + 0.6 * x), obs=torch.ones(3))


def no_broadcast():
    x = diffusion_sample("x", PRIOR)
    pyro.sample("y", dist.Normal(x.sum().double(), 1.0), obs=torch.tensor(1.0))


def not_a_number():
    x = diffusion_sample("x", PRIOR)
    pyro.factor("f", (x[..., 0] - 1.0).log())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (no_prior, "no latent diffusion site"),
        (no_plate, "no plate declares dimension"),
        (no_broadcast, "'y' does not broadcast"),
        (not_a_number, "log-probability of NaN"),
    ],
)
def test_refused_programs(model, message):
    with pyro.validation_enabled(False), pytest.raises(ValueError, match=message) as error:
        TwistedSMC(model, 5).run()
    assert isinstance(error.value, NotBroadcast) == (model is no_broadcast)


def test_the_program_of_the_design(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(9)
    sizes = (2, 3, 2)
    forward = ddm.ForwardProcess([ddm.rates.Masked(size) for size in sizes], ddm.schedules.Linear())
    ddm.save("survey.ckpt", ddm.MaskPredictor(ddm.networks.MLP.for_process(forward, width=8), forward))
    noise = torch.full((3, 3), 0.1) + 0.7 * torch.eye(3)
    y, observed = torch.zeros(4, 3, dtype=torch.long), torch.rand(4, 3) < 0.5

    prior = ddm.load("survey.ckpt")

    def model(y, observed):
        with pyro.plate("people", len(y)):
            x = ddm.diffusion_sample("x", prior)
            pyro.sample("y", dist.Categorical(noise[x]).mask(observed).to_event(1), obs=y)

    posterior = ddm.infer.TwistedSMC(model, num_particles=256).run(y, observed)
    assert posterior.samples["x"].shape == (256, 4, 3)
    assert posterior.log_weights.shape == (256, 4)
    assert posterior.log_evidence.shape == posterior.ess.shape == (4,)
    law = ddm.push(ddm.samplers.FirstHitting(), prior)
    scores = torch.where(observed, noise.log()[law.atoms.unsqueeze(1), y], 0.0).sum(-1).double()
    exact = law.pmf @ scores.exp()
    torch.testing.assert_close(posterior.log_evidence, exact.log(), atol=0.3, rtol=0)


@pytest.mark.parametrize("from_dict", [lambda posterior: posterior, lambda data: data["posterior"]], ids=["0.x", "1.x"])
def test_draws_go_on_to_arviz(monkeypatch, from_dict):
    arviz = types.ModuleType("arviz")
    arviz.from_dict = from_dict
    monkeypatch.setitem(sys.modules, "arviz", arviz)

    def model():
        diffusion_sample("x", PRIOR)

    draws = TwistedSMC(model, 6).run().to_arviz()
    assert draws["x"].shape == (1, 6, 3)
    assert isinstance(draws["x"], np.ndarray)
    chains = SplitGibbs(model, 0.5, num_chains=2).run(sweeps=3).to_arviz()
    assert chains["x"].shape == (2, 3, 3)
