"""What experiments are made of, against independent computations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm

import ddm_pyro as ddm
from ddm_pyro.metrics import HammingWasserstein, TotalVariation
from ddm_pyro.reproduce.ipms import Dudley, Scaled
from ddm_pyro.reproduce.masked import by_draws, by_patterns, contexts, forward, plan_kl, training_error
from ddm_pyro.reproduce.spread import Spread
from ddm_pyro.reproduce.trained import cross_entropy_excess
from ddm_pyro.reproduce.vocabulary import lumping
from ddm_pyro.reproduce.worlds import diagonal, even_parity, hash_law, noised, paired_copies, ring_walk, two_modes
from ddm_pyro.targets import PottsChain, Tabular


def test_the_hash_law_is_the_reference_one() -> None:
    assert float(hash_law().entropy()) == pytest.approx(4.268502690142, abs=1e-12)


def test_laws_of_bits_have_their_supports() -> None:
    assert int((even_parity(4).pmf > 0).sum()) == 8
    assert int((paired_copies(4).pmf > 0).sum()) == 4
    assert torch.equal(diagonal(3, 2).pmf.reshape(3, 3), torch.eye(3).double() / 3)


def test_the_noised_law_is_the_pmf_times_a_matrix_exponential() -> None:
    side, total, t = 4, 3.0, 0.4
    process, target = ring_walk(side, 2, total), two_modes(side)
    step = np.roll(np.eye(side), 1, 0)
    generator = 0.5 * (step + step.T) - np.eye(side)
    kernel = expm(generator * total * t)
    expected = kernel.T @ target.pmf.reshape(side, side).numpy() @ kernel
    assert noised(target, process, t).reshape(side, side).numpy() == pytest.approx(expected, abs=1e-14)


def test_a_spread_law_has_the_posterior_of_its_pmf() -> None:
    small = Tabular(torch.tensor([[0.1, 0.4], [0.3, 0.2]]).double())
    law = Spread(small, 2)
    table = Tabular(law.tabular())
    evidence = torch.randn(5, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    evidence[0, 0, :2] = -math.inf
    evidence[1, 1] = torch.tensor([0.0, -math.inf, -math.inf, -math.inf])
    assert law.posterior(evidence).exp().numpy() == pytest.approx(table.posterior(evidence).exp().numpy(), abs=1e-13)
    assert float(law.entropy()) == pytest.approx(float(table.entropy()), abs=1e-13)
    assert float(law.tabular().pmf.sum()) == pytest.approx(1.0, abs=1e-14)


def test_a_spread_law_draws_its_pmf() -> None:
    law = Spread(Tabular(torch.tensor([0.2, 0.8]).double()), 3)
    with ddm.random.indexed(3, range(20_000)):
        counts = torch.bincount(law.sample((20_000,)).flatten(), minlength=6).double() / 20_000
    expected = law.tabular().pmf
    assert bool(((counts - expected).abs() < 4.9 * (expected * (1 - expected) / 20_000).sqrt()).all())


@pytest.mark.parametrize("noise", ["masked", "uniform"])
def test_classes_of_tokens_move_as_the_small_law(noise: str) -> None:
    assert lumping(noise, 6) < 1e-12


@pytest.mark.parametrize(("states", "length"), [(2, 1), (2, 2), (3, 2), (2, 3)])
def test_the_dudley_constant_is_half_the_largest_distance_of_two_sequences(states: int, length: int) -> None:
    metric, space = Dudley(), ddm.StateSpace(states, length)
    atoms = space.enumerate()
    points = torch.eye(len(atoms)).double()
    ends = [metric.exact(space, atoms, points[0], points[k])[0] for k in range(len(atoms))]
    assert max(ends) == pytest.approx(2 * metric.constant(space), abs=1e-9)
    assert metric.exact(space, atoms, points[0], points[0])[0] == pytest.approx(0.0, abs=1e-12)


def test_dudley_of_two_bits_by_hand_and_its_witness() -> None:
    # One bit: f = (-c, c) has size c and slope 2 c, so c = 1/3.
    p, q = torch.tensor([[0.7, 0.3], [0.2, 0.8]], dtype=torch.float64)
    space = ddm.StateSpace(2, 1)
    value, witness = Dudley().exact(space, space.enumerate(), p, q)
    assert value == pytest.approx(2 / 3 * 0.5, abs=1e-9)
    f = witness.fn(space.enumerate())
    assert float((p - q) @ f) == pytest.approx(value, abs=1e-9)
    assert float(f.abs().max() + (f[0] - f[1]).abs()) <= 1 + 1e-9


def test_a_scaled_metric_is_the_multiple_it_says() -> None:
    p, q = hash_law(2, 3).tabular(), even_parity(3).tabular()
    for inner, factor in ((TotalVariation(), 2.0), (HammingWasserstein(), 1 / 3)):
        one = Scaled(inner, factor)
        assert one(p, q).value == pytest.approx(factor * inner(p, q).value, rel=1e-12)
        assert one.constant(p.space) == pytest.approx(factor * inner.constant(p.space))


def brute_force(target, sizes) -> float:
    """E_M KL of k-unmask with the exact predictor: the mean over all orders of a sum of conditional informations."""
    pmf, length = target.tabular().pmf.reshape(target.space.position_sizes).numpy(), target.space.length

    def entropy(sites) -> float:
        p = pmf.sum(tuple(i for i in range(length) if i not in sites)) if len(sites) < length else pmf
        p = p[p > 0] if len(sites) else np.ones(1)
        return float(-(p * np.log(p)).sum())

    totals = []
    for order in itertools.permutations(range(length)):
        known, total = 0, 0.0
        for size in sizes:
            seen, new = order[:known], order[known : known + size]
            total += sum(entropy((*seen, i)) - entropy(seen) for i in new) - entropy((*seen, *new)) + entropy(seen)
            known += size
        totals.append(total)
    return float(np.mean(totals))


@pytest.mark.parametrize("sizes", [(4,), (2, 2), (1, 3), (2, 1, 1)])
def test_three_ways_to_the_divergence_agree_with_all_orders(sizes: tuple[int, ...]) -> None:
    target = PottsChain(num_states=3, length=4, coupling=0.8)
    expected = brute_force(target, sizes)
    assert plan_kl(target, sizes).terms["kl"] == pytest.approx(expected, abs=1e-12)
    assert by_patterns(target, sizes) == pytest.approx(expected, abs=1e-12)
    model = target.denoiser(forward(target))
    assert cross_entropy_excess(target, model, sizes) == pytest.approx(expected, abs=1e-12)
    value, error = by_draws(target, model, sizes, 3000, seed=5)
    assert abs(value - expected) < 4.9 * error
    assert error < 0.1


def test_draws_of_an_inexact_model_differ_by_its_training_error() -> None:
    target = PottsChain(num_states=3, length=4, coupling=1.5)
    process = forward(target)
    wrong = PottsChain(num_states=3, length=4, coupling=0.3).denoiser(process)
    total, first = by_draws(target, wrong, (2, 2), 4000, seed=1)
    training, second = training_error(target, wrong, target.denoiser(process), (2, 2), 4000, seed=2)
    gap = total - training - plan_kl(target, (2, 2)).terms["kl"]
    assert abs(gap) < 4.9 * math.hypot(first, second)
    assert training > 10 * second


def test_contexts_hide_the_right_number_of_positions_each_equally_often() -> None:
    target = PottsChain(num_states=2, length=5, coupling=0.5)
    made = contexts(target, (2, 2, 1), 4000, seed=0)
    assert [(known, size) for known, size, _, _ in made] == [(0, 2), (2, 2), (4, 1)]
    for known, _, x0, xt in made:
        masked = xt == 2
        assert bool((masked.sum(-1) == 5 - known).all())
        assert bool((xt[~masked] == x0[~masked]).all())
        share = masked.double().mean(0)
        assert bool(((share - (5 - known) / 5).abs() < 4.9 * (0.25 / 4000) ** 0.5 + 1e-12).all())
