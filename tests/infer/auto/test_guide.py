"""AutoDiscreteDiffusion on models whose every state can be listed."""

from __future__ import annotations

import math
from itertools import product
from typing import ClassVar

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO
from pyro.infer.autoguide import AutoGuideList, AutoNormal
from pyro.poutine.util import prune_subsample_sites
from torch.distributions import constraints

from ddm_pyro.infer import AutoDiscreteDiffusion, ParticleELBO, TokenMLP, weigh
from ddm_pyro.infer.auto.elbo import choose
from ddm_pyro.infer.auto.traces import Program


@pytest.fixture(autouse=True)
def fresh():
    pyro.clear_param_store()
    pyro.set_rng_seed(3)
    dtype = torch.get_default_dtype()
    yield
    torch.set_default_dtype(dtype)


def plated():
    """Spins in a plate that a factor couples."""
    with pyro.plate("sites", 3, dim=-1):
        x = pyro.sample("x", dist.Bernoulli(torch.tensor([0.3, 0.6, 0.8])))
    pyro.factor("pairs", 1.2 * (x[..., 1:] * x[..., :-1]).sum(-1, keepdim=True))


def nested():
    """A count a row in a plate of a plate, coupled over the inner plate."""
    with pyro.plate("rows", 2, dim=-1), pyro.plate("columns", 2, dim=-2):
        n = pyro.sample("n", dist.Binomial(torch.tensor([[1.0, 2.0], [3.0, 1.0]]), torch.tensor(0.4)))
    pyro.factor("sum", -((n.sum((-2, -1), keepdim=True) - 2.0) ** 2))


class Between(dist.Categorical):
    """Whole numbers between two bounds, equally likely."""

    arg_constraints: ClassVar = {}

    def __init__(self, low, high):
        self.low, self.high = low, high
        super().__init__(torch.ones(high - low + 1), validate_args=False)

    support = constraints.integer_interval(-1, 1)

    def sample(self, sample_shape=()):
        return super().sample(sample_shape) + self.low

    def log_prob(self, value):
        return super().log_prob(value - self.low)

    def expand(self, batch_shape, _instance=None):
        new = self._get_checked_instance(Between, _instance)
        new.low, new.high = self.low, self.high
        return super().expand(batch_shape, new)

    def enumerate_support(self, expand=True):
        return super().enumerate_support(expand) + self.low


def careless():
    """Every kind of site, written without a thought for particles on the left."""
    x = pyro.sample("x", dist.Bernoulli(torch.tensor([0.3, 0.6])).to_event(1))
    k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
    o = pyro.sample("o", dist.OneHotCategorical(torch.tensor([0.5, 0.5])))
    u = pyro.sample("u", Between(-1, 1))
    table = torch.tensor([[0.0, 1.0, -0.5], [0.3, -1.0, 0.8]])
    pyro.factor("all", table[x[0].long(), k] + (2 * x - 1).prod() + 0.7 * o[1] * u)


def branching():
    """A model that looks at a value."""
    x = pyro.sample("x", dist.Bernoulli(torch.tensor([0.3, 0.6])).to_event(1))
    pyro.factor("both", torch.tensor(1.0 if float(x.sum()) > 1.5 else 0.0))


MODELS = {"plated": plated, "nested": nested, "careless": careless, "branching": branching}


def states(model):
    """Every assignment of the latent sites with its log-probability."""
    trace = poutine.trace(model).get_trace()
    sites = [site for _, site in prune_subsample_sites(trace).iter_stochastic_nodes()]
    lists = []
    for site in sites:
        fn, shape = site["fn"], site["value"].shape
        if isinstance(fn, dist.OneHotCategorical):
            lists.append(list(torch.eye(shape[-1])))
        elif isinstance(fn, dist.Binomial):
            ranges = [range(int(n) + 1) for n in fn.total_count.expand(shape).flatten()]
            lists.append([torch.tensor(v, dtype=site["value"].dtype).reshape(shape) for v in product(*ranges)])
        else:
            inner = getattr(fn, "base_dist", fn)
            values = inner.enumerate_support(expand=False).flatten()
            lists.append([torch.stack(v).reshape(shape) for v in product(values, repeat=math.prod(shape))])
    found = []
    for values in product(*lists):
        data = {site["name"]: value for site, value in zip(sites, values, strict=True)}
        found.append((data, poutine.trace(poutine.condition(model, data)).get_trace().log_prob_sum().double()))
    return found


def log_z(model):
    return torch.logsumexp(torch.stack([log_p for _, log_p in states(model)]), 0).item()


def trained(model, steps=80, **options):
    guide = AutoDiscreteDiffusion(model, network=lambda space: TokenMLP(space, width=16))
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), loss=guide.elbo(32, **options))
    losses = [svi.step() for _ in range(steps)]
    return guide, losses


@pytest.mark.parametrize("name", ["plated", "branching"])
def test_the_evidence_is_right(name):
    model = MODELS[name]
    guide, _ = trained(model, 80 if name != "branching" else 10)
    draws = guide.sample_posterior(4000 if name != "branching" else 200)
    assert abs(draws.log_evidence - log_z(model)) < 4.5 * draws.stderr + 1e-4
    assert draws.ess_fraction > 0.7
    assert draws.elbo < draws.log_evidence


@pytest.mark.parametrize("name", ["nested", "careless"])
def test_posterior_means_are_right(name):
    model = MODELS[name]
    guide, _ = trained(model)
    draws = guide.sample_posterior(4000)
    found = states(model)
    assert abs(draws.log_evidence - log_z(model)) < 4.5 * draws.stderr + 1e-4
    weights = torch.stack([log_p for _, log_p in found]).softmax(0)
    for site, values in draws.samples.items():
        table = torch.stack([data[site].double() for data, _ in found])
        right = torch.tensordot(weights, table, dims=1)
        spread = torch.tensordot(weights, (table - right).square(), dims=1).sqrt()
        assert draws.mean(site).shape == right.shape
        assert ((draws.mean(site) - right).abs() < 5 * spread / draws.ess**0.5 + 1e-6).all()
        assert values.dtype == found[0][0][site].dtype


@pytest.mark.parametrize(
    ("name", "mode"), [("plated", "plate"), ("nested", "plate"), ("careless", "vmap"), ("branching", "loop")]
)
def test_particles_are_run_together_where_that_is_right(name, mode):
    guide = AutoDiscreteDiffusion(MODELS[name])
    guide()
    assert choose(Program(MODELS[name], guide).inspected()) == mode


def test_a_model_that_a_plate_of_particles_makes_wrong_in_silence_is_not_run_in_one():
    def model():
        x = pyro.sample("x", dist.Bernoulli(0.5).expand([4]).to_event(1))
        pyro.factor("pairs", (x[1:] * x[:-1]).sum())  # with particles on the left, pairs of particles

    guide = AutoDiscreteDiffusion(model)
    guide()
    assert choose(Program(model, guide).inspected()) == "vmap"


@pytest.mark.parametrize(("mean", "mode"), [(lambda z: z.mean(), "vmap"), (lambda z: z.mean(-1), "plate")])
def test_particles_that_blend_are_found_under_many_data(mean, mode):
    data = 5.0 + 10.0 * torch.randn(5000)  # log p is -18,600 a particle, the blend of particles some nats of it

    def model():
        z = pyro.sample("z", dist.Bernoulli(0.5).expand([6]).to_event(1))
        with pyro.plate("data", 5000):
            pyro.sample("y", dist.Normal(mean(z), 10.0), obs=data)

    def unit():
        z = pyro.sample("z", dist.Bernoulli(0.5))
        with pyro.plate("data", 5000):
            pyro.sample("y", dist.Normal(mean(z.unsqueeze(-1)), 100.0), obs=data)

    for program in (model, unit):
        guide = AutoDiscreteDiffusion(program)
        guide()
        assert choose(Program(program, guide).inspected()) == mode


@pytest.mark.parametrize("mode", ["plate", "vmap", "loop"])
def test_every_mode_gives_the_weights_of_single_runs(mode):
    guide = AutoDiscreteDiffusion(plated)
    guide()
    program = Program(plated, guide).inspected()
    drawn = list(program.draw(5, mode))
    for log_model, trace, dim in drawn:
        tokens = trace.nodes["x"]["value"].reshape(-1, 3)
        right = torch.stack([log_p for data, log_p in states(plated) for row in tokens[:1] if (data["x"] == row).all()])
        torch.testing.assert_close(log_model[:1].double(), right, rtol=1e-5, atol=1e-5)
        assert (dim is None) == (mode == "loop")
    assert sum(len(log_model) for log_model, _, _ in drawn) == 5


@pytest.mark.parametrize("objective", ["rloo", "rws", "wdce"])
@pytest.mark.parametrize("family", ["masked", "uniform"])
def test_every_objective_trains_every_family(objective, family):
    steps = {"steps": 8} if family == "uniform" else {}
    guide = AutoDiscreteDiffusion(plated, lambda s: TokenMLP(s, width=16, timed=True), objective, family, **steps)
    svi = SVI(plated, guide, pyro.optim.Adam({"lr": 0.01}), loss=guide.elbo(64))
    svi.step()
    before = guide.sample_posterior(2000)
    for _ in range(100):
        svi.step()
    after = guide.sample_posterior(2000)
    assert after.elbo > before.elbo + 0.1
    assert after.ess_fraction > 0.7
    assert abs(after.log_evidence - log_z(plated)) < 4.5 * after.stderr


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceGraph_ELBO, TraceEnum_ELBO, ParticleELBO])
def test_pyros_objectives_have_the_right_value_and_gradient(elbo):
    torch.set_default_dtype(torch.float64)
    guide = AutoDiscreteDiffusion(plated, lambda s: TokenMLP(s, width=4))
    guide()
    with torch.no_grad():
        for parameter in guide.family.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    exact, parameters = exact_elbo(plated, guide)
    right = torch.cat([g.flatten() for g in torch.autograd.grad(-exact, parameters)])
    n, options = 8000, {}
    if elbo is not ParticleELBO:
        options = {"vectorize_particles": True, "max_plate_nesting": 1, "strict_enumeration_warning": False}
    loss = elbo(num_particles=n, **options).loss_and_grads(plated, guide)
    found = torch.cat([p.grad.flatten() for p in parameters])
    assert abs(loss + exact.item()) < 0.03
    assert (found - right).norm() / right.norm() < 0.12  # at 8,000 particles; the exact tests are elsewhere


def exact_elbo(model, guide):
    """E_q[log p - log q] over every token sequence and order, by the definition of the masked family."""
    from itertools import permutations

    network, space = guide.family.network, guide.space
    assert [block.name for block in guide.blocks] == ["x"]
    total = 0.0
    for data, log_p in states(model):
        tokens = data["x"].long().tolist()
        for order in permutations(range(space.length)):
            known, log_q = [space.vocab_size] * space.length, 0.0
            for at in order:
                logits = network(torch.tensor([known]), torch.zeros(1))[0, at]
                log_q = log_q + logits.log_softmax(-1)[tokens[at]]
                known[at] = tokens[at]
            total = total + log_q.exp() / math.factorial(space.length) * (log_p - log_q)
    return total, [p for p in guide.family.parameters() if p.requires_grad]


def mixed_with_continuous(y):
    weight = pyro.sample("weight", dist.Beta(2.0, 2.0))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 0.3))
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Bernoulli(weight))
        pyro.sample("y", dist.Normal(2 * z - 1, scale), obs=y)


@pytest.mark.parametrize("objective", ["rloo", "rws", pytest.param("wdce", marks=pytest.mark.slow)])
def test_beside_a_continuous_guide(objective):
    y = torch.tensor([-1.2, 0.9, 0.1])
    guide = AutoGuideList(mixed_with_continuous)
    guide.append(AutoNormal(poutine.block(mixed_with_continuous, hide=["z"]), init_scale=0.4))
    part = poutine.block(mixed_with_continuous, expose=["z"])
    discrete = AutoDiscreteDiffusion(part, lambda space: TokenMLP(space, width=16), objective)
    guide.append(discrete)
    svi = SVI(mixed_with_continuous, guide, pyro.optim.Adam({"lr": 0.02}), loss=discrete.elbo(64))
    for _ in range(80):
        svi.step(y)
    draws = weigh(mixed_with_continuous, guide, 4000, y)

    def summed(weight, scale):  # z is independent given the two
        normal = dist.Normal(torch.tensor([-1.0, 1.0]), scale.unsqueeze(-1).unsqueeze(-1))
        probs = torch.stack([1 - weight, weight], -1).unsqueeze(-2)
        return (normal.log_prob(y.unsqueeze(-1)).exp() * probs).sum(-1).prod(-1)

    torch.manual_seed(0)
    n = 50000
    prior = summed(dist.Beta(2.0, 2.0).sample((n,)), dist.LogNormal(0.0, 0.3).sample((n,)))
    right, error = prior.mean().log().item(), (prior.std() / prior.mean() / n**0.5).item()
    assert abs(draws.log_evidence - right) < 4.5 * math.hypot(draws.stderr, error)
    assert draws.ess_fraction > 0.05
    assert set(draws.samples) == {"weight", "scale", "z"}
    assert draws.samples["z"].shape == (4000, 3)
    assert set(guide.median(y)) == {"weight", "scale", "z"}
    assert guide.quantiles([0.1, 0.9], y)["z"].shape == (2, 3)


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_params_local_or_global_and_both_precisions(local, dtype):
    torch.set_default_dtype(dtype)
    with pyro.settings.context(module_local_params=local):
        guide, _ = trained(plated)
        draws = guide.sample_posterior(2000)
        assert draws.ess_fraction > 0.75
        assert (len(pyro.get_param_store()) == 0) == local
        assert {p.dtype for p in guide.parameters()} == {dtype}


def test_as_a_module_with_torchs_optimizers():
    with pyro.settings.context(module_local_params=True):
        guide = AutoDiscreteDiffusion(plated, lambda space: TokenMLP(space, width=16))
        guide()
        loss = guide.elbo(64)(plated, guide)
        optimizer = torch.optim.Adam(loss.parameters(), lr=0.01)
        for _ in range(60):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
        assert guide.sample_posterior(1000).ess_fraction > 0.85


def test_seeds_repeat():
    runs = []
    for _ in range(2):
        pyro.clear_param_store()
        pyro.set_rng_seed(11)
        guide, losses = trained(plated, 5)
        runs.append((losses, guide.sample_posterior(50).samples["x"]))
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])


def test_a_call_returns_the_latents():
    found = AutoDiscreteDiffusion(careless)()
    assert {name: value.shape for name, value in found.items()} == {"x": (2,), "k": (), "o": (2,), "u": ()}
    assert found["o"].sum() == 1


def test_summaries():
    guide, _ = trained(careless)
    median, quantiles, marginals = guide.median(), guide.quantiles([0.0, 1.0]), guide.marginals()
    assert median["o"].sum() == 1
    assert -1 <= median["u"] <= 1
    assert set(quantiles) == {"x"}  # categories have no order
    assert quantiles["x"].tolist() == [[0.0, 0.0], [1.0, 1.0]]
    found = states(careless)
    weights = torch.stack([log_p for _, log_p in found]).softmax(0)
    pairs = zip(weights, found, strict=True)
    right = torch.stack([w * torch.nn.functional.one_hot(d["k"].long(), 3) for w, (d, _) in pairs]).sum(0)
    assert (marginals["k"] - right).abs().max() < 0.12
    assert marginals["k"][median["k"]] > 0.33


def test_unobserved_elements_of_a_masked_site_are_the_tokens():
    data, seen = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([True, False, True])

    def model():
        with pyro.plate("sites", 3):
            x = pyro.sample("x", dist.Bernoulli(torch.tensor([0.2, 0.3, 0.4])), obs=data, obs_mask=seen)
        pyro.factor("pairs", (x[..., 1:] * x[..., :-1]).sum(-1, keepdim=True))

    guide, _ = trained(model)
    assert guide.space.length == 1
    draws = guide.sample_posterior(2000)
    right = math.log(0.2 * 0.4 * (0.7 + 0.3 * math.e**2))
    assert abs(draws.log_evidence - right) < 4.5 * draws.stderr + 1e-4


def test_annealing_starts_from_the_flat_law_and_ends_at_the_model():
    guide = AutoDiscreteDiffusion(plated)
    guide()
    elbo = guide.elbo(500, anneal=4)
    flat = -math.log(8)  # log q of the untrained guide
    with torch.no_grad():
        losses = [elbo.differentiable_loss(plated, guide).item() for _ in range(6)]
    steps = [loss - flat for loss in losses]
    for k, step in enumerate(steps):
        assert step == pytest.approx(min(1.0, (k + 1) / 4) * steps[-1], rel=0.25)
    assert AutoDiscreteDiffusion(plated).elbo(4).anneal == 0


def test_beside_another_discrete_guide():
    def model():
        a = pyro.sample("a", dist.Bernoulli(0.3))
        b = pyro.sample("b", dist.Categorical(torch.ones(3)))
        pyro.factor("ab", a * b)

    guide = AutoGuideList(model)
    parts = [AutoDiscreteDiffusion(poutine.block(model, expose=[name])) for name in "ab"]
    for part in parts:
        guide.append(part)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), loss=parts[0].elbo(32))
    for _ in range(20):
        svi.step()
    draws = weigh(model, guide, 3000)
    assert abs(draws.log_evidence - log_z(model)) < 4.5 * draws.stderr
    with pytest.raises(ValueError, match="weigh"):
        parts[0].sample_posterior(10)


def test_model_parameters_are_learned():
    def model():
        b = pyro.param("b", torch.tensor(0.5))
        with pyro.plate("data", 4):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            pyro.sample("y", dist.Bernoulli(logits=b * (2 * z - 1) + 1.0), obs=torch.ones(4))

    guide = AutoDiscreteDiffusion(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), loss=guide.elbo(32))
    before = -svi.step()
    for _ in range(100):
        svi.step()
    assert abs(pyro.param("b").item()) < 0.2  # sigma is concave above zero, so the evidence is largest at b = 0
    assert guide.sample_posterior(1000).log_evidence > before
