"""Chapman-Kolmogorov, Bayes and the matrix exponential, for every process and schedule, at random times."""

from __future__ import annotations

import brute
import numpy as np
import pytest
import torch
from exactness import assert_draws_follow
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pairs import PROCESSES, SCHEDULES, pair

from ddm_pyro import ForwardProcess
from ddm_pyro.rates import Dense, Masked

NAMES = st.sampled_from(sorted(PROCESSES))
SCHEDULE = st.sampled_from(sorted(SCHEDULES))
INNER = st.floats(0.01, 0.99)
SHAPES = st.sampled_from([(), (1,), (2, 3)])
FEW = settings(max_examples=40, deadline=None)


def table(law, sizes):
    """Probabilities of every symbol at every position through log_prob alone, (*batch, L, A)."""
    length, symbols = law.event_shape[0], len(sizes)
    space = law.space.enumerate()
    p = law.log_prob(space.reshape(-1, *(1,) * len(law.batch_shape), length).expand(-1, *law.batch_shape, -1)).exp()
    out = torch.zeros(*law.batch_shape, length, symbols, dtype=torch.float64)
    for site in range(length):
        for v in range(symbols):
            out[..., site, v] = p[space[:, site] == v].sum(0)
    return out


def draw_states(space, shape, seed):
    index = torch.randint(space.num_states, shape, generator=torch.Generator().manual_seed(seed))
    return space.unindex(index)


def times_for(shape, low, high, seed):
    u = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return low + (high - low) * u


@FEW
@given(NAMES, SCHEDULE, SHAPES, st.integers(0, 100))
def test_marginal_is_the_matrix_exponential(name, schedule, shape, seed):
    process, oracle = pair(name, schedule)
    x0, t = draw_states(process.space.data, shape, seed), times_for(shape, 0.0, 1.0, seed + 1)
    law = process.marginal(x0, t)
    assert (law.batch_shape, law.event_shape) == (shape, (process.length,))
    found = table(law, range(process.space.num_symbols))
    for index in np.ndindex(shape):
        kernels = oracle.kernels(0.0, float(t[index]))
        for site in range(oracle.length):
            row = np.zeros(process.space.num_symbols)
            row[oracle.symbols[site]] = kernels[site][x0[index][site]]
            np.testing.assert_allclose(found[index][site].numpy(), row, atol=1e-12)


@FEW
@given(NAMES, SCHEDULE, INNER, INNER, INNER, st.integers(0, 100))
@example("dense", "linear", 0.2, 0.6, 1.0, 0)
@example("uniform", "cosine", 0.2, 0.6, 1.0, 0)
@example("masked alphabets", "linear", 0.2, 0.6, 1.0, 0)
@example("mixed alphabets", "log-linear", 0.0, 0.5, 1.0, 3)
def test_chapman_kolmogorov(name, schedule, a, b, c, seed):
    s, r, t = sorted({a, b, c, a / 2, (a + 1) / 2})[:3] if len({a, b, c}) < 3 else sorted((a, b, c))
    process, _ = pair(name, schedule)
    xs = draw_states(process.space, (), seed)
    middle = process.space.enumerate()
    first = process.transition(xs, s, r).log_prob(middle).exp()
    second = process.transition(middle.unsqueeze(1), r, t).log_prob(middle).exp()
    whole = process.transition(xs, s, t).log_prob(middle).exp()
    np.testing.assert_allclose((first @ second).numpy(), whole.numpy(), atol=1e-12)
    np.testing.assert_allclose(float(whole.sum()), 1.0, atol=1e-12)


@FEW
@given(NAMES, SCHEDULE, INNER, INNER, st.integers(0, 100))
@example("rank-one", "linear", 0.3, 1.0, 0)
@example("masked", "cosine", 0.3, 1.0, 1)
@example("dense", "constant", 0.0, 0.4, 2)
def test_marginal_times_bridge_is_marginal_times_transition(name, schedule, a, b, seed):
    s, t = sorted((a, b)) if a != b else (a / 2, a)
    process, _ = pair(name, schedule)
    x0, states = draw_states(process.space.data, (), seed), process.space.enumerate()
    at_t = process.marginal(x0, t).log_prob(states).exp()
    possible = at_t > 0
    bridge = process.bridge(x0, states[possible].unsqueeze(1), s, t).log_prob(states).exp()
    left = at_t[possible].unsqueeze(-1) * bridge
    forward = process.transition(states.unsqueeze(1), s, t).log_prob(states[possible]).exp()
    right = (process.marginal(x0, s).log_prob(states).exp().unsqueeze(-1) * forward).T
    np.testing.assert_allclose(left.numpy(), right.numpy(), atol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", PROCESSES)
def test_both_ends_of_time(name, schedule):
    process, oracle = pair(name, schedule)
    x0 = draw_states(process.space.data, (4,), 5)
    assert torch.equal(process.marginal(x0, 0.0).sample(), x0)
    assert torch.equal(process.marginal(x0, 0).log_prob(x0), torch.zeros(4, dtype=torch.float64))
    start = process.bridge(x0, process.marginal(x0, 1.0).sample(), 0.0, 1.0)
    assert torch.equal(start.sample(), x0)
    if oracle.alpha(1.0) <= 1e-15:
        prior = process.prior().log_prob(process.space.enumerate()).exp()
        np.testing.assert_allclose(prior.numpy(), oracle.prior(), atol=1e-12)
        last = process.marginal(x0[0], 1.0).log_prob(process.space.enumerate()).exp()
        np.testing.assert_allclose(last.numpy(), oracle.prior(), atol=1e-12)


@pytest.mark.parametrize("name", PROCESSES)
def test_draws_follow_marginal_and_bridge(name):
    process, _ = pair(name, "cosine")
    states = process.space.enumerate()
    x0 = process.space.data.unindex(torch.tensor(process.space.data.num_states - 1))
    torch.manual_seed(11)
    marginal = process.marginal(x0, 0.45)
    xt = marginal.sample()
    bridge = process.bridge(x0, xt, 0.2, 0.45)
    for law in (marginal, bridge):
        index = process.space.index(law.sample((20000,)))
        assert_draws_follow(index.unsqueeze(-1), law.log_prob(states).exp().numpy(), (len(states),))


@pytest.mark.parametrize("name", PROCESSES)
def test_tables_broadcast_as_documented(name):
    process, oracle = pair(name, "cosine")
    x = draw_states(process.space, (2, 3), 1)
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    s = t / 2
    for method in (process.row, process.likelihood):
        whole = method(x, s, t)
        assert whole.shape == (2, 3, process.length, process.space.num_symbols)
        for j in range(3):
            np.testing.assert_allclose(whole[:, j].numpy(), method(x[:, j], s[j], t[j]).numpy(), atol=1e-14)
    moves = process.moves(x)
    for rates in (process.out_rates(x, t), process.in_rates(x, t)):
        assert rates.shape == (2, 3, process.length, moves.shape[-1])
    rate = oracle.decay(0.5) / oracle.alpha(0.5)
    k = oracle.states.index(tuple(x[0, 1].tolist()))
    total = sum(-generator[v, v] for generator, v in zip(oracle.generators, oracle.local[k], strict=True))
    np.testing.assert_allclose(float(process.out_rates(x, t)[0, 1].sum()), rate * total, rtol=1e-12)
    bound = max(-np.diag(generator).min() for generator in oracle.generators)
    assert process.exit_bound(0.1, 0.5) <= rate * bound * oracle.length + 1e-9
    assert process.exit_bound(0.1, 0.5) >= rate * total - 1e-9


@pytest.mark.parametrize("name", PROCESSES)
def test_push_of_a_pmf(name):
    process, oracle = pair(name, "geometric")
    p = np.random.default_rng(2).dirichlet(np.ones(len(oracle.states)))
    kernels = oracle.kernels(0.2, 0.9)
    expected = p @ brute.reduce(np.kron, kernels)
    np.testing.assert_allclose(process.push(torch.from_numpy(p), 0.2, 0.9).numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("name", PROCESSES)
def test_rates_where_nothing_survives_are_infinite_or_zero_but_never_nan(name):
    process, _ = pair(name, "linear")
    x = draw_states(process.space, (6,), 2)
    one, half = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    for rates in (process.out_rates, process.in_rates):
        assert torch.equal(rates(x, one), torch.where(rates(x, half) > 0, torch.inf, 0.0).double())


def test_the_prior_of_a_mask_given_as_a_matrix_is_all_masks():
    class Slow(Dense):
        has_mask = True

        def __init__(self):
            super().__init__([[-1.0, 0.4, 0.6], [0.0, -1.0, 1.0], [0.0, 0.0, 0.0]])
            self.vocab_size = 2

    process = ForwardProcess([Slow(), Masked(3)], SCHEDULES["linear"])
    assert torch.equal(process.prior().sample((3,)), torch.full((3, 2), 3))
