"""The guides' networks: short cuts against the plain call on each prefix, the equation, and what they can hold."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from torch import nn

from ddm_pyro import targets
from ddm_pyro.infer import BeliefNet, SumNet, TokenMLP, fit_density
from ddm_pyro.infer.auto.any_order import AnyOrder
from ddm_pyro.infer.auto.beliefs import MAX_THRICE, MAX_TWICE, contrasts
from ddm_pyro.infer.auto.making import MAX_SUM, default_network
from ddm_pyro.spaces import StateSpace

SPACES = {
    "mixed": StateSpace((2, 3, 1, 5), 4),
    "spins": StateSpace(2, 5),
    "one token": StateSpace(3, 1),
    "one value": StateSpace(1, 3),
    "one of one": StateSpace(1, 1),
    "letters": StateSpace(7, 3),
}
NETWORKS = {
    "default": BeliefNet,
    "linear": lambda space: BeliefNet(space, rounds=0, width=0),
    "one round": lambda space: BeliefNet(space, rounds=1, width=2),
    "three rounds": lambda space: BeliefNet(space, rounds=3, width=0),
    "sum": lambda space: SumNet(BeliefNet(space, width=2), TokenMLP(space, width=4)),
    "perceptron": lambda space: TokenMLP(space, width=6),
    "timed perceptron": lambda space: TokenMLP(space, width=6, depth=2, timed=True),
}


class Plain(nn.Module):
    """A network without its short cuts."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, t):
        return self.inner(x, t)


def perturbed(make, space):
    torch.manual_seed(0)
    network = make(space).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.4 * torch.randn_like(parameter)
    return network


@pytest.fixture(params=[(s, n) for s in SPACES for n in NETWORKS], ids=lambda names: "-".join(names))
def pair(request):
    space, make = SPACES[request.param[0]], NETWORKS[request.param[1]]
    network = perturbed(make, space)
    return AnyOrder(space, network), AnyOrder(space, Plain(network))


def test_prefixes_all_at_once_are_the_network_at_each_prefix(pair):
    fast, slow = pair
    torch.manual_seed(1)
    path = slow.sample(20)
    torch.testing.assert_close(fast.log_density(path), slow.log_density(path))


def test_the_next_token_is_the_network_at_that_position(pair):
    fast, slow = pair
    torch.manual_seed(1)
    length, mask = fast.space.length, fast.space.vocab_size
    order, x = slow.sample(20).unbind(-2)
    for known in range(length):
        hidden = order.argsort(-1) >= known
        noised, at = torch.where(hidden, mask, x), order[:, known]
        torch.testing.assert_close(fast._next_logits(noised, at, known), slow._next_logits(noised, at, known))


def test_draws_are_those_without_short_cuts(pair):
    draws = []
    for family in pair:
        torch.manual_seed(3)
        draws.append(family.sample(50))
    assert torch.equal(*draws)


def test_the_law_of_paths_sums_to_one(pair):
    family = pair[0]
    orders = list(permutations(range(family.space.length)))
    paths = torch.stack([torch.stack([torch.tensor(o), x]) for o in orders for x in family.space.enumerate()])
    total = family.log_density(paths).exp().sum() / len(orders)
    torch.testing.assert_close(total, torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_prefixes_of_many_contrasts(rounds):
    """Above ``MAX_TWICE`` the first round is a cumulative sum."""
    space = StateSpace((40, 60, 2, 31, 60), 5)
    assert space.length * (space.vocab_size - 1) > MAX_TWICE
    network = perturbed(lambda space: BeliefNet(space, rounds=rounds, width=2), space)
    fast, slow = AnyOrder(space, network), AnyOrder(space, Plain(network))
    path = slow.sample(10)
    torch.testing.assert_close(fast.log_density(path), slow.log_density(path))


@pytest.mark.parametrize("name", SPACES)
def test_the_uniform_law_before_training(name):
    space = SPACES[name]
    family = AnyOrder(space, default_network(space, "masked"))
    log_q = family.log_density(family.sample(5))
    torch.testing.assert_close(log_q, torch.full_like(log_q, -math.log(space.num_states)))


def test_beliefs_by_hand():
    """The equation, token by token, for contrasts that are signs."""
    network = perturbed(lambda space: BeliefNet(space, rounds=2, width=1), StateSpace(2, 3))
    x = torch.tensor([1, 2, 0])
    y, known = [1.0, 0.0, -1.0], [True, False, True]
    b = y
    for weight, bias in zip(network.weights, network.biases, strict=True):
        h = [sum(b[m] * weight[m, i].item() for m in range(3)) + bias[i].item() for i in range(3)]
        b = [y[i] if known[i] else math.tanh(h[i]) for i in range(3)]
    for i in range(3):
        gate, factor, linear = (
            sum(b[m] * network.read[i, m, f].item() for m in range(3)) + network.bias[i, f].item() for f in range(3)
        )
        logit = network.head[i, 0, 0].item() * factor / (1 + math.exp(-gate)) + linear
        found = network(x, torch.zeros(()))[i]
        assert found.tolist() == pytest.approx([-logit, logit], abs=1e-9)


@pytest.mark.parametrize("vocab", [2, 3, 4, 11])
def test_contrasts(vocab):
    torch.set_default_dtype(torch.float64)
    try:
        codes = contrasts(vocab)
    finally:
        torch.set_default_dtype(torch.float32)
    assert codes.shape == (vocab + 1, vocab - 1)
    torch.testing.assert_close(codes[:-1].T @ codes[:-1], vocab * torch.eye(vocab - 1).double())
    assert codes[:-1].sum(0).abs().max() < 1e-12
    assert not codes[-1].any()


@pytest.mark.parametrize(
    ("space", "kind", "rounds"),
    [
        (StateSpace(2, MAX_SUM), SumNet, None),
        (StateSpace(2, MAX_SUM + 1), BeliefNet, 2),
        (StateSpace(3, MAX_THRICE // 2 + 1), BeliefNet, 2),
        (StateSpace(2, MAX_TWICE), BeliefNet, 2),
        (StateSpace(2, MAX_TWICE + 1), BeliefNet, 1),
        (StateSpace(5, MAX_TWICE // 4), BeliefNet, 2),
        (StateSpace(50, 20), BeliefNet, 1),
        (StateSpace(2, 512), BeliefNet, 1),
        (StateSpace(2, 513), TokenMLP, None),
        (StateSpace(3, 400), TokenMLP, None),
        (StateSpace(1026, 1), TokenMLP, None),
        (StateSpace(50, 40), TokenMLP, None),
    ],
    ids=str,
)
def test_the_default_stays_small(space, kind, rounds):
    network = default_network(space, "masked")
    assert type(network) is kind
    assert rounds is None or len(network.weights) == rounds
    assert sum(parameter.numel() for parameter in network.parameters()) < 2**25
    assert isinstance(default_network(space, "uniform"), TokenMLP)


@pytest.mark.parametrize("options", [{"rounds": -1}, {"rounds": 1.5}, {"width": -2}, {"rounds": True}], ids=repr)
def test_bad_options(options):
    [(name, value)] = options.items()
    with pytest.raises(ValueError, match=f"{name}={value!r} must be a whole number"):
        BeliefNet(StateSpace(2, 3), **options)


@pytest.mark.parametrize("name", ["parity of four", "one of six"])
def test_the_default_knows_couplings_of_many(name):
    length = {"parity of four": 4, "one of six": 6}[name]

    def log_density(x):
        s = 2.0 * x.double() - 1.0
        return s.prod(-1) if name == "parity of four" else -4.0 * (x.double().sum(-1) - 1.0).abs()

    space = StateSpace(2, length)
    sampler = fit_density(log_density, space, steps=300, num_particles=64, lr=0.01, seed=0)
    draws = sampler.weigh(2000, seed=1)
    assert torch.logsumexp(log_density(space.enumerate()), 0) - draws.elbo < 0.03
    assert draws.ess_fraction > 0.9


def test_sums_add_logits():
    space = StateSpace((2, 3), 2)
    parts = [perturbed(BeliefNet, space), perturbed(lambda space: TokenMLP(space, width=4), space)]
    x, t = torch.tensor([[0, 2], [3, 1]]), torch.tensor([0.0, 0.5]).double()
    torch.testing.assert_close(SumNet(*parts)(x, t), parts[0](x, t) + parts[1](x, t))


def test_sums_need_short_cuts():
    with pytest.raises(TypeError, match="Plain has no prefix_logits"):
        SumNet(TokenMLP(StateSpace(2, 3), width=4), Plain(TokenMLP(StateSpace(2, 3), width=4)))


def test_a_field_and_a_coupling_of_three():
    """No sum over known tokens holds a product of two; the law of the rest is a plain field."""

    def log_density(x):
        s = 2.0 * x.double() - 1.0
        return 0.8 * s[:, 0] * s[:, 1] * s[:, 2] + 0.5 * s[:, 3] - 0.3 * s[:, 0]

    draws = {}
    for width in (0, 8):
        sampler = fit_density(
            log_density,
            StateSpace(2, 4),
            network=lambda space, width=width: BeliefNet(space, width=width),
            steps=200,
            num_particles=64,
            lr=0.02,
            seed=0,
        )
        draws[width] = sampler.weigh(2000, seed=1)
    x = StateSpace(2, 4).enumerate()
    right = torch.logsumexp(log_density(x), 0).item()
    assert abs(draws[8].log_evidence - right) < 4.5 * draws[8].stderr + 1e-6
    assert right - draws[8].elbo < 0.02 < right - draws[0].elbo


@pytest.mark.slow
def test_a_hundred_critical_spins():
    grid = targets.IsingGrid(10, 10, 0.5 * math.log(1 + math.sqrt(2)))
    sampler = fit_density(grid.log_prob, grid.space, steps=2000, num_particles=64, anneal=0.5, seed=0)
    draws = sampler.weigh(4000, seed=1)
    assert -draws.elbo < 1.5
    assert draws.ess_fraction > 0.04
    assert abs(draws.log_evidence) < 5 * draws.stderr
