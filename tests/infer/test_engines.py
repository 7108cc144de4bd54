"""Every other objective of Pyro over our guides: right against enumeration, or refused in one sentence."""

from __future__ import annotations

import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from prior_worlds import model as network_for
from pyro import poutine
from pyro.infer import (
    SVI,
    EnergyDistance,
    JitTrace_ELBO,
    JitTraceEnum_ELBO,
    JitTraceGraph_ELBO,
    JitTraceMeanField_ELBO,
    Predictive,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    Trace_MMD,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    TraceTailAdaptive_ELBO,
    TraceTMC_ELBO,
    WeighedPredictive,
)

import ddm_pyro as ddm
from ddm_pyro.infer import (
    AutoDiscreteDiffusion,
    DiffusionPrior,
    ParticleELBO,
    ReverseGuide,
    TokenMLP,
    diffusion_sample,
    noised,
)

Y = torch.tensor([1.3, 0.2], dtype=torch.float64)
LAW = ddm.targets.Tabular(torch.tensor([[0.1, 0.45], [0.3, 0.15]], dtype=torch.float64))
X = LAW.space.enumerate()
FORWARD = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), length=2)


@pytest.fixture(autouse=True)
def clean():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)


@pytest.fixture
def float64():
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(dtype)


def coupled():
    """Spins in a plate that a factor outside it couples."""
    with pyro.plate("spins", 3, dim=-1):
        x = pyro.sample("x", dist.Bernoulli(torch.tensor([0.3, 0.6, 0.8], dtype=torch.float64)))
    pyro.factor("pairs", 1.2 * (x[..., 1:] * x[..., :-1]).sum(-1, keepdim=True))


def inside():
    """All sites of the model in one plate, a number of its own for every spin."""
    with pyro.plate("spins", 3, dim=-1):
        x = pyro.sample("x", dist.Bernoulli(torch.tensor([0.3, 0.6, 0.8], dtype=torch.float64)))
        pyro.sample("y", dist.Normal(x.double(), 0.5), obs=torch.tensor([0.9, 0.1, 0.4], dtype=torch.float64))


def log_joint(model, states):
    with pyro.plate("states", len(states), dim=-2):
        trace = poutine.trace(poutine.condition(model, {"x": states.double()})).get_trace()
    trace.compute_log_prob()
    return sum(
        site["log_prob"].sum(-1) for site in trace.nodes.values() if site["type"] == "sample" and "log_prob" in site
    )


def joint_guide(model):
    """The guide, and log q and log p (with the law of the order in both) of all its 48 paths."""
    guide = AutoDiscreteDiffusion(model, lambda space: TokenMLP(space, width=4).double())
    guide()
    with torch.no_grad():
        for parameter in guide.family.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    states = guide.space.enumerate()
    orders = torch.tensor([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
    log_q, log_p = [], log_joint(model, states)
    for row in states:
        for order in orders.tolist():
            known, total = torch.full((1, 3), 2), torch.zeros((), dtype=torch.float64)
            for at in order:
                logits = guide.family.network(known, torch.zeros(1, dtype=torch.float64))[0, at]
                total = total + logits.log_softmax(-1)[row[at]]
                known = known.clone()
                known[0, at] = row[at]
            log_q.append(total - math.log(6))
    return guide, torch.stack(log_q), log_p.repeat_interleave(6) - math.log(6)


def scores(run, values, count):
    """Log-probabilities of all sites of a run at listed values, name -> (count,)."""
    with pyro.plate("paths", count):
        trace = poutine.trace(poutine.condition(run, data=values)).get_trace()
    trace.compute_log_prob()
    return {name: site["log_prob"] for name, site in trace.nodes.items() if name == "y" or name in values}


def reverse_guide():
    """The program, its guide, and scores of all paths: by the guide, and by the program's sites."""

    def plain():
        x = pyro.sample("x", LAW)
        pyro.sample("y", dist.Normal(x.double(), 0.7).to_event(1), obs=Y)

    program = noised(plain, "x", FORWARD, [0.4, 1.0])
    guide = ReverseGuide(ddm.samplers.Ancestral(), network_for(FORWARD), program)
    guide()
    noisy = FORWARD.space.enumerate()
    index = torch.cartesian_prod(torch.arange(len(noisy)), torch.arange(len(noisy)), torch.arange(len(X)))
    values = {"x@2": noisy[index[:, 0]], "x@1": noisy[index[:, 1]], "x": X[index[:, 2]]}
    log_q, parts = sum(scores(guide, values, len(index)).values()), scores(program, values, len(index))
    reached = log_q > -torch.inf
    return program, guide, log_q[reached], {name: part[reached] for name, part in parts.items()}


def prior_and_guide():
    """``diffusion_sample`` with a network that is trained, a guide of the order and the tokens, and all their paths."""
    network = network_for(FORWARD)
    prior = DiffusionPrior(ddm.samplers.FirstHitting(), network)

    def program():
        pyro.module("network", network)
        x = diffusion_sample("x", prior)
        pyro.sample("y", dist.Normal(x.double(), 0.7).to_event(1), obs=Y)

    start = torch.tensor([[0.3, -0.2], [0.1, 0.6]], dtype=torch.float64)

    def guide():
        logits = pyro.param("logits", start)
        pyro.sample("x_plan", prior.plan_law)
        pyro.sample("x", dist.Categorical(logits=logits).to_event(1))

    guide()
    values = {"x_plan": torch.tensor([[0, 1], [1, 0]]).repeat(4, 1), "x": X.repeat_interleave(2, 0)}
    log_q, parts = (sum(scores(run, values, 8).values()) for run in (guide, program))
    return program, guide, [*network.parameters(), pyro.param("logits").unconstrained()], log_q, parts


def guided(name):
    """Program, guide, parameters, and log q and log p of every path."""
    if name == "reverse":
        program, guide, log_q, parts = reverse_guide()
        return program, guide, list(guide.parameters()), log_q, sum(parts.values())
    if name == "prior":
        return prior_and_guide()
    model = {"coupled": coupled, "inside": inside}[name]
    guide, log_q, log_p = joint_guide(model)
    return model, guide, [p for p in guide.parameters() if p.requires_grad], log_q, log_p


def flat(gradients, parameters):
    pairs = zip(gradients, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


#: Standard errors at which a mean is off with probability 2e-5.
SIGMAS = 4.3
PARTICLES = 3000


def spread(log_q, values):
    """Standard deviation of a function of the paths under q."""
    q = log_q.detach().exp()
    return (q * (values - (q * values).sum()).square()).sum().sqrt().item()


def assert_value_and_gradient(engine, program, guide, parameters, loss, deviation, runs=5, tolerance=0.1, **options):
    """Value and gradient of an engine against ``loss``, a sum over all paths; ``deviation`` is that of one particle."""
    right = flat(torch.autograd.grad(loss, parameters, allow_unused=True), parameters)
    elbo = engine(num_particles=PARTICLES, vectorize_particles=True, max_plate_nesting=1, **options)
    values, found = [], []
    for _ in range(runs):
        for parameter in parameters:
            parameter.grad = None
        value = elbo.loss_and_grads(program, guide)
        values.append(value if isinstance(value, float) else sum(value))
        found.append(flat([p.grad for p in parameters], parameters))
    values = torch.tensor(values, dtype=torch.float64)
    assert (values.mean() - loss).abs() < SIGMAS * deviation / math.sqrt(runs * PARTICLES)
    assert values.std() > 0.1 * deviation / math.sqrt(PARTICLES)  # new draws every time
    assert (torch.stack(found).mean(0) - right).norm() / right.norm() < tolerance


def enum(engine):
    return {"strict_enumeration_warning": False} if issubclass(engine, TraceEnum_ELBO) else {}


def elbo(log_q, log_p):
    return (log_q.exp() * (log_p - log_q)).sum()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["inside", "prior"])
@pytest.mark.parametrize("engine", [Trace_ELBO, TraceGraph_ELBO, TraceEnum_ELBO])
def test_the_usual_engines(engine, name) -> None:
    program, guide, parameters, log_q, log_p = guided(name)
    deviation = spread(log_q, (log_p - log_q).detach())
    assert_value_and_gradient(engine, program, guide, parameters, -elbo(log_q, log_p), deviation, **enum(engine))


@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated, and says a lot
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow) for one in ("coupled", "reverse")] + ["prior"]
)
@pytest.mark.parametrize("engine", [JitTrace_ELBO, JitTraceGraph_ELBO, JitTraceEnum_ELBO])
def test_compiled_engines(engine, name) -> None:
    program, guide, parameters, log_q, log_p = guided(name)
    options = {"ignore_jit_warnings": True, **enum(engine)}
    deviation = spread(log_q, (log_p - log_q).detach())
    assert_value_and_gradient(
        engine, program, guide, parameters, -elbo(log_q, log_p), deviation, tolerance=0.2, **options
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["coupled", "inside", "reverse", "prior"])
def test_reweighted_wake_sleep(name) -> None:
    # With many particles the losses are -log Z and E_posterior[-log q], up to 1 / particles.
    program, guide, parameters, log_q, log_p = guided(name)
    posterior = log_p.detach().softmax(0)
    own = log_q + math.log(6) if name in ("coupled", "inside") else log_q  # the order's law is not in their site
    loss = -torch.logsumexp(log_p, 0) - (posterior * own).sum()
    weights = (log_p - log_q - torch.logsumexp(log_p, 0)).detach().exp()
    deviation = spread(log_q, weights * (1 + own - (posterior * own).sum()).detach())
    assert_value_and_gradient(ReweightedWakeSleep, program, guide, parameters, loss, deviation, 8)


@pytest.mark.usefixtures("float64")
def test_the_sleep_phase() -> None:
    program, guide, log_q, parts = reverse_guide()
    prior = sum(part for name, part in parts.items() if name != "y").exp()
    loss = -(prior * log_q).sum()
    options = {"insomnia": 0.0, "model_has_params": False, "num_sleep_particles": 4000, "num_particles": 2}
    rws = ReweightedWakeSleep(max_plate_nesting=1, **options)
    value, deviation = rws.loss(program, guide)[1], spread(prior.log(), -log_q)
    assert (value - loss).abs() < SIGMAS * deviation / math.sqrt(4000)
    joint, _, _ = joint_guide(coupled)
    with pytest.raises(ValueError, match=r"draws 'x' together and cannot score values drawn elsewhere.*insomnia=1"):
        rws.loss(coupled, joint)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("alpha", [0, 0.5])
@pytest.mark.parametrize("name", ["reverse", "prior"])
def test_renyi_has_the_value_and_says_what_its_gradient_is(name, alpha) -> None:
    program, guide, _, log_q, log_p = guided(name)
    right = -torch.logsumexp(log_q + (1 - alpha) * (log_p - log_q), 0) / (1 - alpha)
    renyi = RenyiELBO(alpha, num_particles=20_000, vectorize_particles=True, max_plate_nesting=1)
    relative = ((1 - alpha) * (log_p - log_q + right)).detach().exp() / (1 - alpha)
    assert abs(renyi.loss(program, guide) - right) < SIGMAS * spread(log_q, relative) / math.sqrt(20_000)
    if name == "reverse":
        with pytest.warns(UserWarning, match="RenyiELBO's gradient .* infinitely many particles.* train with Trace_"):
            renyi.loss_and_grads(program, guide)


DIFFERENTIATING = [TraceMeanField_ELBO, JitTraceMeanField_ELBO, TraceTailAdaptive_ELBO]


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("engine", [*DIFFERENTIATING, RenyiELBO, TraceTMC_ELBO])
def test_engines_that_are_wrong_for_joint_guides_refuse(engine, validate) -> None:
    guide = AutoDiscreteDiffusion(coupled)
    guide()
    objective = engine(num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    refused = pytest.raises(NotImplementedError, match=r"discrete; train with loss=guide.elbo|sites; train with loss=")
    with pyro.validation_enabled(validate), warnings.catch_warnings(), refused:
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit
        objective.loss_and_grads(coupled, guide)


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("engine", DIFFERENTIATING)
def test_engines_that_differentiate_through_draws_refuse_reverse_guides(engine, validate) -> None:
    program, guide, _, _ = reverse_guide()
    objective = engine(num_particles=2, vectorize_particles=True, max_plate_nesting=0)
    refused = pytest.raises(NotImplementedError, match="tokens are discrete; train with Trace_ELBO, ")
    with pyro.validation_enabled(validate), warnings.catch_warnings(), refused:
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit
        objective.loss_and_grads(program, guide)


def test_tensor_monte_carlo_says_that_its_gradient_is_zero() -> None:
    program, guide, _, _ = reverse_guide()
    tmc = TraceTMC_ELBO(num_particles=2, max_plate_nesting=0, strict_enumeration_warning=False)
    with pytest.warns(UserWarning, match="TraceTMC_ELBO's gradient .* can be zero; train with Trace_ELBO"):
        tmc.loss_and_grads(program, guide)


def test_engines_without_densities_refuse() -> None:
    from pyro.contrib.gp.kernels import RBF

    program, guide, _, _ = reverse_guide()
    joint = AutoDiscreteDiffusion(inside)
    joint()
    mmd = Trace_MMD(RBF(1), vectorize_particles=True, num_particles=2, max_plate_nesting=1)
    for run, of in ((program, guide), (inside, joint)):
        with pytest.raises(ValueError, match="not reparameterizable"):
            mmd.loss_and_grads(run, of)
        with pytest.raises(ValueError, match="fully reparametrized guides"):
            SVI(run, of, pyro.optim.Adam({}), EnergyDistance(max_plate_nesting=2)).step()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["coupled", "reverse"])
@pytest.mark.parametrize("engine", [Trace_ELBO, TraceGraph_ELBO, TraceEnum_ELBO, ParticleELBO])
def test_engines_as_modules_with_local_parameters(engine, name) -> None:
    with pyro.settings.context(module_local_params=True):
        program, guide, parameters, log_q, log_p = guided(name)
        exact = -elbo(log_q, log_p)
        right = flat(torch.autograd.grad(exact, parameters), parameters)
        options = {"vectorize_particles": True, "max_plate_nesting": 1}
        objective = engine(num_particles=8000, **({} if engine is ParticleELBO else options), **enum(engine))
        module = objective(program, guide)
        assert {id(p) for p in parameters} <= {id(p) for p in module.parameters()}
        if engine is TraceGraph_ELBO:  # it has no loss to differentiate
            loss = torch.tensor(objective.loss_and_grads(program, guide))
        else:
            loss = module()
            loss.backward()
        assert len(pyro.get_param_store()) == 0
    assert (loss - exact).abs() < SIGMAS * spread(log_q, (log_p - log_q).detach()) / math.sqrt(8000)
    assert (flat([p.grad for p in parameters], parameters) - right).norm() / right.norm() < 0.35


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("parallel", [pytest.param(False, marks=pytest.mark.slow), True])
def test_predictive_through_a_joint_guide(parallel) -> None:
    guide, log_q, log_p = joint_guide(coupled)
    q = log_q.exp().reshape(8, 6).sum(-1)  # over orders
    n = 4000 if parallel else 500
    index = guide.space.index
    drawn = Predictive(coupled, guide=guide, num_samples=n, parallel=parallel)()
    counts = torch.bincount(index(drawn["x"].reshape(n, 3).long()), minlength=8)
    assert ((counts - n * q).square() / (n * q)).sum() < 45  # seven degrees of freedom: probability 1e-7
    found = WeighedPredictive(coupled, guide=guide, num_samples=n, parallel=parallel)(model_guide=coupled)
    weights = found.log_weights.double().exp()
    truth = torch.logsumexp(log_p, 0).exp()
    assert (weights.mean() - truth).abs() < 4.8 * weights.std() / math.sqrt(n)
