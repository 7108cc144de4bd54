"""Values and gradients of Pyro's engines over diffusion priors, against sums over all sequences and plans."""

from __future__ import annotations

import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from prior_worlds import model as network_for
from prior_worlds import pushed
from pyro import poutine
from pyro.distributions.testing.gof import multinomial_goodness_of_fit
from pyro.infer import (
    Importance,
    Predictive,
    ReweightedWakeSleep,
    SMCFilter,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    WeighedPredictive,
    config_enumerate,
    infer_discrete,
)
from pyro.nn import PyroModule, PyroParam

import ddm_pyro as ddm
from ddm_pyro import rates, samplers, schedules
from ddm_pyro.infer import DiffusionPrior, diffusion_sample

Y = torch.tensor([[0.3, 1.2], [0.9, 0.4]], dtype=torch.float64)
SCALE, L = 0.6, 2
MASKED = ddm.ForwardProcess(rates.Masked(2), schedules.Linear(), length=L)
UNIFORM = ddm.ForwardProcess(rates.Uniform(2), schedules.Linear(), length=L)
X = MASKED.space.data.enumerate()
TRUTH = ddm.targets.Tabular([[0.1, 0.45], [0.3, 0.15]])
OTHER = ddm.targets.Tabular([[0.3, 0.2], [0.15, 0.35]])
#: Standard errors at which a mean is off with probability 2e-5; with an error that is itself seen in 20 runs.
SIGMAS, OF_TWENTY = 4.3, 5.7
ROUTES = ["sites", "fixed", "exact", "pseudo", "bound"]


@pytest.fixture(params=[False, True], ids=["global", "local"])
def local(request):
    with pyro.settings.context(module_local_params=request.param):
        yield request.param


@pytest.fixture(autouse=True)
def clean():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)


def log_likelihood(y=Y):
    """log p(y | x) of every x, (..., 4)."""
    return dist.Normal(X.double(), SCALE).log_prob(y.unsqueeze(-2)).sum(-1)


def prior_of(network, route):
    if network.process.is_masked:
        return DiffusionPrior(samplers.FirstHitting(), network, "pseudo" if route == "sites" else route, **many(route))
    return DiffusionPrior(samplers.Ancestral(), network, "exact" if route == "sites" else route, 2, **many(route))


def many(route):
    return {"num_samples": 2} if route in ("pseudo", "bound") else {}


def draw(route, name, prior, **options):
    return diffusion_sample(name, prior, **options) if route == "sites" else pyro.sample(name, prior, **options)


def by_order(prior):
    """log P(x | order) of both orders, (2, 4), one token at a time."""
    model, mask, rows = prior.model, MASKED.space.mask, []
    for first, second in ((0, 1), (1, 0)):
        seen = torch.full((4, L), mask)
        start = model.x0_log_probs(seen, torch.tensor(1.0))[torch.arange(4), first, X[:, first]]
        seen = seen.clone()
        seen[:, first] = X[:, first]
        rows.append(start + model.x0_log_probs(seen, torch.tensor(0.5))[torch.arange(4), second, X[:, second]])
    return torch.stack(rows)


def by_making(prior, route):
    """log of what one draw says of P(x), for each of the equally likely ways it can be made, (ways, 4)."""
    a, b = by_order(prior)
    if route == "exact":
        return torch.logaddexp(a, b).unsqueeze(0) - math.log(2)
    if route in ("sites", "fixed"):
        return torch.stack([a, b][: 1 + (route == "sites")])
    pairs = [torch.stack(pair) for pair in ((a, a), (b, b), (a, b), (b, a))]  # two orders, each drawn anew
    return torch.stack([pair.logsumexp(0) - math.log(2) if route == "pseudo" else pair.mean(0) for pair in pairs])


def law_of(prior, route):
    """log of the mean of what the route says of P(x), (4,)."""
    ways = by_making(prior, route)
    return torch.logsumexp(ways, 0) - math.log(len(ways))


class Program(PyroModule):
    """A prior that is trained, seen with noise, in a plate."""

    def __init__(self, route):
        super().__init__()
        self.route, self.network = route, network_for(MASKED)

    def forward(self):
        with pyro.plate("rows", len(Y)):
            x = draw(self.route, "x", prior_of(self.network, self.route))
            pyro.sample("y", dist.Normal(x.double(), SCALE).to_event(1), obs=Y)


class Guide(PyroModule):
    """Independent tokens, and the order where the program has it as a site."""

    def __init__(self, program):
        super().__init__()
        # Nothing of the program's is the guide's.
        self.plans = [prior_of(program.network, "sites").plan_law] if program.route == "sites" else []
        start = torch.randn(2, L, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.4
        self.logits = PyroParam(start)

    def forward(self):
        logits = self.logits
        with pyro.plate("rows", len(Y)):
            for law in self.plans:
                pyro.sample("x_plan", law)
            pyro.sample("x", dist.Categorical(logits=logits).to_event(1))


def exact_parts(route):
    """Program, guide, their parameters, and log p(x, y) and log q(x) a row, (2, 4)."""
    program = Program(route)
    guide = Guide(program)
    program(), guide()
    parameters = [*program.parameters(), *guide.parameters()]
    log_p = law_of(prior_of(program.network, route), route) + log_likelihood()
    log_q = dist.Categorical(logits=guide.logits).to_event(1).log_prob(X.unsqueeze(1)).T
    return program, guide, parameters, log_p, log_q


def both_rows(table, combine):
    """A table (way, row, x) of two rows as one of all pairs."""
    first, second = table.movedim(1, 0).flatten(1)
    return combine(first.unsqueeze(-1), second)


def flat(gradients):
    return torch.cat([one.flatten() for one in gradients])


@pytest.mark.parametrize(
    ("route", "local"),
    [
        *((one, False) for one in ROUTES),
        ("sites", True),
        *(pytest.param(one, True, marks=pytest.mark.slow) for one in ROUTES[1:]),
    ],
    indirect=["local"],
)
def test_wake_losses_and_their_gradients(route, local) -> None:
    # With many particles the wake losses are -log Z and E_posterior[-log q], up to 1 / particles.
    program, guide, parameters, log_p, log_q = exact_parts(route)
    wake_theta = -torch.logsumexp(log_p, -1).sum()
    wake_phi = -(log_p.detach().softmax(-1) * log_q).sum()
    if route == "sites":
        wake_phi = wake_phi + 2 * math.log(2)  # each row's order, which the guide draws uniformly
    right = flat(torch.autograd.grad(wake_theta + wake_phi, parameters))
    # Standard deviation of one particle, which is both rows: weights are products, log q a sum.
    ways = by_making(prior_of(program.network, route), route).detach()
    q = log_q.detach().exp() / len(ways)  # (row, x), the same for every way
    weight = (ways.unsqueeze(1) + log_likelihood() - log_q.detach()).exp()  # (way, row, x)
    weight = weight / torch.logsumexp(log_p.detach(), -1).exp().unsqueeze(-1)
    score = log_q.detach().expand_as(weight)
    law, weights = both_rows(q.expand_as(weight), torch.mul), both_rows(weight, torch.mul)
    centered = both_rows(score, torch.add) + wake_phi.detach() - (2 * math.log(2) if route == "sites" else 0.0)
    assert law.sum() == pytest.approx(1.0)
    spread = torch.stack([(law * (weights - 1).square()).sum(), (law * (weights * centered).square()).sum()]).sqrt()
    rws = ReweightedWakeSleep(num_particles=2000, max_plate_nesting=1)
    values, found = [], []
    for _ in range(6):
        for parameter in parameters:
            parameter.grad = None
        values.append(rws.loss_and_grads(program, guide))
        found.append(flat([p.grad for p in parameters]))
    values = torch.tensor(values, dtype=torch.float64)
    expected = torch.stack([wake_theta, wake_phi]).detach()
    assert ((values.mean(0) - expected).abs() < SIGMAS * spread / math.sqrt(6 * 2000)).all()
    assert (torch.stack(found).mean(0) - right).norm() / right.norm() < 0.06
    assert (len(pyro.get_param_store()) == 0) == local
    if route == "bound":
        truth = torch.logsumexp(law_of(prior_of(program.network, "exact"), "exact") + log_likelihood(), -1).sum()
        assert -wake_theta < truth


@pytest.mark.parametrize(("route", "local"), [("sites", False), ("sites", True), ("exact", False)], indirect=["local"])
def test_the_bound_and_its_gradient(route, local) -> None:
    program, guide, parameters, log_p, log_q = exact_parts(route)
    bound = (log_q.exp() * (log_p - log_q)).sum()
    if route == "sites":  # the mean over orders stands outside the logarithm
        given = by_order(prior_of(program.network, route)).mean(0) + log_likelihood()
        bound = (log_q.exp() * (given - log_q)).sum()
    right = flat(torch.autograd.grad(-bound, parameters))
    elbo = Trace_ELBO(num_particles=8000, vectorize_particles=True, max_plate_nesting=1)
    if local:
        loss = elbo(program, guide)()
        loss.backward()
    else:
        loss = torch.tensor(elbo.loss_and_grads(program, guide))
    gaps = (by_making(prior_of(program.network, route), route).unsqueeze(1) + log_likelihood() - log_q).detach()
    q = log_q.detach().exp() / len(gaps)
    variance = (q * gaps.square()).sum((0, 2)) - (q * gaps).sum((0, 2)).square()
    assert (loss + bound).abs() < SIGMAS * (variance.sum() / 8000).sqrt()
    assert (flat([p.grad for p in parameters]) - right).norm() / right.norm() < 0.12


class Evidence(SMCFilter):
    """SMCFilter that multiplies up the mean weights."""

    log_evidence = 0.0

    def _update_weights(self, model_trace, guide_trace):
        before = self.state._log_weights.double().log_softmax(0)
        super()._update_weights(model_trace, guide_trace)
        added = torch.zeros_like(before)
        for name, site in model_trace.nodes.items():
            if site["type"] == "sample" and name != "particles":
                taken = guide_trace.nodes[name]["log_prob"] if name in guide_trace.nodes else 0.0
                added = added + site["log_prob"] - taken
        self.log_evidence += torch.logsumexp(before + added, 0).item()


SEEN = torch.tensor([[0.3, 1.2], [1.4, 0.1], [0.8, 0.9]], dtype=torch.float64)


class States:
    """Tokens from the prior at each time, seen together with those before."""

    def __init__(self, prior, route):
        self.prior, self.route = prior, route

    def init(self, state):
        state["x"] = torch.zeros(state._num_particles, L, dtype=torch.int64)

    def step(self, state, y):
        before = state["x"]
        state["x"] = draw(self.route, "x", self.prior)
        pyro.sample("y", dist.Normal(state["x"] + 0.5 * before.double(), SCALE).to_event(1), obs=y)


class Proposal:
    """The prior itself, or tokens near what was seen."""

    def __init__(self, prior, route, own):
        self.prior, self.route, self.own = prior, route, own

    def init(self, state):
        pass

    def step(self, state, y):
        if not self.own:
            draw(self.route, "x", self.prior)
            return
        if self.route == "sites":
            pyro.sample("x_plan", self.prior.plan_law)
        pyro.sample("x", dist.Categorical(logits=torch.stack([0.5 - y, y - 0.5], -1)).to_event(1))


def forward_recursion(log_law):
    """log p(y_1, y_2, y_3) of the state space model."""
    noise = dist.Normal(X.unsqueeze(1) + 0.5 * X.double(), SCALE)  # (now, before)
    log_alpha = torch.tensor([0.0, -torch.inf, -torch.inf, -torch.inf], dtype=torch.float64)
    for y in SEEN:
        log_alpha = torch.logsumexp(log_alpha + noise.log_prob(y).sum(-1), -1) + log_law
    return torch.logsumexp(log_alpha, 0).item()


SMC = [(route, own) for route in ("sites", "fixed", "exact", "pseudo", "chain, pseudo") for own in (False, True)]


@pytest.mark.parametrize(("route", "own"), [*SMC, pytest.param("chain", False, marks=pytest.mark.slow)])
def test_smc_filter_estimates_the_evidence_without_bias(route, own) -> None:
    if route.startswith("chain"):
        prior = prior_of(TRUTH.denoiser(UNIFORM), "pseudo" if "pseudo" in route else "exact")
        log_law = pushed(samplers.Ancestral(), prior.model, 2)
        route = "sites" if route == "chain" else "pseudo"
    else:
        prior = prior_of(network_for(MASKED), route)
        log_law = law_of(prior, route).detach()
    truth, runs = forward_recursion(log_law), []
    for _ in range(20):
        smc = Evidence(States(prior, route), Proposal(prior, route, own), num_particles=100, max_plate_nesting=0)
        smc.init()
        for y in SEEN:
            smc.step(y)
        runs.append(math.exp(smc.log_evidence - truth))
    runs = torch.tensor(runs)
    assert abs(runs.mean() - 1) < OF_TWENTY * runs.std() / math.sqrt(20)
    assert runs.std() < 0.6


def plated(prior, route, scale=SCALE):
    def program(y=None):
        with pyro.plate("rows", 20):
            x = draw(route, "x", prior)
            pyro.sample("y", dist.Normal(x.double(), scale).to_event(1), obs=y)

    return program


def fits(x, log_law):
    counts = torch.bincount(MASKED.space.data.index(x).flatten(), minlength=4)
    probs = log_law.exp()
    return multinomial_goodness_of_fit(probs / probs.sum(), counts, total_count=int(counts.sum())) > 2e-5


@pytest.mark.parametrize(
    ("route", "parallel"),
    [(route, True) for route in ("sites", "fixed", "pseudo", "chain")]
    + [("sites", False), *(pytest.param(one, False, marks=pytest.mark.slow) for one in ("fixed", "pseudo", "chain"))],
)
def test_predictive_draws_from_the_law_of_the_prior(route, parallel) -> None:
    masked = route != "chain"
    prior = prior_of((TRUTH.denoiser(MASKED) if route == "sites" else network_for(MASKED)), route) if masked else None
    if masked:
        log_law = law_of(prior, route).detach()
    else:
        prior, route = prior_of(TRUTH.denoiser(UNIFORM), "exact"), "sites"
        log_law = pushed(samplers.Ancestral(), prior.model, 2)
    program = plated(prior, route, 1e-3)
    drawn = Predictive(program, num_samples=60, parallel=parallel)()
    assert drawn["x"].shape == drawn["y"].shape == (60, 20, L)
    assert fits(drawn["x"], log_law)
    assert (drawn["y"] - drawn["x"]).abs().max() < 0.01
    # With given tokens nothing else decides; with a guide its own law does.
    given = X[torch.arange(60 * 20) % 4].reshape(60, 20, L)
    answers = Predictive(program, posterior_samples={"x": given}, parallel=parallel)()
    assert (answers["y"] - given).abs().max() < 0.01
    other = prior_of(OTHER.denoiser(MASKED), "exact")

    def guide(y=None):
        with pyro.plate("rows", 20):
            pyro.sample("x", other)

    drawn = Predictive(program, guide=guide, num_samples=60, parallel=parallel)()
    assert fits(drawn["x"], OTHER.log_prob(X))
    assert (drawn["y"] - drawn["x"]).abs().max() < 0.01


def test_weighed_predictive_weighs_by_the_laws() -> None:
    prior, other = prior_of(network_for(MASKED), "exact"), prior_of(OTHER.denoiser(MASKED), "exact")

    def program(y=None):
        with pyro.plate("rows", 2):
            x = pyro.sample("x", prior)
            pyro.sample("y", dist.Normal(x.double(), SCALE).to_event(1), obs=y)

    def guide(y=None):
        with pyro.plate("rows", 2):
            pyro.sample("x", other)

    found = WeighedPredictive(program, guide=guide, num_samples=30, parallel=True)(Y, model_guide=program)
    index = MASKED.space.data.index(found.samples["x"].reshape(30, 2, L))
    log_p, log_q = law_of(prior, "exact").detach() + log_likelihood(), OTHER.log_prob(X)
    expected = sum(log_p[row][index[:, row]] - log_q[index[:, row]] for row in range(2))
    torch.testing.assert_close(found.log_weights.double(), expected, rtol=1e-5, atol=1e-5)


def enumerated(program):
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the guide is empty on purpose
        return -elbo.loss(config_enumerate(program), lambda: None)


@pytest.mark.parametrize("world", ["masked", "chain"])
def test_condition_and_do_on_tokens_and_plan(world) -> None:
    network = network_for(MASKED) if world == "masked" else TRUTH.denoiser(UNIFORM)
    prior = prior_of(network, "sites")
    law = law_of(prior, "exact").detach() if world == "masked" else pushed(samplers.Ancestral(), network, 2)

    def program():
        with pyro.plate("rows", 2):
            x = diffusion_sample("x", prior)
            pyro.sample("y", dist.Normal(x.double(), SCALE).to_event(1), obs=Y)

    x, index = torch.tensor([[0, 1], [1, 0]]), torch.tensor([1, 2])
    likelihood = log_likelihood()[torch.arange(2), index].sum().item()
    found = enumerated(poutine.condition(program, data={"x": x}))
    assert found == pytest.approx(law[index].sum().item() + likelihood, abs=1e-6)
    assert enumerated(poutine.do(program, data={"x": x})) == pytest.approx(likelihood, abs=1e-6)
    if world == "masked":
        a, b = by_order(prior).detach()
        plan = torch.tensor([[0, 1], [1, 0]])
        given = torch.stack([torch.logsumexp(a + log_likelihood()[0], 0), torch.logsumexp(b + log_likelihood()[1], 0)])
        found = enumerated(poutine.condition(program, data={"x_plan": plan}))
        assert found == pytest.approx(given.sum().item() - 2 * math.log(2), abs=1e-6)
        assert enumerated(poutine.do(program, data={"x_plan": plan})) == pytest.approx(given.sum().item(), abs=1e-6)


def test_infer_discrete_at_temperature_zero_finds_the_most_likely_tokens_and_order() -> None:
    prior = prior_of(network_for(MASKED), "sites")

    def program():
        with pyro.plate("rows", 2):
            x = diffusion_sample("x", prior)
            pyro.sample("y", dist.Normal(x.double(), SCALE).to_event(1), obs=Y)
        return x

    found = infer_discrete(config_enumerate(program), first_available_dim=-2, temperature=0)()
    joint = by_order(prior).detach().unsqueeze(1) + log_likelihood()  # (order, row, x)
    assert torch.equal(found, X[joint.amax(0).argmax(-1)])


@pytest.mark.parametrize("route", ["sites", "exact", "pseudo"])
def test_importance_has_the_evidence_and_the_posterior(route) -> None:
    prior = prior_of(network_for(MASKED), route)

    def program():
        x = draw(route, "x", prior)
        pyro.sample("y", dist.Normal(x.double(), SCALE).to_event(1), obs=Y[0])

    def guide():
        if route == "sites":
            pyro.sample("x_plan", prior.plan_law)
        pyro.sample("x", dist.Categorical(logits=torch.zeros(L, 2)).to_event(1))

    joint = law_of(prior, route).detach() + log_likelihood(Y[0])
    right, mean = torch.logsumexp(joint, 0), (joint.softmax(0) @ X.double())
    for proposal in (None, guide):
        with torch.no_grad():
            found = Importance(program, proposal, num_samples=150).run()
        weights = torch.stack(found.log_weights).double().softmax(0)
        error = (150 * weights).std() / math.sqrt(150)
        assert abs(found.get_log_normalizer() - right) < 4.8 * error + 1e-6
        values = torch.stack([trace.nodes["x"]["value"] for trace in found.exec_traces]).double()
        spread = ((weights.unsqueeze(-1) * (values - mean)).square().sum(0)).sqrt()
        assert ((weights @ values - mean).abs() < 4.8 * spread).all()


@pytest.mark.parametrize("way", ["sample_posterior", "infer_discrete, do", "infer_discrete, condition"])
def test_posterior_draws_of_enumerated_sites_follow_the_posterior(way) -> None:
    prior, rows = prior_of(network_for(MASKED), "sites"), 3000
    y = Y[0].expand(rows, L)

    def program():
        with pyro.plate("rows", rows):
            k = pyro.sample("k", dist.Bernoulli(torch.tensor(0.4, dtype=torch.float64)))
            x = diffusion_sample("x", prior)
            centre = x.double() * (0.5 + k.unsqueeze(-1))
            pyro.sample("y", dist.Normal(centre, SCALE).to_event(1), obs=y)
        return k, x

    def likelihood(k):
        return dist.Normal(X.double() * (0.5 + k), SCALE).log_prob(Y[0]).sum(-1) + math.log(0.4 if k else 0.6)

    log_p = law_of(prior, "exact").detach()
    joint = torch.stack([log_p + likelihood(0), log_p + likelihood(1)])
    given = torch.tensor([1, 0])
    if way == "sample_posterior":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the guide is empty on purpose
            k, x = TraceEnum_ELBO(max_plate_nesting=1).sample_posterior(config_enumerate(program), lambda: None)
    else:
        fix = poutine.do if way.endswith("do") else poutine.condition
        fixed = fix(program, data={"x": given.expand(rows, L)})
        k, x = infer_discrete(config_enumerate(fixed), first_available_dim=-2)()
        assert (x == given).all()
        joint = torch.where((given == X).all(-1), joint, -torch.inf)
        if way.endswith("do"):
            joint = joint - torch.where(joint > -torch.inf, log_p, 0.0)
    cells = torch.bincount(MASKED.space.data.index(x) + 4 * k.long(), minlength=8)
    probs = joint.flatten().softmax(0)
    assert cells[probs == 0].sum() == 0
    often = probs * rows > 5
    assert often.sum() > 1
    expected = probs[often] * rows
    # Fewer than eight degrees of freedom: 40 is exceeded with probability below 2e-6.
    assert ((cells[often] - expected).square() / expected).sum() < 40


@pytest.mark.parametrize("engine", [Trace_ELBO, TraceGraph_ELBO, TraceEnum_ELBO, ReweightedWakeSleep])
def test_a_guide_with_an_estimated_density_knows_its_own_draws(engine) -> None:
    # q(x) is estimated by two orders, one of them that which drew x: the weights then have the evidence as mean, and
    # the bound is E[log p(x, y) - log of the estimate] over both orders.
    network = network_for(MASKED)
    with torch.no_grad():
        network.network.table.mul_(0.7)  # with smaller weights
    prior = prior_of(network, "pseudo")
    logits = torch.tensor([[0.2, -0.4], [0.5, 0.1]], dtype=torch.float64)

    def program():
        with pyro.plate("rows", 2):
            x = pyro.sample("x", dist.Categorical(logits=logits).to_event(1))
            pyro.sample("y", dist.Normal(x.double(), SCALE).to_event(1), obs=Y)

    def guide():
        with pyro.plate("rows", 2):
            pyro.sample("x", prior)

    log_p = dist.Categorical(logits=logits).to_event(1).log_prob(X) + log_likelihood()  # (row, x)
    given = by_order(prior).detach()
    drawn, other = given.unsqueeze(1), given.unsqueeze(0)  # (order, another, x)
    estimate = torch.logaddexp(drawn, other) - math.log(2)
    bound = (drawn.exp() * (log_p[:, None, None] - estimate)).sum() / 4
    q = drawn.exp().expand(2, 2, 4).unsqueeze(0) / 4  # (row, order, another, x)
    gaps = log_p[:, None, None] - estimate
    variance = ((q * gaps.square()).sum((1, 2, 3)) - (q * gaps).sum((1, 2, 3)).square()).sum()
    right = bound
    if engine is ReweightedWakeSleep:  # which knows the evidence, and whose weights are products over rows
        relative = (q * (2 * gaps).exp()).sum((1, 2, 3)) / (q * gaps.exp()).sum((1, 2, 3)).square()
        right, variance = torch.logsumexp(log_p, -1).sum(), relative.prod() - 1
    options = {"strict_enumeration_warning": False} if engine is TraceEnum_ELBO else {}
    elbo = engine(num_particles=40_000, vectorize_particles=True, max_plate_nesting=1, **options)
    with torch.no_grad():
        loss = elbo.loss(program, guide)
    loss = float(loss[0] if isinstance(loss, tuple) else loss)
    assert abs(loss + right) < SIGMAS * (variance / 40_000).sqrt()
