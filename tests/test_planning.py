"""Mask-size schedules and time grids against the printed tables, brute force and the samplers' own paths."""

import itertools
import math

import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.planning import (
    balanced_sizes,
    block_costs,
    grid_error,
    information_grid,
    optimal_sizes,
    reveal_error,
)


def potts(length, coupling=1.0, num_states=4, **more):
    return ddm.targets.PottsChain(num_states=num_states, length=length, coupling=coupling, **more).information_curve()


# kl_tv.md (a): K=4, J=1, L=32, free boundary, generation order.
UNBALANCED = [
    ([1] * 24 + [8], 0.175644),
    ([8] + [1] * 24, 0.223407),
    ([1, 2, 3, 4, 5, 7, 10], 0.580344),
    ([10, 7, 5, 4, 3, 2, 1], 0.639908),
    ([1, 1, 2, 4, 8, 16], 1.05371),
    ([16, 8, 4, 2, 1, 1], 1.16623),
    ([7, 7, 6, 6, 6], 0.620377),
    ([6, 6, 6, 7, 7], 0.611354),
]


@pytest.mark.parametrize(("sizes", "printed"), UNBALANCED)
def test_unbalanced_errors_are_those_printed(sizes, printed):
    assert reveal_error(potts(32), sizes) == pytest.approx(printed, rel=5e-6)


@pytest.mark.parametrize(("steps", "sizes", "printed"), [(7, [4, 4, 4, 5, 5, 5, 5], 0.405003), (2, [15, 17], 1.72343)])
def test_optimal_sizes_are_those_printed(steps, sizes, printed):
    found = optimal_sizes(potts(32), steps)
    assert list(found) == sizes
    assert reveal_error(potts(32), found) == pytest.approx(printed, rel=5e-6)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 7])
def test_dynamic_programme_finds_what_exhaustion_finds(steps):
    curve = torch.tensor([1.9, 1.2, 1.15, 0.7, 0.69, 0.1, 0.05], dtype=torch.float64)
    cuts = itertools.combinations(range(1, 7), steps - 1)
    schedules = [[b - a for a, b in itertools.pairwise((0, *cut, 7))] for cut in cuts]
    best = min(reveal_error(curve, sizes) for sizes in schedules)
    assert reveal_error(curve, optimal_sizes(curve, steps)) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize(
    ("schedule", "printed"), [(ddm.schedules.Linear(), 0.0544779), (ddm.schedules.Constant(total=8.0), 0.207622)]
)
def test_grid_error_is_the_printed_path_kl(schedule, printed):
    forward = ddm.ForwardProcess(ddm.rates.Masked(4), schedule, length=32)
    times = torch.linspace(1.0, 0.0, 65, dtype=torch.float64)
    assert grid_error(potts(32), forward, times) == pytest.approx(printed, rel=5e-6)


@pytest.mark.parametrize("schedule", [ddm.schedules.Constant(total=3.0), ddm.schedules.Cosine()])
def test_grid_error_is_the_error_averaged_over_plans(schedule):
    """The plan of the ancestral sampler is a random mask-size schedule: average its error over all plans, L = 3."""
    curve, times = potts(3, num_states=3), torch.tensor([1.0, 0.6, 0.25, 0.1], dtype=torch.float64)
    forward = ddm.ForwardProcess(ddm.rates.Masked(3), schedule, length=3)
    plan = ddm.samplers.Ancestral().plan(forward, torch.full((3,), 3), times)
    steps, total = len(times), 0.0
    for assignment in itertools.product(range(steps), repeat=3):
        chance = math.exp(float(plan.log_prob(torch.tensor(assignment))))
        sizes = [assignment.count(k) for k in range(steps) if assignment.count(k)]
        total += chance * reveal_error(curve, sizes)
    assert grid_error(curve, forward, times) == pytest.approx(total, abs=1e-12)


def test_information_grid_beats_the_even_grid_and_is_an_optimum_for_many_steps():
    curve = torch.tensor([2.0] * 12 + [0.2] * 4, dtype=torch.float64)
    forward = ddm.ForwardProcess(ddm.rates.Masked(8), ddm.schedules.Constant(total=6.0), length=16)
    even = torch.linspace(1.0, 0.0, 33, dtype=torch.float64)
    found = information_grid(curve, forward, 32)
    best = grid_error(curve, forward, found)
    assert best < 0.7 * grid_error(curve, forward, even)
    for k in (5, 16, 27):
        for shift in (-0.3, 0.3):
            moved = found.clone()
            moved[k] += shift * (found[k - 1] - found[k])
            assert grid_error(curve, forward, moved) > best * (1 - 1e-3)


def test_information_grid_serves_every_schedule_alike():
    curve = potts(12)
    errors = [
        grid_error(curve, forward, information_grid(curve, forward, 24))
        for schedule in (ddm.schedules.Linear(), ddm.schedules.Cosine(), ddm.schedules.Constant(total=20.0))
        for forward in [ddm.ForwardProcess(ddm.rates.Masked(4), schedule, length=12)]
    ]
    assert max(errors) - min(errors) < 1e-6


def test_independent_tokens_cost_nothing():
    flat = torch.full((5,), 1.3)
    forward = ddm.ForwardProcess(ddm.rates.Masked(4), ddm.schedules.Linear(), length=5)
    times = information_grid(flat, forward, 4)
    assert times.tolist() == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])
    assert grid_error(flat, forward, times) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: reveal_error([1.0, 0.5], [1, 2]), "sum to the length 2"),
        (lambda: reveal_error([1.0, 0.5], [2, 0]), "positive"),
        (lambda: balanced_sizes(4, 5), "between 1 and 4"),
        (lambda: optimal_sizes([1.0, 0.5], 3), "between 1 and 2"),
        (lambda: block_costs([0.5, 1.0]), "rises from 0.5 to 1"),
        (lambda: block_costs([]), "give L finite"),
        (lambda: block_costs([float("nan")]), "give L finite"),
    ],
)
def test_bad_input_gets_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()
