"""Draws of paths: Gillespie and uniformization against counting chains, kernels and each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exactness import FALSE_ALARM
from pathlaws import (
    FIRST,
    SECOND,
    BirthDeath,
    Doubled,
    Turning,
    assert_counts_follow,
    count_law,
    joint_generator,
    tally,
)
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.stats import binom, kstest, norm, poisson

from ddm_pyro import ForwardProcess
from ddm_pyro.paths import CTMCPath, num_jumps, state_at
from ddm_pyro.random import indexed
from ddm_pyro.rates import Dense, Masked, RankOne, Uniform
from ddm_pyro.schedules import Constant, Cosine, Linear, LogLinear

TWO = [[-1.3, 1.3], [0.4, -0.4]]
THREE = [[-1.5, 1.0, 0.5], [0.2, -0.2, 0.0], [3.0, 0.1, -3.1]]


def draws(law, n, seed):
    with indexed(seed, range(n)):
        return law.sample((n,))


@pytest.mark.parametrize("method", ["gillespie", "uniformization"])
def test_jumps_and_ends_follow_the_counting_chain(method) -> None:
    process = ForwardProcess([Dense(TWO), Dense(THREE)], LogLinear(0.2))
    law = CTMCPath(process, torch.tensor([0, 2]), 0.2, 0.9, max_jumps=40, method=method)
    paths = draws(law, 20_000, 3)
    noise = np.log((1 - 0.8 * 0.2) / (1 - 0.8 * 0.9))
    table = count_law(joint_generator([np.array(TWO), np.array(THREE)]), noise, 2, 25)
    x = state_at(paths, torch.tensor([0, 2]), 0.9)
    cells = tally(num_jumps(paths), x[:, 0], x[:, 1])
    law_of = {(k, y // 3, y % 3): p for k, row in enumerate(table) for y, p in enumerate(row)}
    assert_counts_follow(cells, law_of, len(paths))


@pytest.mark.parametrize("method", ["gillespie", "uniformization"])
def test_states_at_two_times_follow_the_kernels(method) -> None:
    process = ForwardProcess(Doubled(), Cosine(), 1)
    law = CTMCPath(process, torch.tensor([1]), 0.0, 0.95, max_jumps=60, method=method)
    paths = draws(law, 20_000, 4)
    alpha = [1 - np.cos(np.pi / 2 * (1 - t)) for t in (0.3, 0.95)]
    first, second = (
        expm(-np.log(alpha[0]) * Doubled().matrix().numpy())[1],
        expm(np.log(alpha[0] / alpha[1]) * Doubled().matrix().numpy()),
    )
    early, late = state_at(paths, torch.tensor([1]), 0.3), state_at(paths, torch.tensor([1]), 0.95)
    expected = {(u, v): first[u] * second[u, v] for u in range(3) for v in range(3)}
    assert_counts_follow(tally(early[:, 0], late[:, 0]), expected, len(paths))


def test_uniformization_of_generators_that_turn_in_time() -> None:
    law = CTMCPath(Turning(2), torch.tensor([1, 2]), 0.1, 0.8, max_jumps=40)
    assert law.method == "uniformization"
    x = state_at(draws(law, 20_000, 5), torch.tensor([1, 2]), 0.8)
    flow = solve_ivp(
        lambda t, p: (p.reshape(3, 3) @ (FIRST + t**2 * SECOND)).ravel(), (0.1, 0.8), np.eye(3).ravel(), rtol=1e-10
    )
    kernel = flow.y[:, -1].reshape(3, 3)
    expected = {(u, v): kernel[1, u] * kernel[2, v] for u in range(3) for v in range(3)}
    assert_counts_follow(tally(*x.T), expected, len(x))


def test_importance_weights_recover_the_kernel() -> None:
    # Paths of one process, weighted to another: E[p(path) / q(path); X_t = y] is the kernel of p.
    proposal = ForwardProcess([Uniform(2), Uniform(3)], Constant(2.5))
    process = ForwardProcess([Dense(TWO), Dense(THREE)], LogLinear(0.3))
    x0, n = torch.tensor([1, 0]), 40_000
    q = CTMCPath(proposal, x0, max_jumps=30)
    p = CTMCPath(process, x0, max_jumps=30)
    paths = draws(q, n, 6)
    weights = (p.log_prob(paths) - q.log_prob(paths)).exp()
    x = state_at(paths, x0, 1.0)
    noise = -np.log(0.3)
    kernel = np.outer(expm(noise * np.array(TWO))[1], expm(noise * np.array(THREE))[0])
    for u in range(2):
        for v in range(3):
            terms = weights * ((x[:, 0] == u) & (x[:, 1] == v))
            z = (terms.mean() - kernel[u, v]) / (terms.std() / n**0.5)
            assert abs(z) < norm.isf(FALSE_ALARM / 12)


def test_masked_times_are_uniform_up_to_the_end() -> None:
    law = ForwardProcess(Masked(3), Linear(), 4).path(torch.tensor([0, 1, 2, 0]))
    paths = draws(law, 5_000, 7)
    assert bool((num_jumps(paths) == 4).all())
    assert bool((paths[..., 2] == 3).all())
    assert bool((paths[:, 1:, 0] >= paths[:, :-1, 0]).all())
    assert kstest(paths[..., 0].flatten().numpy(), "uniform").pvalue > FALSE_ALARM
    # The order is uniform over the 24 permutations.
    cells = tally(*paths[..., 1].long().T)
    assert_counts_follow(cells, dict.fromkeys(cells, 1 / 24), len(paths))
    assert len(cells) == 24


def test_births_and_deaths_follow_their_kernel() -> None:
    law = ForwardProcess(BirthDeath(1.5), Constant(0.8), 1).path(torch.tensor([4]), max_jumps=30)
    x = state_at(draws(law, 20_000, 8), torch.tensor([4]), 1.0)[:, 0]
    values = np.arange(40)
    alive, born = binom.pmf(values, 4, np.exp(-0.8)), poisson.pmf(values, 1.5 * (1 - np.exp(-0.8)))
    expected = np.convolve(alive, born)[:40]
    assert_counts_follow(tally(x), {(v,): p for v, p in enumerate(expected)}, len(x))


def test_a_pure_death_chain_comes_to_rest_in_infinite_noise() -> None:
    x0 = torch.tensor([3, 1])
    law = ForwardProcess(BirthDeath(0.0), Linear(), 2).path(x0, max_jumps=4)
    paths = draws(law, 100, 9)
    assert bool((num_jumps(paths) == 4).all())
    assert bool((state_at(paths, x0, 1.0) == 0).all())
    assert bool(law.log_prob(paths).isfinite().all())


def test_rows_do_not_depend_on_their_batch() -> None:
    x0 = torch.randint(3, (600, 2), generator=torch.Generator().manual_seed(0))
    process = ForwardProcess(RankOne([0.5, 0.3, 0.2]), Constant(3.0), 2)
    for method in ("gillespie", "uniformization"):
        with indexed(1, range(600)):
            whole = CTMCPath(process, x0, max_jumps=40, method=method).sample()
        with indexed(1, range(300, 310)):
            part = CTMCPath(process, x0[300:310], max_jumps=40, method=method).sample()
        assert torch.equal(whole[300:310], part)


def test_overflow_names_the_number_that_would_do() -> None:
    process = ForwardProcess(Uniform(3), Constant(4.0), 3)
    x0 = torch.zeros(50, 3, dtype=torch.int64)
    with indexed(2, range(50)):
        needed = int(num_jumps(process.path(x0).sample()).max())
    for method in ("gillespie", "uniformization"):
        law = CTMCPath(process, x0, max_jumps=2, method=method)
        with indexed(2, range(50)), pytest.raises(ValueError, match=r"more than max_jumps=2; max_jumps=\d+ would do"):
            law.sample()
    with indexed(2, range(50)), pytest.raises(ValueError, match=f"max_jumps={needed} would do"):
        process.path(x0, max_jumps=needed - 1).sample()
    with indexed(2, range(50)):
        assert process.path(x0, max_jumps=needed).sample().shape == (50, needed, 3)


def test_a_path_that_never_ends_is_stopped() -> None:
    law = ForwardProcess(BirthDeath(1.0), Linear(), 1).path(torch.tensor([2]), max_jumps=3)
    with pytest.raises(ValueError, match="far beyond max_jumps=3"):
        law.sample()
    assert law.log_prob(torch.tensor([[0.5, 0, 1], [0.6, 0, 0], [0.7, 0, 1]])).item() == -float("inf")


def test_default_rows_suffice_and_are_few() -> None:
    process = ForwardProcess([Masked(3), Masked(2)], LogLinear())
    assert process.path(torch.tensor([0, 0])).max_jumps == 2
    process = ForwardProcess(Uniform(4), Constant(2.0), 5)
    assert process.path(torch.zeros(5).long()).max_jumps == int(poisson.isf(1e-9, 5 * 2.0 * 0.75))
    still = ForwardProcess(Dense([[0.0, 0.0], [0.0, 0.0]]), Constant(1.0), 2).path(torch.tensor([0, 1]))
    assert still.sample((3,)).shape == (3, 0, 3)
    assert bool((still.log_prob(torch.zeros(3, 0, 3)) == 0).all())


@pytest.mark.parametrize(
    "rate", [Uniform(3), RankOne([0.9, 0.1]), Dense([[-1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 0.0, 0.0]])]
)
def test_infinitely_many_jumps_are_refused(rate) -> None:
    process = ForwardProcess(rate, Linear(), 2)
    with pytest.raises(ValueError, match="infinitely many jumps"):
        process.path(torch.tensor([0, 1]))
    assert CTMCPath(process, torch.tensor([0, 1]), 0.0, 0.9).sample().shape[-1] == 3


def test_absorbed_chains_run_to_the_end() -> None:
    process = ForwardProcess(Dense([[-2.0, 1.5, 0.5], [0.3, -1.0, 0.7], [0.0, 0.0, 0.0]]), Linear(), 2)
    with pytest.raises(ValueError, match="give max_jumps="):
        process.path(torch.tensor([0, 1]))
    law = process.path(torch.tensor([0, 1]), max_jumps=60)
    paths = draws(law, 50, 11)
    assert bool((state_at(paths, law.x0, 1.0) == 2).all())
    assert bool(law.log_prob(paths).isfinite().all())
    with pytest.raises(ValueError, match="method='gillespie'"):
        CTMCPath(process, torch.tensor([0, 1]), max_jumps=60, method="uniformization").sample()


def test_a_wrong_bound_is_found_out() -> None:
    with pytest.raises(ValueError, match="correct the bound"):
        CTMCPath(Turning(bound=0.5), torch.tensor([2]), max_jumps=9).expand([200]).sample()


def test_methods_are_checked() -> None:
    with pytest.raises(ValueError, match="must be one of"):
        CTMCPath(Turning(), torch.tensor([0]), method="euler")
    with pytest.raises(ValueError, match="use method='uniformization'"):
        CTMCPath(Turning(), torch.tensor([0]), method="gillespie")
    with pytest.raises(ValueError, match="max_jumps=-1"):
        CTMCPath(Turning(), torch.tensor([0]), max_jumps=-1)
    for s, t in ((0.5, 0.5), (-0.1, 0.5), (0.2, 1.2)):
        with pytest.raises(ValueError, match="0 <= s < t <= 1"):
            CTMCPath(Turning(), torch.tensor([0]), s, t)


def test_state_at_walks_the_rows() -> None:
    process = ForwardProcess(Uniform(3), Constant(3.0), 4)
    x0 = torch.tensor([[0, 1, 2, 0], [1, 1, 1, 1]])
    paths = process.path(x0).sample()
    times = torch.linspace(0, 1, 7).unsqueeze(-1)
    found = state_at(paths, x0, times)
    assert found.shape == (7, 2, 4)
    for k, time in enumerate(times.flatten().tolist()):
        for row in range(2):
            x = x0[row].tolist()
            for when, position, symbol in paths[row].tolist():
                if when <= time:
                    x[int(position)] = int(symbol)
            assert found[k, row].tolist() == x
    with pytest.raises(ValueError, match="3"):
        state_at(paths[..., :2], x0, 0.5)
