"""The density of a path against chains that count their jumps, hand-written formulas and quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from oracles import sequences
from pathlaws import (
    FIRST,
    SECOND,
    BirthDeath,
    Doubled,
    Turning,
    count_law,
    count_law_inhomogeneous,
    integrate,
    joint_generator,
)

from ddm_pyro import ForwardProcess
from ddm_pyro.paths import CTMCPath
from ddm_pyro.rates import Dense, Masked, RankOne, Uniform
from ddm_pyro.schedules import Constant, Cosine, Geometric, Linear, LogLinear

INF = float("inf")
PAD = [INF, -1.0, -1.0]
TWO = [[-1.3, 1.3], [0.4, -0.4]]
THREE = [[-1.5, 1.0, 0.5], [0.2, -0.2, 0.0], [3.0, 0.1, -3.1]]


def masses(law, generators, x, counts, s, t, noise, nodes=24):
    """Integrals of the density and the counting chain's probabilities, both (counts, states)."""
    sizes = [len(q) for q in generators]
    states = [tuple(row) for row in sequences(sizes).tolist()]
    expected = count_law(joint_generator(generators), noise, states.index(tuple(x)), counts - 1)
    found = np.zeros_like(expected)
    for count in range(counts):
        for end, mass in integrate(law, x, sizes, count, s, t, nodes).items():
            found[count, states.index(end)] = mass
    return found, expected


@pytest.mark.parametrize(
    ("schedule", "alpha"),
    [
        (Constant(1.7), lambda t: math.exp(-1.7 * t)),
        (LogLinear(0.05), lambda t: 1 - 0.95 * t),
        (Cosine(), lambda t: 1 - math.cos(math.pi / 2 * (1 - t))),
        (Geometric(0.1, 3.0), lambda t: math.exp(0.1 - 0.1 ** (1 - t) * 3.0**t)),
    ],
)
def test_every_number_of_jumps_has_its_probability(schedule, alpha) -> None:
    s, t = 0.15, 0.8
    process = ForwardProcess(Dense(THREE), schedule, 1)
    law = CTMCPath(process, torch.tensor([2]), s, t, max_jumps=4)
    found, expected = masses(law, [np.array(THREE)], [2], 4, s, t, math.log(alpha(s) / alpha(t)))
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-12)


def test_the_density_integrates_to_one() -> None:
    process = ForwardProcess(Dense(TWO), Constant(0.5), 1)
    law = CTMCPath(process, torch.tensor([0]), max_jumps=5)
    found, expected = masses(law, [np.array(TWO)], [0], 6, 0.0, 1.0, 0.5, nodes=8)
    # What more than five jumps have is below 1e-5 here, by the counting chain.
    assert expected.sum() > 1 - 1e-5
    np.testing.assert_allclose(found.sum(), expected.sum(), atol=1e-9)


def test_positions_with_rates_of_their_own() -> None:
    second = Dense(THREE)
    process = ForwardProcess([Dense(TWO), second, RankOne([0.2, 0.8])], Constant(0.9))
    generators = [np.array(TWO), np.array(THREE), np.array([[-0.8, 0.8], [0.2, -0.2]])]
    law = CTMCPath(process, torch.tensor([1, 0, 0]), max_jumps=2)
    found, expected = masses(law, generators, [1, 0, 0], 3, 0.0, 1.0, 0.9)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_masked_alphabets_of_two_sizes() -> None:
    process = ForwardProcess([Masked(2), Masked(3)], LogLinear(0.1))
    law = process.path(torch.tensor([1, 2]))
    assert law.event_shape == (2, 3)
    # The mask is 3 at both positions; position 0 turns into it at 0.5, position 1 never.
    path = torch.tensor([[0.5, 0.0, 3.0], PAD])
    rate, alpha = 0.9 / (1 - 0.45), 1 - 0.45
    assert law.log_prob(path).item() == pytest.approx(math.log(rate * alpha * 0.1), abs=1e-12)
    # Symbol 2 is the size of position 0, not its mask.
    assert law.log_prob(torch.tensor([[0.5, 0.0, 2.0], PAD])).item() == -INF


def test_masked_to_the_end_of_all_noise() -> None:
    law = ForwardProcess(Masked(4), Linear(), 3).path(torch.tensor([0, 3, 1]))
    path = torch.tensor([[0.1, 1, 4], [0.7, 0, 4], [0.9, 2, 4]]).double()
    # Every token's time is uniform on [0, 1].
    assert law.log_prob(path).item() == pytest.approx(0.0, abs=1e-12)
    path[2] = torch.tensor(PAD)
    assert law.log_prob(path).item() == -INF


def test_generators_that_turn_in_time() -> None:
    law = CTMCPath(Turning(), torch.tensor([1]), 0.2, 0.9, max_jumps=2)
    expected = count_law_inhomogeneous(lambda t: FIRST + t**2 * SECOND, 0.2, 0.9, 1, 2)
    found = np.zeros_like(expected)
    for count in range(3):
        for (end,), mass in integrate(law, [1], [3], count, 0.2, 0.9, 10).items():
            found[count, end] = mass
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_quadrature_agrees_with_the_clock() -> None:
    class Unclocked(ForwardProcess):
        time_change = None

    x0 = torch.tensor([[0, 2], [1, 1]])
    clocked = ForwardProcess([Dense(TWO), Dense(THREE)], Cosine())
    plain = Unclocked([Dense(TWO), Dense(THREE)], Cosine())
    x0[0, 0] = 1
    paths = CTMCPath(clocked, x0, 0.1, 0.9, max_jumps=40).sample((20,))
    expected = CTMCPath(clocked, x0, 0.1, 0.9, max_jumps=40).log_prob(paths)
    found = CTMCPath(plain, x0, 0.1, 0.9, max_jumps=40).log_prob(paths)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-7)


def test_an_integral_that_diverges_is_refused() -> None:
    class Unclocked(ForwardProcess):
        time_change = None

    law = CTMCPath(Unclocked(Uniform(2), Linear(), 1), torch.tensor([0]), max_jumps=1)
    with pytest.raises(ValueError, match="could not be integrated"):
        law.log_prob(torch.tensor([PAD]))


def test_birth_and_death_on_the_natural_numbers() -> None:
    process = ForwardProcess(BirthDeath(1.5), Constant(2.0), 2)
    law = process.path(torch.tensor([3, 0]), max_jumps=3)
    path = torch.tensor([[0.25, 0, 2], [0.5, 1, 1], [0.75, 1, 2]]).double()
    # Position 0: a death at rate 3; position 1: two births at rate 1.5; the clock runs twice as fast as time.
    jumps = math.log(2 * 3) + 2 * math.log(2 * 1.5)
    stay = 2 * (0.25 * 4.5 + 0.75 * 3.5) + 2 * (0.5 * 1.5 + 0.25 * 2.5 + 0.25 * 3.5)
    assert law.log_prob(path).item() == pytest.approx(jumps - stay, abs=1e-12)
    for symbol in (4.0, -1.0):  # no death at 0, nothing below it
        wrong = path.clone()
        wrong[0] = torch.tensor([0.25, 1, symbol])
        assert law.log_prob(wrong).item() == -INF


def test_rates_of_repeated_targets_add() -> None:
    process = ForwardProcess(Doubled(), Constant(1.0), 1)
    law = process.path(torch.tensor([0]), max_jumps=2)
    found, expected = masses(law, [Doubled().matrix().numpy()], [0], 3, 0.0, 1.0, 1.0)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_watched_positions_multiply() -> None:
    process = ForwardProcess([Dense(TWO), Dense(THREE)], LogLinear(0.2))
    law = process.path(torch.tensor([0, 1]), max_jumps=30)
    paths = law.sample((50,))
    parts = law.position_log_prob(paths)
    torch.testing.assert_close(parts.sum(-1), law.log_prob(paths), rtol=0, atol=1e-12)
    alone = ForwardProcess(Dense(THREE), LogLinear(0.2), 1).path(torch.tensor([1]), max_jumps=30)
    rows = torch.full_like(paths, INF)
    rows[..., 1:] = -1.0
    for path, row in zip(paths, rows, strict=True):
        kept = path[path[:, 1] == 1]
        row[: len(kept)] = kept
        row[: len(kept), 1] = 0
    torch.testing.assert_close(parts[:, 1], alone.log_prob(rows), rtol=0, atol=1e-12)


def test_watching_positions_apart_needs_a_clock() -> None:
    law = CTMCPath(Turning(), torch.tensor([1]), max_jumps=2)
    with pytest.raises(NotImplementedError, match="time change"):
        law.position_log_prob(torch.tensor([PAD, PAD]))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("unordered", [[0.5, 0, 1], [0.4, 1, 1], PAD]),
        ("padding first", [PAD, [0.5, 0, 1], PAD]),
        ("half padding", [[0.5, 0, 1], [INF, -1, 0], PAD]),
        ("time beyond", [[1.5, 0, 1], PAD, PAD]),
        ("time before", [[-0.1, 0, 1], PAD, PAD]),
        ("time nan", [[float("nan"), 0, 1], PAD, PAD]),
        ("no such position", [[0.5, 2, 1], PAD, PAD]),
        ("half a position", [[0.5, 0.5, 1], PAD, PAD]),
        ("no such symbol", [[0.5, 0, 3], PAD, PAD]),
        ("half a symbol", [[0.5, 0, 0.5], PAD, PAD]),
        ("infinite symbol", [[0.5, 0, INF], PAD, PAD]),
        ("jump to itself", [[0.5, 0, 0], PAD, PAD]),
        ("jump back to itself", [[0.2, 0, 1], [0.3, 1, 1], [0.5, 0, 1]]),
        ("rate zero", [[0.2, 1, 1], [0.3, 1, 2], PAD]),
    ],
)
@pytest.mark.parametrize("process", ["clock", "quadrature"])
def test_impossible_paths_have_no_density(name, rows, process) -> None:
    matrix = [[-1.5, 1.0, 0.5], [0.2, -0.2, 0.0], [3.0, 0.1, -3.1]]
    if process == "clock":
        law = ForwardProcess(Dense(matrix), Constant(1.0), 2).path(torch.tensor([0, 0]), max_jumps=3)
    else:
        law = CTMCPath(Turning(2), torch.tensor([0, 0]), max_jumps=3)
        rows = [[0.2, 0, 2], PAD, PAD] if name == "rate zero" else rows
        if name == "rate zero":
            law.process.at = lambda t: torch.from_numpy(FIRST).expand(*torch.as_tensor(t).shape, 3, 3)
    good = torch.tensor([[0.5, 0, 1], PAD, PAD])
    both = law.log_prob(torch.stack([torch.tensor(rows), good]))
    assert both[0] == -INF
    assert both[1].isfinite()
    assert bool(law.support.check(torch.tensor(rows))) is (name == "rate zero")


def test_malformed_shapes_are_refused() -> None:
    law = ForwardProcess(Dense(TWO), Constant(1.0), 2).path(torch.tensor([0, 0]), max_jumps=3)
    for shape in ((3, 2), (2, 3), (3,), (4, 2, 3)):
        with pytest.raises(ValueError, match=r"must be \(\.\.\., 3, 3\)"):
            law.log_prob(torch.zeros(shape))
