"""Kernels, generators and stationary laws against matrix exponentials."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from ddm_pyro_lattice.laws import ThinnedPlusPoisson
from ddm_pyro_lattice.rates import CyclicWalk, ImmigrationDeath, lattice_rate
from scipy.linalg import expm

import ddm_pyro as ddm

TOP = 70


def circle(m, rate):
    out = np.zeros((m, m))
    for x in range(m):
        for y in ((x + 1) % m, (x - 1) % m):
            out[x, y] += rate / 2
    return out - np.diag(out.sum(1))


def line(birth, death, top):
    out = np.diag(np.full(top, birth), 1) + np.diag(death * np.arange(1.0, top + 1), -1)
    return out - np.diag(out.sum(1))


@pytest.mark.parametrize("m", [2, 3, 4, 7])
@pytest.mark.parametrize("sigma", [0.0, 0.03, 1.0, 5.0, 40.0])
def test_the_circle_is_its_matrix_exponential(m, sigma):
    walk = CyclicWalk(m, rate=1.7)
    np.testing.assert_allclose(walk.matrix().numpy(), circle(m, 1.7), atol=1e-15)
    kernel = walk.kernel(torch.tensor([sigma], dtype=torch.float64))[0].numpy()
    np.testing.assert_allclose(kernel, expm(sigma * circle(m, 1.7)), atol=1e-13)
    assert kernel.min() >= 0.0
    back = walk.kernel(torch.tensor(-min(sigma, 1.0), dtype=torch.float64)).numpy()
    np.testing.assert_allclose(back, expm(-min(sigma, 1.0) * circle(m, 1.7)), atol=1e-11)


def test_the_circle_is_accurate_where_probabilities_are_tiny():
    # Five steps of rate 1/2 each way, to first order in a small time: 2 (s/2)^5 / 5!.
    sigma = 1e-4
    found = float(CyclicWalk(10).displacement(torch.tensor(sigma, dtype=torch.float64))[5])
    assert found == pytest.approx(2 * (sigma / 2) ** 5 / math.factorial(5), rel=1e-3)


def test_tables_of_tokens_follow_the_kernel_and_broadcast():
    walk = CyclicWalk(5, rate=2.0)
    x = torch.tensor([[0, 4, 2], [3, 3, 1]])
    sigma = torch.tensor([[0.3], [2.0]], dtype=torch.float64)
    row, likelihood = walk.row(x, sigma), walk.likelihood(x, sigma)
    assert row.shape == (2, 3, 5)
    for i in range(2):
        kernel = expm(float(sigma[i]) * circle(5, 2.0))
        np.testing.assert_allclose(row[i].numpy(), kernel[x[i]], atol=1e-14)
        np.testing.assert_allclose(likelihood[i].numpy(), kernel[:, x[i]].T, atol=1e-14)
    limit = walk.row(x, torch.tensor(torch.inf, dtype=torch.float64))
    np.testing.assert_allclose(limit.numpy(), 0.2, atol=1e-15)
    assert walk.stationary().probs.tolist() == [0.2] * 5


def test_both_moves_of_a_coin_are_the_same_and_add():
    walk = CyclicWalk(2, rate=3.0)
    x = torch.tensor([0, 1])
    assert walk.moves(x).tolist() == [[1, 1], [0, 0]]
    assert walk.out_rates(x).sum(-1).tolist() == [3.0, 3.0]
    assert walk.matrix().tolist() == [[-3.0, 3.0], [3.0, -3.0]]


@pytest.mark.parametrize("m", [2, 5])
def test_exact_scores_of_a_tabular_law_on_the_circle(m):
    """The core's exact model serves a chain with two moves: ratios of the pushed pmf."""
    target = ddm.targets.RandomTabular(num_states=m, length=2, seed=4)
    process = ddm.ForwardProcess(CyclicWalk(m, rate=1.3), ddm.schedules.Constant(total=2.0), 2)
    model, t = target.denoiser(process), 0.4
    generator = circle(m, 1.3)
    kernel = expm(0.8 * generator)
    law = kernel.T @ target.pmf.numpy().reshape(m, m) @ kernel
    states = process.space.enumerate()
    rates = model.reverse_rate(states, torch.tensor(t, dtype=torch.float64))
    for k, (a, b) in enumerate(states.tolist()):
        for j, step in enumerate((1, -1)):
            expected = 1.3 * law[(a + step) % m, b] / law[a, b]
            assert float(rates[k, 0, j]) == pytest.approx(expected, rel=1e-10)
            expected = 1.3 * law[a, (b + step) % m] / law[a, b]
            assert float(rates[k, 1, j]) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("sigma", [0.0, 0.05, 0.7, 3.0])
def test_immigration_death_is_its_matrix_exponential(sigma):
    rate = ImmigrationDeath(birth=3.0, death=1.5)
    kernel = expm(sigma * line(3.0, 1.5, TOP))
    x, y = torch.arange(9).unsqueeze(-1), torch.arange(12)
    law = rate.transition(x.expand(9, 12), torch.tensor(sigma, dtype=torch.float64))
    np.testing.assert_allclose(law.log_prob(y).exp().numpy(), kernel[:9, :12], atol=1e-13)
    far = rate.transition(torch.tensor(5), torch.tensor(torch.inf, dtype=torch.float64))
    np.testing.assert_allclose(far.log_prob(y).exp().numpy(), scipy.stats.poisson.pmf(y.numpy(), 2.0), rtol=1e-12)


def test_a_box_blocks_births_at_the_top():
    rate = ImmigrationDeath(birth=3.0, death=1.5).box(6)
    np.testing.assert_allclose(rate.matrix().numpy(), line(3.0, 1.5, 5), atol=1e-15)
    x = torch.arange(6)
    for from_to, rates in ((lambda q, a, b: q[a, b], rate.out_rates(x)), (lambda q, a, b: q[b, a], rate.in_rates(x))):
        for k, move in enumerate(rate.moves(x).tolist()):
            for j, y in enumerate(move):
                assert float(rates[k, j]) == (0.0 if y == k else from_to(line(3.0, 1.5, 5), k, y))
    stationary = rate.stationary().probs.double().numpy()
    np.testing.assert_allclose(stationary @ line(3.0, 1.5, 5), 0.0, atol=1e-12)
    assert rate.exit_bound() == pytest.approx(3.0 + 4 * 1.5)


def test_rates_of_the_unbounded_chain():
    rate = ImmigrationDeath(birth=3.0, death=1.5)
    assert rate.out_rates(torch.tensor([0, 4])).tolist() == [[3.0, 0.0], [3.0, 6.0]]
    assert rate.in_rates(torch.tensor([0, 4])).tolist() == [[1.5, 0.0], [7.5, 3.0]]
    assert rate.vocab_size is None
    assert rate.exit_bound() == math.inf
    with pytest.raises(ValueError, match="countable"):
        rate.matrix()


def test_draws_of_thinned_plus_poisson_follow_their_density():
    law = ThinnedPlusPoisson(torch.tensor(6), torch.tensor(0.35), torch.tensor(1.8)).expand((20_000,))
    with ddm.random.indexed(5, range(20_000)):
        draws = law.sample()
    expected = law.log_prob(torch.arange(9).unsqueeze(-1).expand(9, 20_000))[:, 0].exp().numpy()
    counts = np.bincount(draws.numpy(), minlength=9)
    counts = np.r_[counts[:9], counts[9:].sum()]
    statistic = scipy.stats.chisquare(counts, 20_000 * np.r_[expected, 1 - expected.sum()])
    assert statistic.pvalue > 2e-5
    with ddm.random.indexed(5, range(10, 20)):
        part = ThinnedPlusPoisson(law.x[:10], law.kept[:10], law.arrivals[:10])
        assert part.sample().tolist() == draws[10:20].tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CyclicWalk(1), "vocab_size=1"),
        (lambda: CyclicWalk(4, rate=0.0), "rate=0.0"),
        (lambda: ImmigrationDeath(birth=-1.0), "birth=-1.0"),
        (lambda: ImmigrationDeath(death=math.inf), "death=inf"),
        (lambda: ImmigrationDeath(vocab_size=0), "vocab_size=0"),
    ],
)
def test_bad_rates_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_only_lattices_are_lattices():
    process = ddm.ForwardProcess(ddm.rates.Uniform(3), ddm.schedules.Linear(), 2)
    with pytest.raises(ValueError, match="no walk on a lattice"):
        lattice_rate(process)
