"""What the guides refuse, in one sentence that names the site."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI
from pyro.infer.autoguide import AutoGuideList

from ddm_pyro.infer import AutoDiscreteDiffusion, ParticleELBO, weigh


@pytest.fixture(autouse=True)
def fresh():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)


def one(fn):
    def model():
        pyro.sample("ok", dist.Bernoulli(0.5))
        pyro.sample("bad", fn)

    return model


@pytest.mark.parametrize("fn", [dist.Poisson(1.0), dist.Geometric(0.5), dist.NegativeBinomial(2.0, 0.5)], ids=repr)
def test_unbounded_supports(fn):
    with pytest.raises(ValueError, match=r"Site 'bad' ~ \w+ has support .* finitely many"):
        AutoDiscreteDiffusion(one(fn))()


def test_continuous_sites():
    with pytest.raises(ValueError, match=r"Site 'bad' ~ Normal is not discrete; .*hide=\['bad'\]"):
        AutoDiscreteDiffusion(one(dist.Normal(0.0, 1.0)))()


def test_vectors_with_a_total():
    with pytest.raises(ValueError, match="Site 'bad' ~ Multinomial"):
        AutoDiscreteDiffusion(one(dist.Multinomial(3, torch.ones(2))))()


def test_sequential_plates():
    def model():
        for i in pyro.plate("rows", 2):
            pyro.sample(f"x_{i}", dist.Bernoulli(0.5))

    guide = AutoDiscreteDiffusion(model)
    for _ in range(2):  # the refusal is not half a set-up
        with pytest.raises(ValueError, match="Site 'x_0' sits in the sequential plate 'rows'"):
            guide()


def test_subsampled_plates():
    def model():
        with pyro.plate("data", 10, subsample_size=3):
            pyro.sample("z", dist.Bernoulli(0.5))

    with pytest.raises(ValueError, match="Site 'z' sits in plate 'data' that subsamples 3 of 10"):
        AutoDiscreteDiffusion(model)()


def test_bounds_that_follow_another_site():
    def model():
        n = pyro.sample("n", dist.Categorical(torch.ones(4) / 4))
        pyro.sample("k", dist.Binomial(n.double(), torch.tensor(0.5).double()))

    for seed in range(5):
        pyro.set_rng_seed(seed)
        with pytest.raises(ValueError, match="bounds of site 'k' change from run to run"):
            AutoDiscreteDiffusion(model)()


def test_no_latent_site():
    with pytest.raises(ValueError, match="no discrete latent site"):
        AutoDiscreteDiffusion(lambda: pyro.sample("y", dist.Bernoulli(0.5), obs=torch.tensor(1.0)))()


def test_latents_without_a_guide():
    model = one(dist.Bernoulli(0.5))
    guide = AutoDiscreteDiffusion(poutine.block(model, expose=["ok"]))
    with pytest.raises(ValueError, match="latent site 'bad' is not in the guide"):
        guide.elbo(4).loss(model, guide)


def test_sites_that_the_model_lacks():
    with pytest.raises(ValueError, match="'y' is not a latent site of the model"):
        ParticleELBO(4).loss(
            lambda: pyro.sample("x", dist.Bernoulli(0.5)),
            lambda: (pyro.sample("x", dist.Bernoulli(0.5)), pyro.sample("y", dist.Bernoulli(0.5))),
        )


def test_discrete_auxiliary_sites_without_a_partner():
    def guide():
        z = pyro.sample("z", dist.Bernoulli(0.5), infer={"is_auxiliary": True})
        pyro.sample("x", dist.Bernoulli(0.2 + 0.5 * z))

    with pytest.raises(ValueError, match=r"auxiliary site 'z' is discrete .*noised"):
        ParticleELBO(4).loss(lambda: pyro.sample("x", dist.Bernoulli(0.5)), guide)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "elbo"}, "objective='elbo' must be one of 'rloo', 'rws', 'wdce'"),
        ({"family": "gaussian"}, "family='gaussian' must be one of 'masked', 'uniform'"),
        ({"steps": 4}, "steps=4 belongs to family='uniform'"),
        ({"family": "uniform", "steps": 0}, "steps=0 must be"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        AutoDiscreteDiffusion(one(dist.Bernoulli(0.5)), **options)


@pytest.mark.parametrize(("n", "objective"), [(0, "rloo"), (1, "rws"), (1, "wdce"), (2.5, "rloo"), (True, "rloo")])
def test_bad_numbers_of_particles(n, objective):
    with pytest.raises(ValueError, match="num_particles="):
        ParticleELBO(n, objective)


def test_bad_networks():
    model = one(dist.Bernoulli(0.5))
    with pytest.raises(TypeError, match="network=3"):
        AutoDiscreteDiffusion(model, network=3)()
    narrow = torch.nn.Module()
    narrow.forward = lambda x, t: torch.zeros(*x.shape, 5)
    with pytest.raises(ValueError, match=r"must end in \(2, 2\)"):
        AutoDiscreteDiffusion(model, network=narrow)()


def test_before_the_first_run():
    with pytest.raises(ValueError, match=r"call guide\(\*args\) once"):
        _ = AutoDiscreteDiffusion(one(dist.Bernoulli(0.5))).space


def test_a_model_that_forbids_states_needs_wake_sleep():
    def model():
        x = pyro.sample("x", dist.Bernoulli(0.5).expand([3]).to_event(1))
        pyro.factor("odd", torch.where(x.sum(-1) % 2 == 1, 0.0, -torch.inf))

    guide = AutoDiscreteDiffusion(model)
    with pytest.raises(ValueError, match="objective='rws'"):
        SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), loss=guide.elbo(16)).step()
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), loss=guide.elbo(64, "rws"))
    for _ in range(100):
        svi.step()
    draws = guide.sample_posterior(2000)
    assert draws.ess_fraction > 0.9
    assert abs(draws.log_evidence + 0.6931) < 0.02


def test_no_draw_with_a_weight():
    def model():
        pyro.sample("x", dist.Bernoulli(0.5))
        pyro.factor("never", torch.tensor(-torch.inf))

    guide = AutoGuideList(model)
    guide.append(AutoDiscreteDiffusion(model))
    with pytest.raises(ValueError, match="probability zero"):
        weigh(model, guide, 4)
    with pytest.raises(ValueError, match="num_samples=1"):
        weigh(model, guide, 1)
