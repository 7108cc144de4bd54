"""noised() and ReverseGuide: every path is enumerated, so that evidence, bound and gradient have exact values."""

from __future__ import annotations

import itertools
import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from prior_worlds import AsScore, Net, masked, model, uniform
from pyro import poutine
from pyro.infer import SVI, Importance, ReweightedWakeSleep, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO
from pyro.infer.autoguide import AutoGuideList, AutoNormal

import ddm_pyro as ddm
from ddm_pyro import rates, samplers, schedules
from ddm_pyro.infer import KERNEL, DiffusionPrior, ReverseGuide, diffusion_sample, noised

Y = torch.tensor([1.3, 0.2], dtype=torch.float64)
LAW = ddm.targets.Tabular(torch.tensor([[0.1, 0.45], [0.3, 0.15]], dtype=torch.float64))


@pytest.fixture(autouse=True)
def clean():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)


def plain(y=Y):
    x = pyro.sample("x", LAW)
    pyro.sample("y", dist.Normal(x.double(), 0.7).to_event(1), obs=y)


def rows(y):
    with pyro.plate("rows", len(y)):
        plain(y)


def truth(y=Y):
    states = LAW.space.enumerate()
    return torch.logsumexp(LAW.log_prob(states) + dist.Normal(states.double(), 0.7).log_prob(y).sum(-1), 0).item()


def small(rate="masked", schedule=None):
    kind = rates.Masked if rate == "masked" else rates.Uniform
    return ddm.ForwardProcess(kind(2), schedule or schedules.Linear(), length=2)


def paths(program, guide, steps):
    """log q and log p(., y) of every path, (paths,)."""
    forward = program.process
    noisy, data = forward.space.enumerate(), forward.space.data.enumerate()
    index = list(itertools.product(*[range(len(noisy))] * steps, range(len(data))))
    chosen = torch.tensor(index)
    values = {f"x@{steps - j}": noisy[chosen[:, j]] for j in range(steps)} | {"x": data[chosen[:, -1]]}

    def score(run):
        with pyro.plate("paths", len(index)):
            trace = poutine.trace(poutine.condition(run, data=values)).get_trace()
        trace.compute_log_prob()
        return sum(site["log_prob"] for name, site in trace.nodes.items() if name in {*values, "y"})

    return score(guide), score(program)


CASES = {
    "masked, ancestral": lambda: (small(), samplers.Ancestral(), [0.4, 1.0]),
    "masked, early": lambda: (small(), samplers.Ancestral(), [0.3, 0.8]),
    "masked, one state": lambda: (small(), samplers.Ancestral(), [0.6]),
    "masked, log-linear": lambda: (small(schedule=schedules.LogLinear(0.2)), samplers.TauLeaping(), [0.5, 1.0]),
    "masked, one state, euler": lambda: (small(), samplers.Euler(), [0.6]),
    "uniform, ancestral": lambda: (small("uniform"), samplers.Ancestral(), [0.4, 1.0]),
    "uniform, tau-leaping": lambda: (small("uniform"), samplers.TauLeaping(), [0.4, 0.8]),
}


@pytest.mark.parametrize("case", CASES)
def test_every_path_is_matched(case) -> None:
    forward, sampler, times = CASES[case]()
    program = noised(plain, "x", forward, times)
    guide = ReverseGuide(sampler, model(forward), program)
    guide()
    log_q, log_p = paths(program, guide, len(times))
    log_q, log_p = log_q.detach(), log_p.detach()
    assert log_q.exp().sum().item() == pytest.approx(1.0, abs=1e-10)
    # The kernels leave the evidence as it is, and the guide reaches all that the model reaches.
    assert torch.logsumexp(log_p, 0).item() == pytest.approx(truth(), abs=1e-10)
    assert ((log_q > -torch.inf) | (log_p == -torch.inf)).all()


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceGraph_ELBO, TraceEnum_ELBO])
@pytest.mark.parametrize("case", ["masked, ancestral", "uniform, ancestral"])
def test_bounds_and_gradients_are_those_of_the_enumerated_paths(case, elbo) -> None:
    forward, sampler, times = CASES[case]()
    program = noised(plain, "x", forward, times)
    network = model(forward)
    guide = ReverseGuide(sampler, network, program)
    guide()
    log_q, log_p = paths(program, guide, len(times))
    reached = log_q > -torch.inf
    exact = (log_q[reached].exp() * (log_p - log_q)[reached]).sum()
    expected = torch.autograd.grad(-exact, list(network.parameters()))
    options = {"strict_enumeration_warning": False} if elbo is TraceEnum_ELBO else {}
    engine = elbo(num_particles=1000, vectorize_particles=True, max_plate_nesting=0, **options)
    losses, along, across = [], [], []
    other = [torch.randn(a.shape, generator=torch.Generator().manual_seed(0), dtype=a.dtype) for a in expected]
    for _ in range(25):
        for parameter in network.parameters():
            parameter.grad = None
        losses.append(engine.loss_and_grads(program, guide))
        found = [parameter.grad for parameter in network.parameters()]
        along.append(inner(expected, found))
        across.append(inner(other, found))
    for values, mean in ((losses, -exact), (along, inner(expected, expected)), (across, inner(other, expected))):
        values = torch.tensor(values)
        assert abs(values.mean() - mean) < 4.8 * values.std() / 5
    assert exact < truth()


def inner(a, b):
    return sum((one * two).sum().item() for one, two in zip(a, b, strict=True))


def bound_of(program, guide, steps):
    log_q, log_p = paths(program, guide, steps)
    return (log_q.exp() * (log_p - log_q))[log_q > -torch.inf].sum().item()


@pytest.mark.parametrize("engine", [Trace_ELBO, ReweightedWakeSleep])
def test_objectives_improve_the_exact_bound(engine) -> None:
    forward, sampler, times = CASES["masked, ancestral"]()
    program = noised(plain, "x", forward, times)
    guide = ReverseGuide(sampler, model(forward), program)
    guide()
    before = bound_of(program, guide, 2)
    elbo = engine(num_particles=16, vectorize_particles=True, max_plate_nesting=0)
    svi = SVI(program, guide, pyro.optim.Adam({"lr": 0.05}), elbo)
    for _ in range(100):
        svi.step()
    assert truth() > bound_of(program, guide, 2) > before + 0.5 * (truth() - before)


def test_importance_sampling_by_the_posterior_reverse_process() -> None:
    forward, sampler, times = CASES["uniform, ancestral"]()
    program = noised(plain, "x", forward, times)
    states = LAW.space.enumerate()
    joint = LAW.log_prob(states) + dist.Normal(states.double(), 0.7).log_prob(Y).sum(-1)
    posterior = ddm.targets.Tabular(joint.softmax(0).reshape(2, 2))
    found = Importance(program, ReverseGuide(sampler, posterior.denoiser(forward), program), num_samples=120).run()
    assert found.get_log_normalizer().item() == pytest.approx(truth(), abs=0.15)
    assert found.get_ESS() > 60


def test_plates_conditions_and_particles() -> None:
    y = torch.tensor([[1.3, 0.2], [0.1, 0.9], [1.0, 1.0]], dtype=torch.float64)
    forward, sampler, times = CASES["masked, ancestral"]()
    program = noised(rows, "x", forward, times)
    guide = ReverseGuide(sampler, model(forward), program, cond=lambda y: {"y": y})
    elbo = Trace_ELBO(num_particles=64, vectorize_particles=True, max_plate_nesting=1)
    svi = SVI(program, guide, pyro.optim.Adam({"lr": 0.05}), elbo)
    losses = [svi.step(y) for _ in range(150)]
    expected = sum(truth(one) for one in y)
    assert expected - 1.0 < -sum(losses[-30:]) / 30 < expected
    trace = poutine.trace(guide).get_trace(y)
    assert {name: tuple(trace.nodes[name]["value"].shape) for name in ("x@2", "x@1", "x")} == dict.fromkeys(
        ("x@2", "x@1", "x"), (3, 2)
    )
    assert set(pyro.get_param_store().keys()) == {"ReverseGuide.network$$$network.table"} | {
        "ReverseGuide.network$$$network.slope"
    }


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parameters_of_either_kind(local, dtype) -> None:
    forward, sampler, times = CASES["uniform, ancestral"]()
    before = pyro.settings.get("module_local_params")
    try:
        pyro.settings.set(module_local_params=local)
        program = noised(plain, "x", forward, times)
        network = model(forward, dtype=dtype)
        start = network.network.table.detach().clone()
        guide = ReverseGuide(sampler, network, program)
        guide()
        if local:
            bound = Trace_ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=0)(program, guide)
            optimizer = torch.optim.Adam(bound.parameters(), 0.1)
            for _ in range(5):
                optimizer.zero_grad()
                bound().backward()
                optimizer.step()
        else:
            svi = SVI(program, guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO(num_particles=8))
            for _ in range(5):
                svi.step()
    finally:
        pyro.settings.set(module_local_params=before)
    assert (network.network.table - start).abs().max() > 0.1
    assert network.network.table.dtype == dtype


def test_a_chain_prior_is_matched_without_noised() -> None:
    prior = DiffusionPrior(samplers.Ancestral(), LAW.denoiser(small("uniform")), "exact", 3)

    def program(y=Y):
        x = diffusion_sample("x", prior)
        pyro.sample("y", dist.Normal(x.double(), 0.7).to_event(1), obs=y)

    guide = ReverseGuide(samplers.Ancestral(), model(small("uniform")), program, site="x")
    svi = SVI(
        program, guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO(16, vectorize_particles=True, max_plate_nesting=0)
    )
    losses = [svi.step() for _ in range(150)]
    states = prior.space.enumerate()
    evidence = torch.logsumexp(prior.log_prob(states) + dist.Normal(states.double(), 0.7).log_prob(Y).sum(-1), 0)
    assert evidence - 1.5 < -sum(losses[-40:]) / 40 < evidence + 0.05


def test_beside_a_continuous_autoguide() -> None:
    def joint():
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        x = pyro.sample("x", LAW)
        pyro.sample("y", dist.Normal(x.sum(-1) + z, 0.5), obs=torch.tensor(1.5))

    forward, sampler, times = CASES["masked, ancestral"]()
    program = noised(joint, "x", forward, times)
    guide = AutoGuideList(program)
    guide.append(AutoNormal(poutine.block(program, expose=["z"])))
    guide.append(ReverseGuide(sampler, model(forward), program))
    elbo = Trace_ELBO(16, vectorize_particles=True, max_plate_nesting=0)
    svi = SVI(program, guide, pyro.optim.Adam({"lr": 0.02}), elbo)
    losses = [svi.step() for _ in range(80)]
    assert sum(losses[-20:]) < sum(losses[:20])


def test_sites_that_are_not_int64_keep_their_type() -> None:
    def bernoulli():
        x = pyro.sample("x", dist.Bernoulli(torch.tensor([0.2, 0.6])).to_event(1))
        pyro.sample("y", dist.Normal(x.sum(-1), 0.5), obs=torch.tensor(1.5))

    program = noised(bernoulli, "x", small(), [0.5, 1.0])
    guide = ReverseGuide(samplers.Ancestral(), model(small()), program)
    assert math.isfinite(Trace_ELBO(4, vectorize_particles=True, max_plate_nesting=0).loss(program, guide))
    assert poutine.trace(guide).get_trace().nodes["x"]["value"].dtype == torch.get_default_dtype()


def test_the_kernels_are_named_and_marked() -> None:
    program = noised(plain, "x", small(), [0.2, 0.5, 1.0])
    trace = poutine.trace(program).get_trace()
    assert list(trace.stochastic_nodes) == ["x", "x@1", "x@2", "x@3"]
    assert program.names == ("x@1", "x@2", "x@3")
    assert trace.nodes["x@3"]["infer"] == {KERNEL: "x"}
    assert trace.nodes["x@3"]["value"].tolist() == [2, 2]


def test_the_kernels_make_the_marginals_of_the_process() -> None:
    forward = ddm.ForwardProcess(rates.Dense([[-1.0, 1.0], [3.0, -3.0]]), schedules.Constant(0.7), length=2)
    program = noised(plain, "x", forward, [0.2, 0.5, 1.0])
    states = forward.space.enumerate()
    first, second, third = states.reshape(4, 1, 1, 2), states.reshape(4, 1, 2), states
    start = torch.tensor([0, 1])
    values = {"x": start, "x@1": first, "x@2": second, "x@3": third}
    trace = poutine.trace(poutine.condition(program, data=values)).get_trace()
    trace.compute_log_prob()
    joint = sum(trace.nodes[f"x@{k}"]["log_prob"] for k in (1, 2, 3)).exp()
    for axis, time in enumerate((0.2, 0.5, 1.0)):
        rest = [other for other in range(3) if other != axis]
        torch.testing.assert_close(joint.sum(rest), forward.marginal(start, time).log_prob(states).exp())


def test_the_model_behind_keeps_its_parameters() -> None:
    class Program(pyro.nn.PyroModule):
        def __init__(self):
            super().__init__()
            self.logits = torch.nn.Parameter(torch.zeros(2, 2))

        def forward(self):
            return pyro.sample("x", dist.Categorical(logits=self.logits).to_event(1))

    program = noised(Program(), "x", small(), [1.0])
    assert [name for name, _ in program.named_parameters()] == ["model.logits"]
    assert program().shape == (2,)


def test_refusals() -> None:
    forward = small()
    for times in ([], [0.0, 1.0], [0.5, 0.4], [0.5, 1.5]):
        with pytest.raises(ValueError, match="must increase strictly within"):
            noised(plain, "x", forward, times)
    with pytest.raises(TypeError, match="forward=3 must be a Process"):
        noised(plain, "x", 3, [1.0])
    with pytest.raises(ValueError, match=r"no site 'z' to be noised; its sites are \['x', 'y'\]"):
        noised(plain, "z", forward, [1.0])()
    with pytest.raises(ValueError, match=r"event shape \(2,\); the process noises sequences of shape \(3,\)"):
        noised(plain, "x", masked(3, 2), [1.0])()

    def plated():
        with pyro.plate("positions", 2):
            pyro.sample("x", dist.Bernoulli(0.5))

    with pytest.raises(ValueError, match=r"Make the positions one event"):
        noised(plated, "x", forward, [1.0])()
    with pytest.raises(TypeError, match=r"give program=noised\(model, site, forward, times\)"):
        ReverseGuide(samplers.Ancestral(), model(forward), plain)
    with pytest.raises(ValueError, match="no intermediate states to match the guide's"):
        ReverseGuide(samplers.Ancestral(), model(forward), plain, site="x")()
    program = noised(plain, "x", forward, [0.5, 1.0])
    with pytest.raises(ValueError, match="reveals a fixed number of positions a step"):
        ReverseGuide(samplers.FirstHitting(), model(forward), program)
    with pytest.raises(ValueError, match="site='z', but the program noises 'x'"):
        ReverseGuide(samplers.Ancestral(), model(forward), program, site="z")
    observed = noised(poutine.condition(plain, data={"x": torch.tensor([0, 1])}), "x", forward, [0.5, 1.0])
    with pytest.raises(ValueError, match="no latent site 'x'"):
        ReverseGuide(samplers.Ancestral(), model(forward), observed)()
    linear = small("uniform")
    early = ReverseGuide(samplers.Euler(negative="raise"), model(linear), noised(plain, "x", linear, [0.5, 1.0]))
    with pytest.raises(ValueError, match=r"reverse rate of .* is infinite"):
        early()
    program = noised(plain, "x", linear, [0.5, 0.9])
    guide = ReverseGuide(samplers.Gillespie(), model(linear), program)
    with pytest.raises(NotImplementedError, match="density is not computed"):
        Trace_ELBO().loss(program, guide)


def test_pyro_itself_warns_when_the_kernels_are_left_out() -> None:
    program = noised(plain, "x", small(), [0.5, 1.0])
    guide = ReverseGuide(samplers.Ancestral(), model(small()), program)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Trace_ELBO().loss(plain, guide)
    assert any("x@1" in str(one.message) for one in caught)
    assert isinstance(Net(3), torch.nn.Module)
    assert uniform().space.mask is None


def test_a_clipped_sampler_that_misses_states_is_warned_about() -> None:
    forward = ddm.ForwardProcess(ddm.rates.Uniform(2), ddm.schedules.Linear(), length=1)
    model = ddm.targets.Product([[0.3, 0.7]]).denoiser(forward)

    def plain():
        pyro.sample("x", dist.Categorical(torch.tensor([[0.3, 0.7]])).to_event(1))

    program = noised(plain, "x", forward, [0.5, 0.9])
    with pytest.warns(UserWarning, match="misses states of the model"):
        guide = ReverseGuide(samplers.Euler(), model, program)
    # Nothing changes in [0.5, 0.9] and then in [0, 0.5]: likely under the kernels, impossible in a clipped step.
    still = {name: torch.tensor([1]) for name in ("x", "x@1", "x@2")}
    for sampler, possible in ((None, False), (samplers.Ancestral(), True)):
        guide = guide if sampler is None else ReverseGuide(sampler, model, program)
        trace = poutine.trace(poutine.condition(guide, still)).get_trace()
        assert (trace.log_prob_sum() > -torch.inf) == possible


@pytest.mark.parametrize(
    ("sampler", "schedule", "times", "misses"),
    [
        (samplers.Euler(), schedules.Geometric(0.01, 3.0), [0.3, 0.9], True),  # clipped
        (samplers.Euler(), schedules.Geometric(0.01, 3.0), [0.8, 0.9], False),
        (samplers.TauLeaping(), schedules.Geometric(0.01, 3.0), [0.3, 0.9], False),
        (samplers.Ancestral(), schedules.Geometric(0.01, 3.0), [0.3, 0.9], False),
        (samplers.Euler(), schedules.Cosine(), [0.01, 1.0], True),  # its rate is zero at t = 1
        (samplers.TauLeaping(), schedules.Cosine(), [0.5, 1.0], True),
        (samplers.TauLeaping(), schedules.Cosine(), [0.5, 0.9], False),
        (samplers.Ancestral(), schedules.Cosine(), [0.5, 1.0], False),
    ],
)
def test_masked_samplers_that_miss_states_are_warned_about(sampler, schedule, times, misses) -> None:
    # The evidence that the guide sees is that of the paths it can take: too small exactly where the warning says so.
    forward = small(schedule=schedule)
    program = noised(plain, "x", forward, times)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        guide = ReverseGuide(sampler, model(forward), program)
        guide()
    log_q, log_p = paths(program, guide, 2)
    seen = torch.logsumexp(log_p[log_q > -torch.inf], 0).item()
    assert any("misses states of the model" in str(one.message) for one in caught) == misses
    assert (seen == pytest.approx(truth(), abs=1e-9)) == (not misses)


def test_a_clipped_guide_of_a_chain_prior_is_warned_about() -> None:
    forward = small(schedule=schedules.Geometric(0.01, 3.0))
    law = LAW.denoiser(forward)
    prior = DiffusionPrior(samplers.Ancestral(), AsScore(law), "exact", times=[0.9, 0.3, 0.0])

    def program(y=Y):
        x = diffusion_sample("x", prior)
        pyro.sample("y", dist.Normal(x.double(), 0.7).to_event(1), obs=y)

    guide = ReverseGuide(samplers.Euler(), law, program, site="x")
    with pytest.warns(UserWarning, match="misses states of the model"):
        guide()


@pytest.mark.parametrize("local", [False, True])
def test_optimizers_of_pyro_train_a_guide(local) -> None:
    with pyro.settings.context(module_local_params=local):
        forward = small()
        program = noised(plain, "x", forward, [0.3, 0.7, 1.0])
        network = ddm.X0(ddm.networks.MLP.for_process(forward, width=8), forward)
        before = [parameter.detach().clone() for parameter in network.parameters()]
        guide = ReverseGuide(samplers.Ancestral(), network, program)
        SVI(program, guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO(num_particles=4)).step()
        assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_model_of_another_process_is_refused() -> None:
    program = noised(plain, "x", small(), [0.3, 1.0])
    with pytest.raises(ValueError, match="give both the same kind of process"):
        ReverseGuide(samplers.Ancestral(), ddm.X0(torch.nn.Identity(), small("uniform")), program)
