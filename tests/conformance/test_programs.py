"""The laws inside Pyro programs: plates, conditioning, enumeration, importance sampling, masks."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from public_laws import PROCESSES, exact
from pyro import poutine
from pyro.infer import Importance, Predictive, TraceEnum_ELBO, config_enumerate

from ddm_pyro import samplers, targets

PMF = torch.tensor([[0.05, 0.2, 0.1], [0.3, 0.05, 0.05], [0.1, 0.05, 0.1]], dtype=torch.float64)
OBSERVED = torch.tensor([2, 1])
T = 0.6


@pytest.fixture(autouse=True)
def fresh():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    with pyro.validation_enabled(True):
        yield


def kernel(process, t):
    """q(x_t | x_0) of two tokens as a plain (9, 9) table over data, by matrix exponentials."""
    from scipy.linalg import expm

    sigma = float(process.schedule.sigma(torch.tensor(t, dtype=torch.float64)))
    token = torch.from_numpy(expm(sigma * process.rate.matrix().numpy()))
    return torch.kron(token, token)


def posterior(process, observed=OBSERVED):
    """p(x_0 | x_T = observed) and log p(observed), by hand."""
    joint = PMF.reshape(-1) * kernel(process, T)[:, int(observed[0]) * 3 + int(observed[1])]
    return joint / joint.sum(), joint.sum().log()


def model(process, observed=OBSERVED):
    x0 = pyro.sample("x0", targets.Tabular(PMF))
    pyro.sample("xt", process.marginal(x0, T), obs=observed)
    return x0


@pytest.mark.parametrize("name", ["uniform", "rank-one", "dense"])
def test_enumerated_evidence_is_the_sum_over_the_data(name):
    process = PROCESSES[name]()
    loss = TraceEnum_ELBO(max_plate_nesting=0).loss(config_enumerate(model), lambda process: None, process)
    assert -loss == pytest.approx(posterior(process)[1].item(), abs=1e-9)


def test_enumeration_runs_in_parallel_over_a_plate():
    process = PROCESSES["uniform"]()
    rows = torch.tensor([[0, 0], [2, 1], [1, 2]])

    @config_enumerate
    def program():
        with pyro.plate("rows", 3, dim=-1):
            model(process, rows)

    loss = TraceEnum_ELBO(max_plate_nesting=1).loss(program, lambda: None)
    assert -loss == pytest.approx(sum(posterior(process, row)[1].item() for row in rows), abs=1e-9)


def test_importance_weights_give_the_posterior():
    process = PROCESSES["uniform"]()
    run = Importance(model, num_samples=600).run(process)
    assert run.get_log_normalizer().item() == pytest.approx(posterior(process)[1].item(), abs=0.3)
    weights = torch.stack([torch.as_tensor(w) for w in run.log_weights]).softmax(0).double()
    x0 = torch.stack([trace.nodes["x0"]["value"] for trace in run.exec_traces])
    found = torch.zeros(9, dtype=torch.float64).index_add_(0, x0[:, 0] * 3 + x0[:, 1], weights)
    assert (found - posterior(process)[0]).abs().max() < 0.12


def test_importance_sampling_finds_the_evidence_through_masks():
    process = PROCESSES["masked"]()
    seen = torch.tensor([3, 1])
    alpha = float(process.schedule.alpha(torch.tensor(T, dtype=torch.float64)))
    truth = (PMF[:, 1].sum() * alpha * (1 - alpha)).log()
    run = Importance(model, num_samples=400).run(process, seen)
    assert run.get_log_normalizer().item() == pytest.approx(truth.item(), abs=0.35)


def test_plates_expand_the_laws():
    process = PROCESSES["masked columns"]()

    def program():
        with pyro.plate("outer", 4, dim=-2), pyro.plate("inner", 3, dim=-1):
            x0 = pyro.sample("x0", dist.Categorical(torch.ones(2, 2)).to_event(1))
            xt = pyro.sample("xt", process.marginal(x0, 0.5))
            xs = pyro.sample("xs", process.bridge(x0, xt, 0.2, 0.5))
            prior = pyro.sample("prior", process.prior())
        return x0, xt, xs, prior

    traced = poutine.trace(program).get_trace()
    traced.compute_log_prob()
    for name in ("x0", "xt", "xs", "prior"):
        assert traced.nodes[name]["value"].shape == (4, 3, 2)
        assert traced.nodes[name]["log_prob"].shape == (4, 3)


def test_conditioning_and_handlers_reach_the_laws():
    process = PROCESSES["uniform"]()

    def program():
        with pyro.plate("rows", 5):
            x0 = pyro.sample("x0", targets.PottsChain(num_states=3, length=2, coupling=0.5))
            return pyro.sample("xt", process.marginal(x0, T))

    fixed = torch.tensor([[0, 1]]).expand(5, 2)
    traced = poutine.trace(poutine.condition(program, {"xt": fixed})).get_trace()
    assert traced.nodes["xt"]["is_observed"]
    assert torch.equal(traced.nodes["xt"]["value"], fixed)
    expected = process.marginal(traced.nodes["x0"]["value"], T).log_prob(fixed).sum()
    traced.compute_log_prob()
    torch.testing.assert_close(traced.nodes["xt"]["log_prob_sum"], expected)
    silent = poutine.trace(poutine.mask(program, mask=False)).get_trace()
    assert silent.log_prob_sum() == 0
    free = poutine.trace(program).get_trace()
    half = poutine.trace(poutine.scale(poutine.replay(program, trace=free), scale=0.5)).get_trace()
    torch.testing.assert_close(half.log_prob_sum(), free.log_prob_sum() / 2)


def test_predictive_runs_in_parallel():
    process = PROCESSES["rank-one"]()
    drawn = Predictive(model, num_samples=7, parallel=True)(process, None)
    assert drawn["x0"].shape == drawn["xt"].shape == (7, 2)


def test_a_sampler_step_is_a_site():
    t, s = torch.tensor(0.6, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
    reverse = exact("masked")

    def program():
        with pyro.plate("rows", 3):
            x = pyro.sample("x_t", PROCESSES["masked"]().prior())
            return pyro.sample("x_s", samplers.Ancestral().step(reverse, x, t, s))

    traced = poutine.trace(program).get_trace()
    traced.compute_log_prob()
    assert traced.nodes["x_s"]["log_prob"].shape == (3,)
    assert torch.isfinite(traced.nodes["x_s"]["log_prob"]).all()


def test_a_wrong_observation_is_refused_at_the_site():
    with pytest.raises(ValueError, match=r"support|constraint"):
        poutine.trace(model).get_trace(PROCESSES["uniform"](), torch.tensor([3, 0])).compute_log_prob()
