"""Plans: the law of the step that reveals each position, by enumeration; and the network rows they save."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from exactness import assert_draws_follow
from naming import name_of

import ddm_pyro as ddm
from ddm_pyro.parameterizations import MaskPredictor
from ddm_pyro.rates import Masked
from ddm_pyro.samplers import Ancestral, Euler, FirstHitting, KUnmask, TauLeaping
from ddm_pyro.samplers.plans import OrderPlan, Planned
from ddm_pyro.schedules import Cosine, Linear

COSINE = ddm.ForwardProcess(Masked(3), Cosine(), length=3)


@pytest.mark.parametrize(
    ("sampler", "leave"),
    [
        (Ancestral(), None),
        (Euler(), lambda mean: min(1.0, mean)),
        (TauLeaping(), lambda mean: 1 - math.exp(-mean)),
        (TauLeaping("reject"), lambda mean: mean * math.exp(-mean)),
    ],
    ids=name_of,
)
def test_hazard_plan(sampler, leave):
    times, x = torch.linspace(1, 0, 5, dtype=torch.float64), torch.full((2, 3), 3)
    plan = sampler.plan(COSINE, x, times)
    alive, expected = 1.0, []
    for t, s in itertools.pairwise(times.tolist()):
        alpha_t, alpha_s = 1 - math.sin(math.pi / 2 * t), 1 - math.sin(math.pi / 2 * s)
        if leave is None:
            rho = (alpha_s - alpha_t) / (1 - alpha_t)
        else:
            rho = leave((t - s) * math.pi / 2 * math.cos(math.pi / 2 * t) / (1 - alpha_t))
        expected.append(alive * rho)
        alive *= 1 - rho
    expected.append(alive)
    found = [float(plan.log_prob(torch.full((2, 3), k))[0].exp() ** (1 / 3)) for k in range(5)]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    everything = torch.tensor(list(itertools.product(range(5), repeat=3))).unsqueeze(1).expand(-1, 2, -1)
    np.testing.assert_allclose(plan.log_prob(everything).exp().sum(0).numpy(), 1.0, atol=1e-12)


@pytest.mark.parametrize(
    ("sampler", "masks", "sizes"),
    [
        (FirstHitting(), [True] * 4, (1, 1, 1, 1)),
        (FirstHitting(3), [True] * 4, (3, 1)),
        (FirstHitting(2), [True, False, True, True], (2, 1)),
        (FirstHitting(2), [False, True, False, False], (1, 0)),
        (FirstHitting(), [False] * 4, (0, 0, 0, 0)),
        (KUnmask((1, 3)), [True] * 4, (1, 3)),
        (KUnmask((2, 1)), [True, True, False, True], (2, 1)),
    ],
    ids=name_of,
)
def test_order_plan_is_uniform_on_the_ways_to_fill_the_blocks(sampler, masks, sizes):
    process = ddm.ForwardProcess(Masked(3), Linear(), length=4)
    x = torch.where(torch.tensor([masks]), 3, 0)
    steps = len(sampler.sizes_for(4))
    plan = sampler.plan(process, x, torch.linspace(1, 0, steps + 1))
    values = torch.tensor(list(itertools.product(range(steps + 1), repeat=4)))
    right = []
    for value in values.tolist():
        blocks = [value[site] for site in range(4) if masks[site]]
        kept = all(value[site] == steps for site in range(4) if not masks[site])
        right.append(kept and all(blocks.count(k) == size for k, size in enumerate(sizes)))
    expected = np.array(right) / sum(right)
    np.testing.assert_allclose(plan.log_prob(values.unsqueeze(1)).exp()[:, 0].numpy(), expected, rtol=1e-13)
    torch.manual_seed(0)
    drawn = plan.sample((4000,))[:, 0]
    index = (drawn * (steps + 1) ** torch.arange(3, -1, -1)).sum(-1)
    assert_draws_follow(index.unsqueeze(-1), expected, (len(values),))


def test_order_plan_is_exact_in_float64_for_long_rows():
    plan = OrderPlan(torch.ones(1, 200, dtype=torch.bool), torch.arange(200), 200)
    found = float(plan.log_prob(torch.arange(200).unsqueeze(0)))
    assert math.isclose(found, -math.lgamma(201), rel_tol=1e-14)


class Counting(torch.nn.Module):
    """Flat logits; counts the rows it is asked about and checks that they hold a mask."""

    def __init__(self):
        super().__init__()
        self.rows, self.calls, self.idle, self.times = 0, 0, 0, []

    def forward(self, x, t):
        self.rows, self.calls = self.rows + len(x), self.calls + 1
        self.idle += int((x != 3).all(-1).sum())
        self.times.append(t)
        return torch.zeros(*x.shape, 3)


@pytest.mark.parametrize("refresh", [1, 2, 3, 6])
def test_first_hitting_asks_about_every_row_once_a_block(refresh):
    network = Counting()
    process = ddm.ForwardProcess(Masked(3), Linear(), length=6)
    ddm.sample(FirstHitting(refresh), MaskPredictor(network, process), 50, seed=0)
    assert network.calls == math.ceil(6 / refresh)
    assert network.rows == 50 * math.ceil(6 / refresh)


def test_observed_rows_cost_only_their_masks():
    network = Counting()
    process = ddm.ForwardProcess(Masked(3), Linear(), length=6)
    observe = torch.tensor([[0, 1, 2, 0, 1, -1], [-1, -1, 0, 0, 0, 0], [0] * 6])
    ddm.sample(FirstHitting(), MaskPredictor(network, process), 3, observe=observe, seed=0)
    assert network.rows == 3
    assert network.idle == 0


def test_a_planned_grid_asks_only_about_rows_that_reveal():
    """At 100 steps and 4 positions a row reveals at most 4 times; unplanned it would be asked 100 times."""
    network = Counting()
    process = ddm.ForwardProcess(Masked(3), Linear(), length=4)
    ddm.sample(Ancestral(), MaskPredictor(network, process), 30, steps=100, seed=0)
    assert network.rows <= 30 * 4
    assert network.idle == 0


@pytest.mark.parametrize(("first", "refresh"), [(1.0, 1), (0.5, 1), (0.7, 2)])
def test_the_clock_of_first_hitting(first, refresh):
    """The first hit of m masks alive at time t has P(1 - alpha <= y) = (y / (1 - alpha(t)))^m, and so on."""
    network, process = Counting(), ddm.ForwardProcess(Masked(3), Linear(), length=4)
    n = 2000
    ddm.sample(FirstHitting(refresh), ddm.X0(network, process), n, times=grid(first, refresh), seed=1, batch_size=n)
    clock = torch.stack(network.times).double().numpy()
    # Hit j of m uniform times on [0, first] is their j-th largest: mean first (m + 1 - j) / (m + 1).
    for block, row in enumerate(clock):
        hit = block * refresh + 1
        mean, a, b = first * (5 - hit) / 5, 5 - hit, hit
        spread = first * math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)) / n)
        assert abs(row.mean() - mean) < 4.3 * spread
    assert (np.diff(clock, axis=0) < 0).all()


def grid(first, refresh):
    return torch.linspace(first, 0.0, math.ceil(4 / refresh) + 1, dtype=torch.float64)


def test_planned_steps_never_touch_other_positions():
    process = ddm.ForwardProcess(Masked(3), Linear(), length=4)
    x, times = torch.full((5, 4), 3), torch.linspace(1, 0, 4, dtype=torch.float64)
    plan = torch.tensor([[0, 1, 2, 3]] * 5)
    sampler, model = Planned.of(process, x, times, plan), MaskPredictor(Counting(), process)
    torch.manual_seed(0)
    for k in range(3):
        law = sampler.step(model, x, times[k], times[k + 1])
        y = law.sample()
        assert bool(((y != x) == (plan == k)).all())
        np.testing.assert_allclose(law.log_prob(y).numpy(), math.log(1 / 3))
        sampler, x = sampler.after(x, y, law), y
