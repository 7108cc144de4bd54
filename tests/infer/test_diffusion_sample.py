"""diffusion_sample and DiffusionPrior inside programs: evidence and posteriors against enumeration, by engine."""

from __future__ import annotations

import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from prior_worlds import ALL, CHAINS, PLANNED, masked, model, pushed, uniform
from pyro import poutine
from pyro.infer import (
    SVI,
    Importance,
    Predictive,
    ReweightedWakeSleep,
    SMCFilter,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    config_enumerate,
    infer_discrete,
)
from pyro.infer.importance import vectorized_importance_weights
from pyro.infer.mcmc.util import initialize_model

import ddm_pyro as ddm
from ddm_pyro import samplers
from ddm_pyro.infer import PLAN, PRIOR, STATE, DiffusionPrior, diffusion_sample

Y = torch.tensor([[0.3, 1.4, 1.2], [2.1, 0.4, 0.0]], dtype=torch.float64)
SCALE = 0.8


@pytest.fixture(autouse=True)
def clean():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)


def likelihood(x, y):
    return dist.Normal(x.double(), SCALE).log_prob(y).sum(-1)


def program(prior, route=diffusion_sample):
    def run(y):
        with pyro.plate("rows", len(y)):
            x = route("x", prior)
            pyro.sample("y", dist.Normal(x.double(), SCALE).to_event(1), obs=y)
        return x

    return run


def direct(name, prior):
    return pyro.sample(name, prior)


def make(world, density="pseudo", **options):
    sampler, model_, steps = ALL[world]()
    return DiffusionPrior(sampler, model_, density, steps, **options)


def data_for(prior):
    return Y[:, : prior.event_shape[0]]


def posterior(prior, steps, y):
    """log P(x, y) over all x and the log evidence of every row, from the pushed law."""
    states = prior.space.enumerate()
    joint = pushed(prior.sampler, prior.model, steps) + likelihood(states, y.unsqueeze(1))
    return joint, torch.logsumexp(joint, -1)


def evidence(world, prior, y):
    return posterior(prior, ALL[world]()[2], y)[1].sum()


@pytest.mark.parametrize("world", [*PLANNED, "uniform, exact, one step", "masked, by score"])
def test_enumerated_joint_gives_the_evidence(world) -> None:
    prior = make(world)
    y = data_for(prior)
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the guide is empty on purpose
        log_evidence = -elbo.loss(config_enumerate(program(prior)), lambda y: None, y)
    assert log_evidence == pytest.approx(evidence(world, prior, y).item(), abs=1e-8)


@pytest.mark.parametrize("density", ["exact", "fixed"])
def test_enumerated_prior_gives_the_evidence(density) -> None:
    prior = make("first-hitting", density)
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log_evidence = -elbo.loss(config_enumerate(program(prior, direct)), lambda y: None, Y)
    states = prior.space.enumerate()
    expected = torch.logsumexp(prior.log_prob(states) + likelihood(states, Y.unsqueeze(1)), -1).sum()
    assert log_evidence == pytest.approx(expected.item(), abs=1e-8)


def importance(prog, guide, y, draws=20_000):
    with torch.no_grad():
        log_w, _, _ = vectorized_importance_weights(
            prog, guide, y, num_samples=draws, max_plate_nesting=1, normalized=False
        )
    top = log_w.max()
    w = (log_w - top).exp()
    return (w.mean().log() + top).item(), (w.std() / w.mean()).item() / math.sqrt(draws)


@pytest.mark.parametrize("world", ["first-hitting", "ancestral", "columns", "uniform, ancestral", "masked, by score"])
@pytest.mark.parametrize("route", ["sites", "pseudo", "exact"])
def test_importance_from_the_prior_is_unbiased(world, route) -> None:
    prior = make(world, "pseudo" if route == "sites" else route, num_samples=2)
    prog, y = program(prior, diffusion_sample if route == "sites" else direct), data_for(prior)
    value, error = importance(prog, poutine.block(prog, hide=["y"]), y)
    assert abs(value - evidence(world, prior, y).item()) < 4.3 * error


@pytest.mark.parametrize("world", ["first-hitting, two at a time", "uniform, tau-leaping"])
def test_importance_from_another_guide_is_unbiased_but_for_the_bound(world) -> None:
    def guide(y):
        with pyro.plate("rows", len(y)):
            pyro.sample("x", dist.Categorical(logits=-((torch.arange(3) - y.unsqueeze(-1)) ** 2)).to_event(1))

    truth = evidence(world, make(world), Y).item()
    value, error = importance(program(make(world, "pseudo", num_samples=3), direct), guide, Y)
    assert abs(value - truth) < 4.3 * error
    value, error = importance(program(make(world, "bound", num_samples=64), direct), guide, Y, 4000)
    assert value < truth - 4.3 * error


@pytest.mark.parametrize("world", ["first-hitting", "uniform, exact, one step"])
def test_infer_discrete_draws_from_the_posterior(world) -> None:
    prior = make(world)
    y = data_for(prior)[:1].expand(4000, -1)
    draws = infer_discrete(config_enumerate(program(prior)), first_available_dim=-2)(y)
    joint, log_evidence = posterior(prior, ALL[world]()[2], y[:1])
    expected = (joint - log_evidence.unsqueeze(-1)).exp()[0]
    seen = torch.bincount(prior.space.index(draws), minlength=len(expected)) / 4000
    assert ((seen - expected).abs() <= 5 * (expected * (1 - expected) / 4000).sqrt() + 1e-3).all()
    plain = torch.bincount(prior.space.index(prior.sample((4000,))), minlength=len(expected)) / 4000
    assert (plain - expected).abs().max() > 0.05


def test_sites_carry_the_contract() -> None:
    prior = make("first-hitting")
    trace = poutine.trace(program(prior)).get_trace(Y)
    assert list(trace.stochastic_nodes) == ["rows", "x_plan", "x"]
    assert trace.nodes["x"]["infer"] == {PRIOR: prior}
    assert trace.nodes["x_plan"]["infer"] == {PLAN: "x"}
    assert trace.nodes["x_plan"]["value"].sort(-1).values.tolist() == [[0, 1, 2]] * 2
    assert (prior.sampler, prior.steps) == (samplers.FirstHitting(), 3)
    trace = poutine.trace(program(make("uniform, ancestral"))).get_trace(Y)
    assert list(trace.stochastic_nodes) == ["rows", "x@3", "x@2", "x@1", "x"]
    assert trace.nodes["x@1"]["infer"] == {STATE: "x"}


def test_a_parameterization_is_run_by_default() -> None:
    x = poutine.trace(diffusion_sample).get_trace("x", model(masked()))
    assert isinstance(x.nodes["x"]["infer"][PRIOR].sampler, samplers.FirstHitting)
    x = poutine.trace(diffusion_sample).get_trace("x", model(uniform()))
    assert (type(x.nodes["x"]["infer"][PRIOR].sampler), x.nodes["x"]["infer"][PRIOR].steps) == (samplers.Ancestral, 16)
    with pytest.raises(TypeError, match="must be a DiffusionPrior, or a Parameterization"):
        diffusion_sample("x", torch.nn.Linear(1, 1))
    corrected = DiffusionPrior([samplers.Ancestral(), samplers.GibbsCorrector()], model(uniform()), "exact", 2)
    with pytest.raises(ValueError, match="needs one sampler"):
        diffusion_sample("x", corrected)


@pytest.mark.parametrize("world", ["first-hitting", "uniform, ancestral"])
def test_condition_do_and_obs(world) -> None:
    prior = make(world)
    x = torch.tensor([[0, 2, 1], [1, 1, 0]])
    for prog in (
        poutine.condition(program(prior), data={"x": x}),
        program(prior, lambda name, prior: diffusion_sample(name, prior, obs=x)),
    ):
        trace = poutine.trace(prog).get_trace(Y)
        trace.compute_log_prob()
        assert trace.nodes["x"]["is_observed"]
        assert torch.equal(trace.nodes["x"]["value"], x)
        assert trace.nodes["x"]["log_prob"].shape == (2,)
        assert torch.isfinite(trace.nodes["x"]["log_prob"]).all()
    trace = poutine.trace(poutine.do(program(prior), data={"x": x})).get_trace(Y)
    trace.compute_log_prob()
    torch.testing.assert_close(trace.nodes["y"]["log_prob"], likelihood(x, Y))


@pytest.mark.parametrize("route", [diffusion_sample, direct])
@pytest.mark.parametrize("world", ["first-hitting", "uniform, ancestral"])
def test_nested_plates_and_expanded_priors(world, route) -> None:
    prior = make(world, "exact")

    def run():
        with pyro.plate("outer", 4, dim=-2), pyro.plate("inner", 2, dim=-1):
            return route("x", prior)

    trace = poutine.trace(run).get_trace()
    trace.compute_log_prob()
    assert trace.nodes["x"]["value"].shape == (4, 2, 3)
    assert trace.nodes["x"]["log_prob"].shape == (4, 2)
    assert route("x", prior.expand((5, 1))).shape == (5, 1, 3)


@pytest.mark.parametrize("world", ["first-hitting", "uniform, ancestral"])
def test_importance_and_predictive(world) -> None:
    prior = make(world)
    prog = program(prior)
    posterior_ = Importance(prog, num_samples=5).run(Y)
    assert len(posterior_.log_weights) == 5
    for parallel in (False, True):
        draws = Predictive(poutine.uncondition(prog), num_samples=6, parallel=parallel)(Y)
        assert draws["x"].reshape(6, 2, 3).shape == (6, 2, 3)
        assert draws["y"].reshape(6, 2, 3).shape == (6, 2, 3)


class Filter:
    """x_1 from the prior, x_2 equal to it but seen again."""

    def __init__(self, prior, y):
        self.prior, self.y = prior, y

    def init(self, state, y=None):
        state["x"] = diffusion_sample("x", self.prior)

    def step(self, state, y=None):
        if y is not None:
            pyro.sample("y", dist.Normal(state["x"].double(), SCALE).to_event(1), obs=y)


@pytest.mark.parametrize("world", ["first-hitting", "uniform, ancestral"])
def test_smc_filter(world) -> None:
    prior = make(world)
    model_ = Filter(prior, Y)

    class Guide:
        def init(self, state, y=None):
            diffusion_sample("x", prior)

        def step(self, state, y=None):
            pass

    smc = SMCFilter(model_, Guide(), num_particles=6000, max_plate_nesting=0, ess_threshold=0.01)
    smc.init()
    smc.step(Y[0])
    joint, log_evidence = posterior(prior, ALL[world]()[2], Y[:1])
    expected = (joint[0] - log_evidence).exp() @ prior.space.enumerate().double()
    weights = smc.state._log_weights.softmax(0).double()
    assert ((weights @ smc.state["x"].double()) - expected).abs().max() < 0.06


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceGraph_ELBO, TraceEnum_ELBO, ReweightedWakeSleep])
def test_engines_agree_with_the_exact_bound(elbo) -> None:
    # The guide draws x by itself and the plan from its prior: E_q[log p(x, plan, y) - log q(x) p(plan)] by enumeration.
    prior = make("first-hitting")
    logits = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    plans = prior.plan_law

    def guide(y):
        pyro.param("shift", torch.zeros(()))
        with pyro.plate("rows", len(y)):
            pyro.sample("x_plan", plans)
            pyro.sample("x", dist.Categorical(logits=logits).to_event(1))

    options = {} if elbo is ReweightedWakeSleep else {"vectorize_particles": True, "max_plate_nesting": 1}
    engine = elbo(num_particles=4000 if options else 400, **options, **(_quiet(elbo)))
    loss = engine.loss(program(prior), guide, Y)
    loss = loss[0] if isinstance(loss, tuple) else loss
    states, every = prior.space.enumerate(), plans.enumerate_support()
    log_q = dist.Categorical(logits=logits).to_event(1).log_prob(states.unsqueeze(1))
    log_p = ddm.infer.plans.Unmasking(prior.reverse, every).log_prob(states.unsqueeze(1)).detach().mean(-1)
    terms = log_p.unsqueeze(-1) + likelihood(states.unsqueeze(1), Y) - log_q
    bound = (log_q.exp() * terms).sum()
    if elbo is ReweightedWakeSleep:  # its loss is that of the importance weighted bound, which is above
        assert math.isfinite(loss)
    else:
        assert -loss == pytest.approx(bound.item(), abs=0.25)


def _quiet(elbo):
    return {"strict_enumeration_warning": False} if elbo is TraceEnum_ELBO else {}


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("world", ["masked", "uniform"])
def test_svi_trains_the_prior(world, dtype, local) -> None:
    network = model(masked() if world == "masked" else uniform(), dtype=dtype)
    frozen = [p.detach().clone() for p in network.parameters()]
    data = torch.tensor([[0, 1, 2], [0, 1, 1]]).repeat(8, 1)

    class Program(pyro.nn.PyroModule):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):
            prior = DiffusionPrior(samplers.Ancestral(), self.network, steps=2, density="pseudo", num_samples=1)
            with pyro.plate("rows", len(x)):
                pyro.sample("x", prior, obs=x)

    before = pyro.settings.get("module_local_params")
    try:
        pyro.settings.set(module_local_params=local)
        program_ = Program()
        if local:
            bound = Trace_ELBO()(program_, lambda x: None)
            optimizer, losses = torch.optim.Adam(bound.parameters(), 0.1), []
            for _ in range(40):
                optimizer.zero_grad()
                loss = bound(data)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        else:
            svi = SVI(program_, lambda x: None, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO())
            losses = [svi.step(data) for _ in range(40)]
    finally:
        pyro.settings.set(module_local_params=before)
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert any((a - b).abs().max() > 0.5 for a, b in zip(frozen, network.parameters(), strict=True))


def test_a_guide_of_the_tokens_alone() -> None:
    # The order is summed out where Pyro enumerates; elsewhere its absence is said aloud.
    prior = make("first-hitting")
    logits = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def guide(y):
        with pyro.plate("rows", len(y)):
            pyro.sample("x", dist.Categorical(logits=logits).to_event(1))

    elbo = TraceEnum_ELBO(num_particles=4000, vectorize_particles=True, max_plate_nesting=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found vars in model but not guide")
        value = -elbo.loss(config_enumerate(program(prior)), guide, Y)
    states = prior.space.enumerate()
    log_q = dist.Categorical(logits=logits).to_event(1).log_prob(states.unsqueeze(1))
    joint = posterior(prior, None, Y)[0].T.detach()
    assert value == pytest.approx((log_q.exp() * (joint - log_q)).sum().item(), abs=0.25)
    unmatched = pytest.warns(UserWarning, match="Found vars in model but not guide")  # Pyro's own
    with unmatched, pytest.warns(UserWarning, match=r"The guide draws 'x' but not 'x_plan'.*DiffusionPrior.plan_law"):
        importance(program(prior), guide, Y, 10)
    chain = make("uniform, ancestral")
    unmatched = pytest.warns(UserWarning, match="Found vars in model but not guide")
    with unmatched, pytest.warns(UserWarning, match=r"but not 'x@3', 'x@2', 'x@1'.*ReverseGuide"):
        importance(program(chain), guide, Y, 10)
    with pytest.raises(ValueError, match="no plan"):
        chain.plan_law  # noqa: B018


def test_a_prior_that_is_not_registered_stays_as_it_is() -> None:
    network = model(masked())
    frozen = [p.detach().clone() for p in network.parameters()]
    logits = torch.zeros(2, 3, 3, dtype=torch.float64)

    def guide(y):
        table = pyro.param("logits", logits)
        with pyro.plate("rows", len(y)):
            pyro.sample("x_plan", ddm.infer.plans.PlanLaw(prior.reverse))
            pyro.sample("x", dist.Categorical(logits=table).to_event(1))

    prior = DiffusionPrior(samplers.FirstHitting(), network)
    svi = SVI(program(prior), guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO(num_particles=4))
    for _ in range(3):
        svi.step(Y)
    assert all(torch.equal(a, b) for a, b in zip(frozen, network.parameters(), strict=True))
    assert pyro.param("logits").abs().max() > 0.01


def test_conditions_inside_a_plate() -> None:
    network = model(masked())
    y = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prior = DiffusionPrior(samplers.FirstHitting(), network.bind(y=y), "exact")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = -TraceEnum_ELBO(max_plate_nesting=1).loss(config_enumerate(program(prior)), lambda y: None, Y)
    states = prior.space.enumerate()
    rows = [
        DiffusionPrior(samplers.FirstHitting(), network.bind(y=y[i : i + 1]), "exact").log_prob(states.unsqueeze(1))
        for i in range(2)
    ]
    joint = torch.cat(rows, -1) + likelihood(states.unsqueeze(1), Y)
    assert value == pytest.approx(torch.logsumexp(joint, 0).sum().item(), abs=1e-8)


@pytest.mark.parametrize("size", ["plan", "chain", "direct"])
def test_exact_inference_that_would_skip_a_site_is_refused(size) -> None:
    prior = {
        "plan": lambda: DiffusionPrior(samplers.FirstHitting(), model(masked(8, 2))),
        "chain": lambda: DiffusionPrior(samplers.Ancestral(), model(uniform(18, 2)), "pseudo", 2),
        "direct": lambda: DiffusionPrior(samplers.FirstHitting(), model(masked(18, 2))),
    }[size]()
    y = torch.zeros(1, prior.event_shape[0], dtype=torch.float64)
    prog = program(prior, direct if size == "direct" else diffusion_sample)
    for engine in (
        lambda: infer_discrete(config_enumerate(prog), first_available_dim=-2)(y),
        lambda: infer_discrete(prog, first_available_dim=-2, strict_enumeration_warning=False)(y),
        lambda: TraceEnum_ELBO(max_plate_nesting=1).loss(config_enumerate(prog), lambda y: None, y),
        lambda: TraceEnum_ELBO(max_plate_nesting=1).compute_marginals(config_enumerate(prog), lambda y: None, y),
    ):
        with pytest.raises(ValueError, match=r"would (skip this site and draw it|draw this site) from the prior"):
            engine()


def test_infer_discrete_on_the_bare_distribution_says_what_to_write() -> None:
    prior = make("first-hitting", "exact")
    with pytest.raises(ValueError, match=r"write diffusion_sample\(name, prior\) instead"):
        infer_discrete(config_enumerate(program(prior, direct)), first_available_dim=-2)(Y)


def test_marginals_and_posterior_draws_of_enumerated_sites() -> None:
    prior = make("first-hitting")
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        marginals = elbo.compute_marginals(config_enumerate(program(prior)), lambda y: None, Y)
        drawn = elbo.sample_posterior(config_enumerate(program(prior)), lambda y: None, Y)
    joint, log_evidence = posterior(prior, None, Y)
    torch.testing.assert_close(marginals["x_index"].probs, (joint - log_evidence.unsqueeze(-1)).exp())
    assert drawn.shape == (2, 3)
    most_likely = infer_discrete(config_enumerate(program(prior)), first_available_dim=-2, temperature=0)(Y)
    assert most_likely.shape == (2, 3)


@pytest.mark.parametrize("route", [diffusion_sample, direct])
def test_nuts_sees_the_sum_over_a_small_prior(route) -> None:
    prior = make("first-hitting", "exact")
    scales = dist.LogNormal(torch.zeros((), dtype=torch.float64), 0.3)

    def run(y):
        scale = pyro.sample("scale", scales)
        with pyro.plate("rows", len(y)):
            x = route("x", prior)
            pyro.sample("y", dist.Normal(x.double(), scale).to_event(1), obs=y)

    _, potential, _, _ = initialize_model(run, model_args=(Y,), max_plate_nesting=1)
    states = prior.space.enumerate()
    for u in (torch.tensor(0.2, dtype=torch.float64), torch.tensor(-0.4, dtype=torch.float64)):
        noise = dist.Normal(states.unsqueeze(1).double(), u.exp()).log_prob(Y).sum(-1)
        log_evidence = torch.logsumexp(prior.log_prob(states).unsqueeze(-1) + noise, 0).sum()
        expected = -(log_evidence + scales.log_prob(u.exp()) + u)
        torch.testing.assert_close(potential({"scale": u}), expected)


def test_honest_monte_carlo_beside_enumeration_passes() -> None:
    prior = DiffusionPrior(samplers.FirstHitting(), model(masked(18, 2)), "fixed")

    @config_enumerate
    def prog():
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.3, 0.7])))
        x = pyro.sample("x", prior)
        pyro.sample("y", dist.Normal(x.sum(-1) + k.float(), 1.0), obs=torch.tensor(3.0))

    def guide():
        pyro.sample("x", prior)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert math.isfinite(TraceEnum_ELBO(max_plate_nesting=0).loss(prog, guide))
    assert set(CHAINS) < set(ALL)
