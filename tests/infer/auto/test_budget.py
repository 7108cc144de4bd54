"""What the issue measures: gradients at 2e5 particles, and a 4 x 4 Ising grid in a minute of CPU."""

from __future__ import annotations

import time
from itertools import permutations
from statistics import median

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI

import ddm_pyro as ddm
from ddm_pyro.infer import AutoDiscreteDiffusion, TokenMLP

GRID = ddm.targets.IsingGrid(4, 4, 0.44)


def ising(beta=0.44, field=0.0):
    with pyro.plate("sites", 16, dim=-1):
        x = pyro.sample("x", dist.Bernoulli(0.5))
    s = (2 * x - 1).unflatten(-1, (4, 4))
    bonds = (s[..., 1:] * s[..., :-1]).sum((-2, -1)) + (s[..., 1:, :] * s[..., :-1, :]).sum((-2, -1))
    pyro.factor("bonds", (beta * bonds + field * s.sum((-2, -1))).unsqueeze(-1))


def train(seed, steps, particles, lr=3e-3, **model):
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)

    def program():
        ising(**model)

    guide = AutoDiscreteDiffusion(program)
    svi = SVI(program, guide, pyro.optim.Adam({"lr": lr}), loss=guide.elbo(particles))
    start = time.process_time()
    for _ in range(steps):
        svi.step()
    seconds = time.process_time() - start
    draws = guide.sample_posterior(20000)
    log_z = float(ddm.targets.IsingGrid(4, 4, model.get("beta", 0.44), model.get("field", 0.0)).log_partition)
    return log_z - 16 * 0.6931471805599453 - draws.elbo, draws.ess_fraction, seconds


@pytest.mark.slow
@pytest.mark.parametrize("model", [{}, {"field": 0.2}, {"beta": -0.5, "field": 0.1}], ids=repr)
def test_a_small_grid_within_a_minute(model):
    # The issue asks for the median of three; other fields and couplings get one, they take half a minute each.
    runs = [train(seed, 1000, 256, **model) for seed in range(1 if model else 3)]
    assert median(kl for kl, _, _ in runs) < 0.05
    assert median(ess for _, ess, _ in runs) > 0.9
    assert median(seconds for _, _, seconds in runs) < 60


@pytest.mark.slow
def test_a_small_grid_in_a_hundred_steps():
    kl, ess, _ = train(0, 100, 64)
    assert 0.0 < kl < 0.5
    assert ess > 0.4


def plated():
    b = pyro.param("b", torch.tensor(0.3))
    with pyro.plate("sites", 3, dim=-1):
        x = pyro.sample("x", dist.Bernoulli(torch.tensor([0.3, 0.6, 0.8])))
    pyro.factor("pairs", b * (x[..., 1:] * x[..., :-1]).sum(-1, keepdim=True))


def plain():
    b = pyro.param("b", torch.tensor(0.3))
    x = pyro.sample("x", dist.Bernoulli(torch.tensor([0.3, 0.6])).to_event(1))
    k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
    table = torch.tensor([[0.0, 1.0, -0.5], [0.3, -1.0, 0.8]])
    pyro.factor("all", b * (2 * x - 1).prod(-1) + table[x[..., 0].long(), k])


def exact_gradient(model, guide, objective):
    """By the sum over every token sequence and order, each prefix a network call of its own."""
    network, space = guide.family.network, guide.space
    orders = list(permutations(range(space.length)))
    log_p, log_q = [], []
    for row in space.enumerate():
        parts = row.split([len(block.sizes) for block in guide.blocks])
        data = {b.name: b.value(part) for b, part in zip(guide.blocks, parts, strict=True)}
        value = poutine.trace(poutine.condition(model, data)).get_trace().log_prob_sum()
        for order in orders:
            known, total = torch.full((1, space.length), space.vocab_size), torch.zeros(())
            for at in order:
                logits = network(known, torch.zeros(1))[0, at, : space.position_sizes[at]]
                total = total + logits.log_softmax(-1)[row[at]]
                known = known.clone()
                known[0, at] = row[at]
            log_p.append(value)
            log_q.append(total)
    log_p, log_q = torch.stack(log_p), torch.stack(log_q)
    if objective == "rloo":
        loss = -(log_q.exp() / len(orders) * (log_p - log_q)).sum()
    else:
        loss = -(log_p.detach().softmax(0) * (log_q + log_p)).sum()
    parameters = [p for p in guide.family.parameters() if p.requires_grad]
    parameters.append(pyro.get_param_store()._params["b"])
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return parameters, [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


@pytest.mark.parametrize(
    ("n", "limit"), [(20000, 0.09), pytest.param(200000, 0.03, marks=pytest.mark.slow)], ids=["quick", "full"]
)
@pytest.mark.parametrize("objective", ["rloo", "rws", "wdce"])
@pytest.mark.parametrize("model", [plated, plain], ids=lambda model: model.__name__)
def test_gradients_are_those_of_enumeration(model, objective, n, limit):
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        guide = AutoDiscreteDiffusion(model, lambda space: TokenMLP(space, width=6))
        guide.elbo(2).loss(model, guide)
        with torch.no_grad():
            for parameter in guide.family.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
        parameters, right = exact_gradient(model, guide, objective)
        for parameter in parameters:
            parameter.grad = None
        guide.elbo(n, objective).loss_and_grads(model, guide)
        found = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        want = torch.cat([g.flatten() for g, p in zip(right, parameters, strict=True) if p.grad is not None])
        assert all(g.abs().max() < 1e-12 for g, p in zip(right, parameters, strict=True) if p.grad is None)
        assert (found - want).norm() / want.norm() < limit
    finally:
        torch.set_default_dtype(dtype)
        pyro.clear_param_store()
