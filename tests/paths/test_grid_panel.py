"""Paths on a grid and panels with holes, against products of kernels and sums over what is missing."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from pathlaws import FIRST, SECOND, BirthDeath, Turning, assert_counts_follow, tally
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.stats import binom, poisson

from ddm_pyro import ForwardProcess
from ddm_pyro.paths import GridPath, panel_log_prob
from ddm_pyro.random import indexed
from ddm_pyro.rates import Dense, Masked, RankOne
from ddm_pyro.schedules import Constant, Cosine, Linear, LogLinear

TWO = [[-1.3, 1.3], [0.4, -0.4]]
THREE = [[-1.5, 1.0, 0.5], [0.2, -0.2, 0.0], [3.0, 0.1, -3.1]]
TIMES = [0.1, 0.4, 0.9]
INF = float("inf")


def kernels(generator, times, rate=2.0):
    return [expm(rate * (b - a) * np.array(generator)) for a, b in itertools.pairwise(times)]


def test_every_grid_path_has_its_product_of_kernels() -> None:
    process = ForwardProcess([Dense(TWO), Dense(THREE)], Constant(2.0))
    law = process.path(torch.tensor([1, 2]), times=TIMES)
    assert (law.batch_shape, law.event_shape) == ((), (3, 2))
    first, second = kernels(TWO, [0.0, *TIMES]), kernels(THREE, [0.0, *TIMES])
    paths = list(itertools.product(itertools.product(range(2), range(3)), repeat=3))
    expected = [
        math.prod(
            first[k][a[0], b[0]] * second[k][a[1], b[1]] for k, (a, b) in enumerate(itertools.pairwise([(1, 2), *path]))
        )
        for path in paths
    ]
    found = law.log_prob(torch.tensor(paths)).exp().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.sum() == pytest.approx(1.0, abs=1e-12)
    with indexed(1, range(20_000)):
        x = law.sample((20_000,))
    cells = tally(*x.flatten(1).T)
    names = [tuple(token for state in path for token in state) for path in paths]
    assert_counts_follow(cells, dict(zip(names, expected, strict=True)), len(x))


def test_grids_of_masked_chains_and_time_zero() -> None:
    process = ForwardProcess(Masked(3), Linear(), 1)
    law = process.path(torch.tensor([2]), times=[0.0, 0.25, 1.0])
    assert law.log_prob(torch.tensor([[2], [2], [3]])).exp().item() == pytest.approx(0.75)
    assert law.log_prob(torch.tensor([[[1], [3], [3]], [[2], [3], [2]]])).tolist() == [-INF, -INF]
    assert bool((law.sample((20,))[:, [0, 2], 0] == torch.tensor([2, 3])).all())


def test_grids_from_a_later_start() -> None:
    process = ForwardProcess(RankOne([0.3, 0.7]), LogLinear(0.2), 1)
    law = GridPath(process, torch.tensor([0]), [0.5, 0.75], s=0.25)
    kept = (1 - 0.8 * 0.75) / (1 - 0.8 * 0.25)
    total = sum(law.log_prob(torch.tensor([[v], [1]])).exp().item() for v in range(2))
    assert total == pytest.approx((1 - kept) * 0.7, abs=1e-12)


def test_grids_of_turning_generators() -> None:
    law = Turning(2).path(torch.tensor([0, 1]), times=[0.3, 1.0])
    kernel = []
    for s, t in ((0.0, 0.3), (0.3, 1.0)):
        flow = solve_ivp(
            lambda t, p: (p.reshape(3, 3) @ (FIRST + t**2 * SECOND)).ravel(), (s, t), np.eye(3).ravel(), rtol=1e-10
        )
        kernel.append(flow.y[:, -1].reshape(3, 3))
    expected = kernel[0][0, 2] * kernel[1][2, 2] * kernel[0][1, 0] * kernel[1][0, 1]
    assert law.log_prob(torch.tensor([[2, 0], [2, 1]])).exp().item() == pytest.approx(expected, rel=1e-4)


def test_grids_are_checked() -> None:
    process = ForwardProcess(RankOne([0.3, 0.7]), LogLinear(0.2), 2)
    x0 = torch.tensor([0, 1])
    for times in ([], [0.5, 0.5], [0.5, 0.2], [0.5, 1.5], [-0.1, 0.5], [[0.1, 0.2]]):
        with pytest.raises(ValueError, match="times"):
            process.path(x0, times=times)
    with pytest.raises(ValueError, match="times"):
        GridPath(process, x0, [0.2, 0.4], s=0.2)
    with pytest.raises(ValueError, match="leave out max_jumps=3"):
        process.path(x0, times=[0.5], max_jumps=3)
    with pytest.raises(ValueError, match="outside"):
        process.path(torch.tensor([0, 2]), times=[0.5])
    with pytest.raises(ValueError, match="support"):
        process.path(x0, times=[0.5]).log_prob(torch.tensor([[0, 2]]))


def brute_panel(generators, x, times, initial, rate=2.0):
    """Sum over every filling of the missing tokens, position by position."""
    total = 1.0
    for position, generator in enumerate(generators):
        size, column = len(generator), x[:, position].tolist()
        steps = kernels(generator, times, rate)
        mass = 0.0
        for filled in itertools.product(*([v] if v >= 0 else range(size) for v in column)):
            mass += initial[position][filled[0]] * math.prod(
                step[a, b] for step, (a, b) in zip(steps, itertools.pairwise(filled), strict=True)
            )
        total *= mass
    return math.log(total)


def test_missing_tokens_are_summed_out() -> None:
    process = ForwardProcess([Dense(TWO), Dense(THREE)], Constant(2.0))
    initial = [[0.2, 0.8, 0.0], [0.5, 0.2, 0.3]]
    rng = torch.Generator().manual_seed(0)
    x = torch.stack([torch.randint(-1, 2, (40, 4), generator=rng), torch.randint(-1, 3, (40, 4), generator=rng)], -1)
    times = [0.05, *TIMES]
    found = panel_log_prob(process, x, times, initial)
    expected = [brute_panel([TWO, THREE], row, times, initial) for row in x]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-11)
    assert panel_log_prob(process, torch.full((4, 2), -1), times, initial).item() == pytest.approx(0.0, abs=1e-12)


def test_times_of_their_own_in_every_row() -> None:
    process = ForwardProcess([Dense(TWO), Dense(THREE)], Constant(2.0))
    x = torch.tensor([[[0, 1], [-1, 2], [1, -1]], [[1, 0], [0, -1], [-1, 1]]])
    times = torch.tensor([[0.0, 0.2, 0.5], [0.3, 0.4, 1.0]], dtype=torch.float64)
    found = panel_log_prob(process, x, times)
    for k in range(2):
        start = [[float(v == x[k, 0, position]) for v in range(3)] for position in range(2)]
        expected = brute_panel([TWO, THREE], x[k], times[k].tolist(), start)
        assert found[k].item() == pytest.approx(expected, rel=1e-11)


def test_complete_panels_are_grid_paths() -> None:
    process = ForwardProcess(RankOne([0.2, 0.5, 0.3]), Cosine(), 3)
    law = process.path(torch.tensor([0, 1, 2]), times=TIMES)
    x = law.sample((10,))
    panel = torch.cat([torch.tensor([0, 1, 2]).expand(10, 1, 3), x], 1)
    found = panel_log_prob(process, panel, [0.0, *TIMES])
    torch.testing.assert_close(found, law.log_prob(x), rtol=0, atol=1e-12)


def test_impossible_panels_score_minus_infinity() -> None:
    process = ForwardProcess([Masked(2), Masked(3)], Linear())
    x = torch.tensor([[[0, 1], [3, -1], [3, 3]], [[0, 1], [3, 1], [0, 1]], [[0, 1], [-1, 3], [-1, 2]]])
    found = panel_log_prob(process, x, [0.0, 0.25, 1.0])
    assert found[0].item() == pytest.approx(math.log(0.25 * 1.0), abs=1e-12)
    assert found[1:].tolist() == [-INF, -INF]
    cycle = ForwardProcess(Dense([[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0], [0.0, 0.0, 0.0]]), Constant(1.0), 1)
    assert panel_log_prob(cycle, torch.tensor([[2], [0]]), [0.0, 1.0]).item() == -INF


def test_panels_are_checked() -> None:
    process = ForwardProcess(RankOne([0.2, 0.8]), Constant(1.0), 2)
    x = torch.tensor([[0, 1], [-1, 1]])
    for times in ([0.5], [0.5, 0.5], [0.5, 1.2], 0.5):
        with pytest.raises(ValueError, match="times"):
            panel_log_prob(process, x, times)
    with pytest.raises(ValueError, match=r"misses the token at \[0\]"):
        panel_log_prob(process, x.flip(0), [0.0, 1.0])
    with pytest.raises(ValueError, match="outside"):
        panel_log_prob(process, torch.tensor([[0, 1], [-2, 1]]), [0.0, 1.0])
    with pytest.raises(ValueError, match="no law"):
        panel_log_prob(process, x, [0.0, 1.0], [0.5, 0.6])
    with pytest.raises(ValueError, match="must end in"):
        panel_log_prob(process, x, [0.0, 1.0], [0.5, 0.3, 0.2])
    with pytest.raises(ValueError, match="finite alphabet"):
        panel_log_prob(ForwardProcess(BirthDeath(), Constant(1.0), 2), x, [0.0, 1.0])


def test_a_birth_and_death_grid_with_a_known_kernel() -> None:
    class Known(BirthDeath):
        def transition(self, x, sigma):
            import pyro.distributions as dist

            values = np.arange(40)
            gone = np.exp(-float(sigma.flatten()[0]))
            table = [
                np.convolve(binom.pmf(values, int(v), gone), poisson.pmf(values, self.birth * (1 - gone)))[:40]
                for v in x.flatten()
            ]
            return dist.Categorical(torch.tensor(np.array(table)).reshape(*x.shape, 40))

    law = ForwardProcess(Known(0.7), Constant(1.0), 1).path(torch.tensor([3]), times=[1.0])
    expected = sum(binom.pmf(k, 3, math.exp(-1)) * poisson.pmf(2 - k, 0.7 * (1 - math.exp(-1))) for k in range(3))
    assert law.log_prob(torch.tensor([[2]])).exp().item() == pytest.approx(expected, rel=1e-9)
