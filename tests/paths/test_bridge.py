"""Paths between two ends: rejection, exact conditionals, counting chains, densities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exactness import FALSE_ALARM
from pathlaws import BirthDeath, Turning, assert_counts_follow, count_law, integrate, joint_generator, tally
from scipy.linalg import expm
from scipy.stats import chi2_contingency, ks_2samp, kstest

from ddm_pyro import ForwardProcess
from ddm_pyro.paths import BridgePath, CTMCPath, num_jumps, state_at
from ddm_pyro.paths.chains import PowerChain, RefreshChain
from ddm_pyro.random import indexed
from ddm_pyro.rates import Dense, Masked, RankOne, Uniform
from ddm_pyro.schedules import Constant, Cosine, Linear, LogLinear

TWO = [[-1.3, 1.3], [0.4, -0.4]]
THREE = [[-1.5, 1.0, 0.5], [0.2, -0.2, 0.0], [3.0, 0.1, -3.1]]
PI = [0.5, 0.2, 0.3]


def draws(law, n, seed):
    with indexed(seed, range(n)):
        return law.sample((n,))


def test_drawing_agrees_with_rejection() -> None:
    process = ForwardProcess([Dense(THREE), RankOne(PI)], LogLinear(0.1))
    x0, xt = torch.tensor([2, 0]), torch.tensor([1, 2])
    free = draws(CTMCPath(process, x0, 0.1, 0.8, max_jumps=40), 120_000, 1)
    kept = free[(state_at(free, x0, 0.8) == xt).all(-1)]
    found = draws(BridgePath(process, x0, xt, 0.1, 0.8, max_jumps=40), len(kept), 2)
    assert len(kept) > 5_000
    for t in (0.3, 0.6):
        a, b = state_at(kept, x0, t), state_at(found, x0, t)
        cells = torch.stack([torch.bincount(3 * x[:, 0] + x[:, 1], minlength=9) for x in (a, b)])
        assert chi2_contingency(cells[:, cells.sum(0) > 0].numpy()).pvalue > FALSE_ALARM
    counts = torch.stack([torch.bincount(num_jumps(x).clamp(max=8), minlength=9) for x in (kept, found)])
    assert chi2_contingency(counts[:, counts.sum(0) > 10].numpy()).pvalue > FALSE_ALARM
    assert ks_2samp(kept[:, 0, 0].numpy(), found[:, 0, 0].numpy()).pvalue > FALSE_ALARM


@pytest.mark.parametrize(
    ("rate", "matrix"),
    [
        (Dense(THREE), np.array(THREE)),
        (RankOne(PI), np.tile(PI, (3, 1)) - np.eye(3)),
        (Uniform(3), np.full((3, 3), 1 / 3) - np.eye(3)),
    ],
)
def test_jumps_and_midpoints_given_the_ends(rate, matrix) -> None:
    # Time is inhomogeneous: sigma(t) = -log(1 - 0.9 t).
    process = ForwardProcess(rate, LogLinear(0.1), 1)
    s, u, t = 0.3, 0.7, 1.0
    sigma = [-np.log(1 - 0.9 * time) for time in (s, u, t)]
    law = BridgePath(process, torch.tensor([2]), torch.tensor([0]), s, t)
    paths = draws(law, 20_000, 3)
    counts = count_law(matrix, sigma[2] - sigma[0], 2, 40)[:, 0]
    assert_counts_follow(tally(num_jumps(paths)), {(k,): p for k, p in enumerate(counts / counts.sum())}, len(paths))
    middle = expm((sigma[1] - sigma[0]) * matrix)[2] * expm((sigma[2] - sigma[1]) * matrix)[:, 0]
    x = state_at(paths, torch.tensor([2]), u)[:, 0]
    assert_counts_follow(tally(x), {(v,): p for v, p in enumerate(middle / middle.sum())}, len(paths))
    assert bool((state_at(paths, torch.tensor([2]), t) == 0).all())


def test_the_density_is_that_of_the_path_over_the_kernel() -> None:
    process = ForwardProcess([Dense(TWO), Dense(THREE), RankOne(PI)], Cosine())
    x0, xt = torch.tensor([[0, 2, 1], [1, 1, 1]]), torch.tensor([[0, 1, 1], [0, 1, 2]])
    law = BridgePath(process, x0, xt, 0.2, 0.9)
    paths = law.sample((10,))
    alpha = [1 - np.cos(np.pi / 2 * (1 - t)) for t in (0.2, 0.9)]
    noise = np.log(alpha[0] / alpha[1])
    kernels = [expm(noise * np.array(q)) for q in (TWO, THREE, np.tile(PI, (3, 1)) - np.eye(3))]
    log_kernel = [
        sum(np.log(k[a, b]) for k, a, b in zip(kernels, *row, strict=True)) for row in zip(x0, xt, strict=True)
    ]
    free = CTMCPath(process, x0, 0.2, 0.9, max_jumps=law.max_jumps).log_prob(paths)
    torch.testing.assert_close(law.log_prob(paths), free - torch.tensor(log_kernel), rtol=0, atol=1e-10)
    elsewhere = BridgePath(process, x0, xt.flip(0), 0.2, 0.9, max_jumps=law.max_jumps)
    assert bool(elsewhere.log_prob(paths).isneginf().all())


def test_the_density_integrates_to_the_counting_chain() -> None:
    process = ForwardProcess([Dense(TWO), Dense(THREE)], Constant(0.8))
    law = BridgePath(process, torch.tensor([0, 2]), torch.tensor([1, 0]), max_jumps=3)
    table = count_law(joint_generator([np.array(TWO), np.array(THREE)]), 0.8, 2, 30)[:, 3]
    for count in range(4):
        found = sum(integrate(law, [0, 2], [2, 3], count, 0.0, 1.0, 8).values())
        assert found == pytest.approx(table[count] / table.sum(), abs=1e-7)


def test_masked_to_the_end_of_all_noise() -> None:
    process = ForwardProcess(Masked(3), Linear(), 3)
    x0 = torch.tensor([0, 2, 1])
    law = BridgePath(process, x0, torch.tensor([3, 3, 3]))
    paths = draws(law, 4_000, 5)
    assert law.max_jumps == 3
    assert kstest(paths[..., 0].flatten().numpy(), "uniform").pvalue > FALSE_ALARM
    torch.testing.assert_close(law.log_prob(paths), torch.zeros(4_000).double(), rtol=0, atol=1e-9)


def test_masked_in_between() -> None:
    process = ForwardProcess([Masked(2), Masked(3), Masked(3)], Linear())
    x0, xt = torch.tensor([1, 2, 3]), torch.tensor([3, 2, 3])
    law = BridgePath(process, x0, xt, 0.2, 0.6)
    paths = draws(law, 4_000, 6)
    assert law.max_jumps == 1
    assert kstest((paths[:, 0, 0].numpy() - 0.2) / 0.4, "uniform").pvalue > FALSE_ALARM
    assert bool((paths[:, 0, 1:] == torch.tensor([0.0, 3.0])).all())
    torch.testing.assert_close(law.log_prob(paths).exp(), torch.full((4_000,), 2.5).double(), rtol=1e-12, atol=0)


def test_an_absorbing_alphabet_with_rates_of_its_own() -> None:
    class Fading(Dense):
        has_mask = True

    matrix = [[-2.0, 0.5, 1.5], [0.1, -0.4, 0.3], [0.0, 0.0, 0.0]]
    rate = Fading(matrix)
    rate.vocab_size = 2
    process = ForwardProcess([rate, Masked(3)], LogLinear(0.2))
    x0, xt = torch.tensor([0, 1]), torch.tensor([3, 1])
    paths = draws(BridgePath(process, x0, xt), 5_000, 7)
    assert bool((state_at(paths, x0, 1.0) == xt).all())
    noise = -np.log(0.2)
    counts = count_law(np.array(matrix), noise, 0, 30)[:, 2]
    assert_counts_follow(tally(num_jumps(paths)), {(k,): p for k, p in enumerate(counts / counts.sum())}, len(paths))


def test_rows_do_not_depend_on_their_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    process = ForwardProcess([Dense(THREE), RankOne(PI)], Constant(1.5))
    x0, xt = torch.randint(3, (2, 300, 2), generator=generator)
    with indexed(1, range(300)):
        whole = BridgePath(process, x0, xt, max_jumps=40).sample()
    with indexed(1, range(260, 263)):
        part = BridgePath(process, x0[260:263], xt[260:263], max_jumps=40).sample()
    assert torch.equal(whole[260:263], part)


def test_default_rows_suffice() -> None:
    process = ForwardProcess([Dense(THREE)] * 2 + [Uniform(3)] * 3, Constant(3.0))
    x0, xt = torch.tensor([0, 1, 2, 2, 0]), torch.tensor([1, 1, 0, 2, 0])
    law = BridgePath(process, x0, xt)
    most = int(num_jumps(draws(law, 2_000, 8)).max())
    assert most <= law.max_jumps <= 4 * most


def test_impossible_ends_are_refused() -> None:
    masked = ForwardProcess(Masked(2), Linear(), 2)
    with pytest.raises(ValueError, match=r"xt cannot follow x0: the token at \[1\]"):
        BridgePath(masked, torch.tensor([0, 1]), torch.tensor([2, 0]), 0.0, 0.5)
    with pytest.raises(ValueError, match="xt cannot follow x0"):
        BridgePath(masked, torch.tensor([0, 1]), torch.tensor([0, 2]))  # nothing survives to t = 1
    one_way = ForwardProcess(Dense([[-1.0, 1.0], [0.0, 0.0]]), Constant(1.0), 1)
    with pytest.raises(ValueError, match="xt cannot follow x0"):
        BridgePath(one_way, torch.tensor([1]), torch.tensor([0]))
    with pytest.raises(ValueError, match="needs finite noise"):
        BridgePath(ForwardProcess(Uniform(2), Linear(), 1), torch.tensor([0]), torch.tensor([1]))
    with pytest.raises(ValueError, match="countable alphabet"):
        BridgePath(ForwardProcess(BirthDeath(), Constant(1.0), 1), torch.tensor([0]), torch.tensor([1]))
    with pytest.raises(ValueError, match=r"schedule\.rate\(t\) Q"):
        BridgePath(Turning(), torch.tensor([0]), torch.tensor([1]))


@pytest.mark.parametrize("noise", [0.0, 1e-9, 0.3, 30.0])
def test_counts_sum_to_the_kernel(noise) -> None:
    x, y = torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij")
    noises = torch.full((3, 3), noise, dtype=torch.float64)
    found = PowerChain(Dense(THREE)).counts(x, y, noises).sum(-1)
    np.testing.assert_allclose(found.numpy(), expm(noise * np.array(THREE)), rtol=1e-9, atol=1e-14)
    found = RefreshChain(RankOne(PI)).counts(x, y, noises).sum(-1)
    np.testing.assert_allclose(found.numpy(), expm(noise * (np.tile(PI, (3, 1)) - np.eye(3))), rtol=1e-9, atol=1e-14)


def test_rare_ends_keep_their_relative_accuracy() -> None:
    # A chain of eight one-way steps: P(0 -> 8) = P(Poisson(noise) >= 8), about 1e-21 here.
    steps = torch.diag(torch.ones(8).double(), 1) - torch.diag(torch.tensor([1.0] * 8 + [0.0]).double())
    noise = torch.tensor(0.005, dtype=torch.float64)
    found = PowerChain(Dense(steps)).counts(torch.tensor(0), torch.tensor(8), noise).sum()
    expected = torch.special.gammainc(torch.tensor(8.0).double(), noise)
    assert float(found / expected) == pytest.approx(1.0, abs=1e-10)


def test_a_table_too_large_is_refused() -> None:
    rate = Dense.from_rates(torch.ones(300, 300))
    with pytest.raises(ValueError, match="take a shorter interval"):
        BridgePath(ForwardProcess(rate, Constant(50.0), 1), torch.tensor([0]), torch.tensor([1]))
