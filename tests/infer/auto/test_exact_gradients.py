"""Gradients against sums over every path: what an estimator has as mean, not what it happens to give."""

from __future__ import annotations

from itertools import permutations, product

import pytest
import torch

from ddm_pyro.infer.auto.any_order import AnyOrder
from ddm_pyro.infer.auto.beliefs import BeliefNet
from ddm_pyro.infer.auto.network import TokenMLP
from ddm_pyro.infer.auto.objectives import Particles, leave_one_out, reinforce, wake
from ddm_pyro.infer.auto.uniform_chain import UniformChain
from ddm_pyro.spaces import StateSpace


def perturbed(space, timed=False, make=TokenMLP):
    """A network away from its start, float64, so that no gradient vanishes by symmetry."""
    torch.manual_seed(0)
    options = {"width": 5, "timed": timed} if make is TokenMLP else {"width": 2}
    network = make(space, **options).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.5 * torch.randn_like(parameter)
    return network


def all_paths(family):
    """Every path of a family, with log r(path | x) up to what ``log_density`` leaves out."""
    space = family.space
    if isinstance(family, AnyOrder):
        orders = torch.tensor(list(permutations(range(space.length))))
        x = space.enumerate()
        paths = torch.stack([torch.stack([o, row]) for o in orders for row in x])
        return paths, torch.full((len(paths),), 1.0 / len(orders), dtype=torch.float64)
    states = space.enumerate()
    index = torch.tensor(list(product(range(len(states)), repeat=family.steps + 1)))
    paths = states[index]
    sizes = torch.tensor(space.position_sizes).double()
    r = torch.ones(len(paths), dtype=torch.float64)
    for k in range(1, family.steps + 1):
        kept = (1 - k / family.steps) / (1 - (k - 1) / family.steps)
        r = r * (kept * (paths[:, k] == paths[:, k - 1]).double() + (1 - kept) / sizes).prod(-1)
    return paths, r


SPACES = {"mixed": StateSpace((2, 3, 1), 3), "equal": StateSpace(3, 2), "one": StateSpace(4, 1)}


def families():
    for name, space in SPACES.items():
        yield f"masked-{name}", AnyOrder(space, perturbed(space))
        yield f"beliefs-{name}", AnyOrder(space, perturbed(space, make=BeliefNet))
        steps = 3 if name == "one" else 2
        yield f"uniform-{name}", UniformChain(space, perturbed(space, timed=True), steps)


FAMILIES = {name: (family, *all_paths(family)) for name, family in families()}


def density(space):
    torch.manual_seed(5)
    return torch.randn(space.num_states, dtype=torch.float64) * 1.5


@pytest.fixture(params=FAMILIES)
def world(request):
    family, paths, r = FAMILIES[request.param]
    log_p = density(family.space)[family.space.index(family.tokens(paths))]
    return family, paths, r, log_p


def gradient(value, family):
    parts = torch.autograd.grad(value, list(family.parameters()), allow_unused=True, retain_graph=True)
    return torch.cat([part.flatten() for part in parts if part is not None])


def assert_same_gradient(found, right):
    assert right.norm() > 1e-3
    assert (found - right).norm() / right.norm() < 1e-9


def test_the_path_law_sums_to_one_with_its_extension(world):
    family, paths, r, _ = world
    torch.testing.assert_close((family.log_density(paths).exp() * r).sum(), torch.tensor(1.0).double())


def test_the_extension_sums_to_one_for_every_sequence(world):
    family, paths, r, _ = world
    totals = torch.zeros(family.space.num_states, dtype=torch.float64)
    totals.index_add_(0, family.space.index(family.tokens(paths)), r)
    torch.testing.assert_close(totals, torch.ones_like(totals))


def test_weights_average_to_z(world):
    family, paths, r, log_p = world
    log_q = family.log_density(paths)
    q = log_q.exp() * r
    z = density(family.space).exp().sum()
    torch.testing.assert_close((q * (log_p - log_q).exp()).sum(), z)


def test_rloo_of_two_particles_has_the_gradient_of_the_elbo(world):
    family, paths, r, log_p = world
    log_q = family.log_density(paths)
    q = (log_q.exp() * r).detach()
    right = gradient(-((log_q.exp() * r) * (log_p - log_q)).sum(), family)
    # The mean over both particles; the baseline of one is the weight of the other.
    weight = (log_p - log_q).detach()
    pair = 0.5 * ((weight[:, None] - weight) * log_q[:, None] + (weight - weight[:, None]) * log_q)
    assert_same_gradient(gradient(-(q[:, None] * q * pair).sum(), family), right)
    i, j = 3 % len(paths), 7 % len(paths)
    both = torch.tensor([i, j])
    particles = Particles(log_p[both], log_q[both], log_q[both], torch.zeros(2).double())
    torch.testing.assert_close(reinforce(particles) + log_p[both].mean(), -pair[i, j])


def test_wake_sleep_with_every_path_has_the_gradient_of_the_forward_divergence(world):
    family, paths, r, log_p = world
    log_q = family.log_density(paths)
    p = (log_p.exp() * r) / (log_p.exp() * r).sum()
    right = gradient(-(p * log_q).sum(), family)
    # Weights p/q over draws in proportion to q: multiplicities stand for the law of the draws.
    multiplicity = (log_q.detach().exp() * r).log()
    log_model, log_guide = log_p + multiplicity, log_q.detach()
    particles = Particles(log_model, log_guide, log_q, torch.zeros_like(log_q))
    full = gradient(wake(particles, denoise=True), family)
    assert_same_gradient(full, right)
    # The correction is the mean score, which is zero under q.
    assert_same_gradient(gradient(wake(particles), family) - full, gradient(log_q.mean(), family))


def test_the_denoising_loss_has_the_mean_of_the_path_loss(world):
    family, paths, r, _ = world
    x = family.space.enumerate()
    torch.manual_seed(1)
    with torch.no_grad():
        draws = torch.stack([family.denoising(x.repeat_interleave(500, 0)).reshape(len(x), -1) for _ in range(8)], 1)
        log_q = family.log_density(paths)
    index = family.space.index(family.tokens(paths))
    right = torch.zeros(len(x), dtype=torch.float64).index_add_(0, index, -r * log_q)
    stderr = draws.flatten(1).std(-1) / draws.flatten(1).shape[1] ** 0.5
    assert ((draws.flatten(1).mean(-1) - right).abs() < 4.5 * stderr + 1e-9).all()


def test_draws_follow_the_density(world):
    family, paths, r, _ = world
    torch.manual_seed(2)
    n = 20000
    drawn = family.sample(n)
    with torch.no_grad():
        law = (family.log_density(paths).exp() * r).double()
    keys = {tuple(path.flatten().tolist()): i for i, path in enumerate(paths)}
    counts = torch.zeros(len(paths), dtype=torch.float64)
    for row in drawn.flatten(1).tolist():
        counts[keys[tuple(row)]] += 1
    expected = n * law
    big = expected > 5
    chi2 = ((counts - expected)[big].square() / expected[big]).sum()
    degrees = big.sum().item()
    assert degrees > 1
    assert chi2 < degrees + 5 * (2 * degrees) ** 0.5 + 15


def test_leaving_a_particle_out():
    weight = torch.tensor([1.0, 5.0, -2.0, 0.5])
    others = torch.stack([torch.cat([weight[:i], weight[i + 1 :]]).mean() for i in range(4)])
    torch.testing.assert_close(leave_one_out(weight), weight - others)
    assert leave_one_out(weight[:1]).tolist() == [1.0]
