"""TraceEnum_ELBO and its kin in programs of either floating-point type, with laws of ours anywhere in them."""

from __future__ import annotations

import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceTMC_ELBO, config_enumerate
from pyro.infer.importance import vectorized_importance_weights
from pyro.infer.mcmc.util import initialize_model

import ddm_pyro as ddm
from ddm_pyro.infer import AutoDiscreteDiffusion, DiffusionPrior, ReverseGuide, TokenMLP, diffusion_sample, noised

L = 2
TARGET = ddm.targets.MarkovChain([0.2, 0.8], [[0.7, 0.3], [0.1, 0.9]], length=L)
OTHER = ddm.targets.MarkovChain([0.6, 0.4], [[0.5, 0.5], [0.2, 0.8]], length=L)
MASKED = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), length=L)
UNIFORM = ddm.ForwardProcess(ddm.rates.Uniform(2), ddm.schedules.LogLinear(), length=L)
X = TARGET.space.enumerate()
NOISE = [[0.9, 0.1], [0.3, 0.7]]
Y = torch.tensor([[0, 1], [1, 0], [1, 1]])
#: Standard errors at which a mean is off with probability 2e-5.
SIGMAS = 4.3


@pytest.fixture(autouse=True)
def clean():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


def prior(target=TARGET, forward=MASKED, density="exact"):
    sampler = ddm.samplers.FirstHitting() if forward is MASKED else ddm.samplers.Ancestral()
    return DiffusionPrior(sampler, target.denoiser(forward), density, steps=None if forward is MASKED else 2)


def seen(x, y, dtype):
    """Two observations, one of them continuous, in the type of the program."""
    pyro.sample("y", dist.Categorical(torch.tensor(NOISE, dtype=dtype)[x]).to_event(1), obs=y)
    total = torch.full(y.shape[:-1], 1.5, dtype=dtype)
    pyro.sample("sum", dist.Normal(x.sum(-1).to(dtype), torch.tensor(0.5, dtype=dtype)), obs=total)


def log_likelihood(y):
    """log p(y, sum | x) of every x, (..., 4), float64."""
    noise = torch.tensor(NOISE).double()
    return noise[X, y.unsqueeze(-2)].log().sum(-1) + dist.Normal(X.sum(-1).double(), 0.5).log_prob(torch.tensor(1.5))


def by_sites(name, law):
    return diffusion_sample(name, law)


def directly(name, law):
    return pyro.sample(name, law)


def program(law, dtype, route=directly, plate=True, wrap=lambda law: law):
    def model():
        if not plate:
            return seen(route("x", wrap(law)), Y[0], dtype)
        with pyro.plate("rows", len(Y)):
            seen(route("x", wrap(law)), Y, dtype)

    return model


def evidence(log_p, plate=True):
    return torch.logsumexp(log_p + log_likelihood(Y if plate else Y[0]), -1).sum()


def bound(log_q, log_p, plate=True):
    """sum_x q(x) (log p(x, y) - log q(x)), summed over rows."""
    return (log_q.exp() * (log_p + log_likelihood(Y if plate else Y[0]) - log_q)).sum()


def elbo_of(model, guide, particles=1, engine=TraceEnum_ELBO, nesting=1):
    options = {"strict_enumeration_warning": False} if engine is TraceEnum_ELBO else {}
    elbo = engine(num_particles=particles, vectorize_particles=particles > 1, max_plate_nesting=nesting, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found vars in model but not guide")
        return elbo.differentiable_loss(model, guide)


@pytest.mark.parametrize("plate", [True, False])
@pytest.mark.parametrize(
    ("name", "wrap"),
    [("fixed", "plain"), ("exact", "plain"), ("exact", "masked"), ("uniform", "plain"), ("target", "plain")],
)
def test_a_law_of_ours_is_enumerated_in_the_model(name, wrap, plate, dtype) -> None:
    law = {
        "fixed": lambda: prior(density="fixed"),
        "exact": prior,
        "uniform": lambda: prior(forward=UNIFORM),
        "target": lambda: TARGET,
    }[name]()
    wrapped = (lambda law: law.mask(True)) if wrap == "masked" else (lambda law: law)
    model = config_enumerate(program(law, dtype, plate=plate, wrap=wrapped))
    loss = elbo_of(shifted(model, dtype), lambda: None)
    assert loss.dtype == dtype
    torch.testing.assert_close(-loss.detach().double(), evidence(law.log_prob(X), plate).detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("plate", [True, False])
@pytest.mark.parametrize("engine", [TraceEnum_ELBO, TraceTMC_ELBO])
def test_a_guide_of_ours_alone_is_enumerated(engine, plate, dtype) -> None:
    p, q = prior(), prior(OTHER)
    guide = config_enumerate(program_of_guide(q, plate))
    loss = -elbo_of(shifted(program(p, dtype, plate=plate), dtype), guide, engine=engine).detach().double()
    log_q, log_p = q.log_prob(X), p.log_prob(X)
    expected = bound(log_q, log_p, plate) if engine is TraceEnum_ELBO else evidence(log_p, plate)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)


def shifted(model, dtype):
    """The same, with a parameter to be differentiated in."""

    def run():
        pyro.factor("shifted", pyro.param("shift", torch.zeros((), dtype=dtype)) * 1)
        model()

    return run


def program_of_guide(law, plate=True, plan=None):
    def guide():
        if not plate:
            if plan is not None:
                pyro.sample("x_plan", plan)
            return pyro.sample("x", law)
        with pyro.plate("rows", len(Y)):
            if plan is not None:
                pyro.sample("x_plan", plan)
            return pyro.sample("x", law)

    return guide


@pytest.mark.parametrize("plate", [True, False])
@pytest.mark.parametrize("route", ["by sites", "directly", "foreign"])
def test_a_guide_of_ours_alone_draws(route, plate, dtype) -> None:
    # The model's own sites may be ours or Pyro's; all the guide's are ours.
    p, q = prior(), prior(OTHER)
    if route == "foreign":
        probs = torch.tensor([0.3, 0.7], dtype=dtype)
        independent = dist.Categorical(probs).expand([L]).to_event(1)
        model, ways = program(independent, dtype, plate=plate), probs.double().log()[X].sum(-1).unsqueeze(0)
    elif route == "directly":
        model, ways = program(p, dtype, plate=plate), p.log_prob(X).unsqueeze(0)
    else:
        model = program(p, dtype, by_sites, plate)
        plans = p.plan_law.enumerate_support()
        ways = ddm.infer.plans.Unmasking(p.reverse, plans.unsqueeze(1)).log_prob(X)  # (order, x)
    guide = program_of_guide(q, plate, p.plan_law if route == "by sites" else None)
    law = q.log_prob(X).exp() / len(ways)
    gaps = ways.unsqueeze(1) + log_likelihood(Y if plate else Y[:1]) - q.log_prob(X)  # (order, row, x)
    mean, square = ((law * gaps**power).sum((0, 2)) for power in (1, 2))
    error = ((square - mean**2).sum() / 8000).sqrt()
    for engine in (TraceEnum_ELBO, Trace_ELBO):
        loss = elbo_of(shifted(model, dtype), guide, 8000, engine).detach()
        assert (loss + mean.sum()).abs() < SIGMAS * error


@pytest.mark.parametrize("kind", ["path", "grid"])
def test_paths_that_start_at_an_enumerated_site(kind, dtype) -> None:
    start, probs = torch.tensor([[0, 0], [1, 0]]), torch.tensor([0.3, 0.7], dtype=dtype)
    if kind == "grid":
        law, seen = UNIFORM.path(start, times=[0.5, 1.0]), torch.tensor([[1, 0], [1, 1]])
    else:
        law, seen = UNIFORM.path(start, max_jumps=1), torch.tensor([[0.25, 1.0, 1.0]], dtype=torch.float64)

    def model():
        k = pyro.sample("k", dist.Categorical(probs), infer={"enumerate": "parallel"})
        where = {"times": [0.5, 1.0]} if kind == "grid" else {"max_jumps": 1}
        pyro.sample("path", UNIFORM.path(start[k], **where), obs=seen)

    loss = elbo_of(shifted(model, dtype), lambda: None, nesting=0).detach()
    assert loss.dtype == dtype
    expected = -torch.logsumexp(probs.double().log() + law.log_prob(seen), 0)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)


def test_outside_enumeration_they_stay_float64() -> None:
    trace = poutine.trace(program(prior(), torch.float32)).get_trace()
    trace.compute_log_prob()
    assert trace.nodes["x"]["log_prob"].dtype == torch.float64
    assert TARGET.log_prob(X).dtype == torch.float64
    summed = pyro.poutine.enum(config_enumerate(program(prior(), torch.float32)), first_available_dim=-2)
    beside = poutine.trace(summed).get_trace()  # another trace at hand, whose sites are enumerated
    guide = poutine.trace(program_of_guide(prior(OTHER))).get_trace()
    guide.compute_score_parts()
    beside.compute_log_prob()
    assert beside.nodes["x"]["log_prob"].dtype == torch.float32
    assert guide.nodes["x"]["log_prob"].dtype == torch.float64


@pytest.mark.parametrize("kind", ["masked", "uniform"])
def test_a_reverse_guide(kind, dtype) -> None:
    forward = MASKED if kind == "masked" else UNIFORM
    probs = torch.tensor([0.3, 0.7], dtype=dtype)
    model = program(dist.Categorical(probs).expand([L]).to_event(1), dtype)
    noisy = noised(model, "x", forward, [0.5, 1.0])
    guide = ReverseGuide(ddm.samplers.Ancestral(), OTHER.denoiser(forward), noisy)
    loss = elbo_of(shifted(noisy, dtype), guide, 6000).detach()
    with torch.no_grad():
        log_w, _, _ = vectorized_importance_weights(
            noisy, guide, num_samples=6000, max_plate_nesting=1, normalized=False
        )
    assert (loss + log_w.mean()).abs() < SIGMAS * log_w.std() * math.sqrt(2 / 6000)


def spins(dtype):
    """A Bernoulli and a Categorical latent, in the type given."""
    pyro.param("b", torch.tensor(0.3, dtype=dtype))
    with pyro.plate("sites", 2, dim=-1):
        x = pyro.sample("x", dist.Bernoulli(torch.tensor([0.3, 0.6], dtype=dtype)))
    k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.3, 0.5], dtype=dtype)))
    pyro.factor("pairs", 1.2 * (x.sum(-1, keepdim=True) - 0.5) * (k - 1).to(dtype))


@pytest.mark.parametrize("family", ["masked", "uniform"])
def test_a_joint_guide(family, dtype) -> None:
    def model():
        return spins(dtype)

    steps = {"steps": 3} if family == "uniform" else {}
    guide = AutoDiscreteDiffusion(model, lambda s: TokenMLP(s, width=4, timed=True).to(dtype), family=family, **steps)
    guide()
    with torch.no_grad():
        for parameter in guide.family.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    loss = elbo_of(model, guide, 6_000)
    loss.backward()
    # Exact in the mean over paths, which the guide's own objective takes one by one.
    found = torch.cat([p.grad.flatten() for p in guide.family.parameters()])
    for parameter in guide.family.parameters():
        parameter.grad = None
    log_w = guide.elbo(2000).particles(model, guide).log_weight
    value = guide.elbo(20_000).loss_and_grads(model, guide)
    right = torch.cat([p.grad.flatten() for p in guide.family.parameters()])
    assert abs(loss.item() - value) < SIGMAS * log_w.std() * math.sqrt(1 / 6000 + 1 / 20_000)
    assert (found - right).norm() / right.norm() < 0.2


@pytest.mark.parametrize("route", [by_sites, directly])
def test_nuts_sums_over_a_small_prior(route, dtype) -> None:
    p = prior()

    def run():
        scale = pyro.sample("scale", dist.LogNormal(torch.zeros((), dtype=dtype), torch.tensor(0.3, dtype=dtype)))
        with pyro.plate("rows", 3):
            x = route("x", p)
            pyro.sample("z", dist.Normal(x.to(dtype), scale).to_event(1), obs=Y.to(dtype))

    _, potential, _, _ = initialize_model(run, max_plate_nesting=1)
    u = torch.tensor(0.2, dtype=dtype)
    noise = dist.Normal(X.unsqueeze(1).double(), u.exp().double()).log_prob(Y.double()).sum(-1)
    log_evidence = torch.logsumexp(p.log_prob(X).unsqueeze(-1) + noise, 0).sum()
    expected = -(log_evidence + dist.LogNormal(0.0, 0.3).log_prob(u.exp()) + u)
    torch.testing.assert_close(potential({"scale": u}).double(), expected.double(), rtol=1e-5, atol=1e-5)
