"""Targets as Pyro distributions."""

from __future__ import annotations

import numpy as np
import oracles
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate

from ddm_pyro import random, targets


def coins():
    """Two coins, one thrown in the light of the other, and a die."""
    first = pyro.sample("first", dist.Bernoulli(torch.tensor(0.3).double()))
    pyro.sample("second", dist.Bernoulli(0.2 + 0.5 * first))
    pyro.sample("die", dist.Categorical(torch.tensor([0.5, 0.3, 0.2]).double()))


EXACT = {
    "tabular": lambda: targets.Tabular(oracles.hash_pmf(3, 3)),
    "mixed": lambda: targets.random_tabular((2, 3, 1), seed=1, zeros=0.3),
    "product": lambda: targets.Product([[0.1, 0.9], [0.2, 0.3, 0.5]]),
    "markov": lambda: targets.MarkovChain([0.2, 0.8], [[0.5, 0.5], [0.1, 0.9]], 3),
    "hidden": lambda: targets.HiddenMarkov([0.2, 0.8], [[0.5, 0.5], [0.1, 0.9]], [[0.7, 0.3], [0.2, 0.8]], 3),
    "program": lambda: targets.from_pyro(coins),
    "potts": lambda: targets.PottsChain(num_states=3, length=3, coupling=0.7),
    "ring": lambda: targets.PottsChain(num_states=2, length=4, coupling=-0.7, periodic=True),
    "ising": lambda: targets.IsingGrid(2, 2, 0.4, 0.2),
    "torus": lambda: targets.IsingGrid(3, 2, 0.4, 0.2, periodic=True),
}
every = pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)


@every
def test_shapes_and_expansion(make):
    target = make()
    length = target.space.length
    assert (target.batch_shape, target.event_shape) == ((), (length,))
    assert target.sample().shape == (length,)
    assert target.sample((2, 3)).shape == (2, 3, length)
    for batch in ((1,), (2, 3)):
        wide = target.expand(batch)
        x = wide.sample((4,))
        assert type(wide) is type(target)
        assert (wide.batch_shape, x.shape, x.dtype) == (batch, (4, *batch, length), torch.int64)
        torch.testing.assert_close(wide.log_prob(x), target.log_prob(x))
        assert wide.log_prob(x[0, 0, ..., :] if len(batch) == 1 else x[0]).shape == batch
        assert wide.entropy().shape == batch
        assert wide.expand((5, *batch)).log_prob(x[0]).shape == (5, *batch)
    assert target.batch_shape == ()


@every
def test_enumerated_support_carries_all_mass(make):
    target = make()
    assert target.has_enumerate_support
    states = target.enumerate_support()
    assert states.tolist() == oracles.sequences(target.space.position_sizes).tolist()
    assert float(target.log_prob(states).exp().sum()) == pytest.approx(1.0, abs=1e-12)
    assert target.expand((2,)).enumerate_support().shape == (len(states), 2, target.space.length)
    assert target.expand((2,)).enumerate_support(expand=False).shape == (len(states), 1, target.space.length)
    assert bool(target.support.check(states).all())
    assert not bool(target.support.check(states + 9).any())
    assert target.support.event_dim == 1
    assert target.support.is_discrete


@every
def test_values_off_the_space(make):
    target = make()
    outside = torch.full((target.space.length,), target.space.vocab_size)
    with pytest.raises(ValueError, match=r"support|space"):
        target.log_prob(outside)
    lenient = make()
    lenient._validate_args = False
    assert float(lenient.log_prob(outside)) == -torch.inf


@every
def test_seeded_draws_do_not_depend_on_the_batch(make):
    target = make()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    with random.indexed(11, range(600)):
        whole = target.sample((600,))
    with random.indexed(11, range(200, 300)):
        part = target.sample((100,))
    assert torch.equal(whole[200:300], part)
    assert torch.equal(torch.get_rng_state(), state)


@every
def test_posterior_without_evidence_is_the_marginals(make):
    target = make()
    sizes = target.space.position_sizes
    evidence = torch.zeros(2, len(sizes), target.space.vocab_size)
    pmf = target.tabular().pmf.numpy().reshape(sizes)
    found = target.posterior(evidence).exp().numpy()
    for position, size in enumerate(sizes):
        others = tuple(axis for axis in range(len(sizes)) if axis != position)
        np.testing.assert_allclose(found[1, position, :size], pmf.sum(others), atol=1e-12)
    np.testing.assert_allclose(found.sum(-1), 1.0, atol=1e-12)


@every
def test_an_expanded_target_has_the_same_pmf(make):
    pmf = make().tabular().pmf
    for batch in ((1,), (2, 3)):
        torch.testing.assert_close(make().expand(batch).tabular().pmf, pmf, rtol=1e-12, atol=0)


@every
def test_the_denoiser_conditions_on_what_is_seen(make):
    """Any two positions: p(x_a, x_b) = p(x_a) p(x_b | x_a), the conditional through the posterior."""
    target = make()
    sizes = target.space.position_sizes
    pmf = target.tabular().pmf.numpy().reshape(sizes)
    evidence = torch.zeros(sizes[0], len(sizes), target.space.vocab_size, dtype=torch.float64)
    evidence[:, 0] = -torch.inf
    evidence[torch.arange(sizes[0]), 0, torch.arange(sizes[0])] = 0.0
    conditional = target.posterior(evidence)[:, 1, : sizes[1]].exp().numpy()
    pairs = pmf.sum(tuple(range(2, len(sizes))))
    np.testing.assert_allclose(conditional * pairs.sum(1, keepdims=True), pairs, atol=1e-12)


def test_a_target_in_a_pyro_model():
    target = targets.MarkovChain([0.5, 0.5], [[0.9, 0.1], [0.2, 0.8]], 3)

    def model():
        with pyro.plate("rows", 4):
            return pyro.sample("x", target)

    trace = pyro.poutine.trace(model).get_trace()
    assert trace.nodes["x"]["value"].shape == (4, 3)
    assert trace.log_prob_sum().item() == pytest.approx(target.log_prob(trace.nodes["x"]["value"]).sum().item())

    # The evidence of the last token alone, by Pyro's own enumeration: p(x_2 = 1) = 0.5 (P^2[0, 1] + P^2[1, 1]).
    @config_enumerate
    def observed():
        x = pyro.sample("x", target)
        pyro.factor("seen", torch.where(x[..., 2] == 1, 0.0, -torch.inf).double())

    loss = TraceEnum_ELBO(max_plate_nesting=0).loss(observed, lambda: None)
    square = np.linalg.matrix_power(np.array([[0.9, 0.1], [0.2, 0.8]]), 2)
    assert np.exp(-loss) == pytest.approx(square[:, 1].mean(), abs=1e-6)


def test_large_spaces_name_their_size():
    target = targets.PottsChain(num_states=4, length=256, coupling=1.0)
    assert not target.has_enumerate_support
    with pytest.raises(ValueError, match=r"about 10\^154"):
        target.tabular()
    with pytest.raises(ValueError, match=r"about 10\^154"):
        target.enumerate_support()


def test_a_target_of_ones_own_needs_three_methods():
    class Constant(targets.Target):
        def log_prob(self, value):
            rows, inside, shape = self._rows(value)
            return torch.where(inside & (rows == 1).all(-1), 0.0, -torch.inf).double().reshape(shape)

        def sample(self, sample_shape=()):
            return torch.ones(*sample_shape, *self.batch_shape, self.space.length, dtype=torch.int64)

        def posterior(self, log_evidence):
            raise NotImplementedError

    target = Constant(targets.RandomTabular(num_states=2, length=2).space)
    assert target.tabular().pmf.tolist() == [0, 0, 0, 1]
    assert target.entropy() is None
    assert target.expand((3,)).log_prob(torch.ones(2, dtype=torch.int64)).tolist() == [0.0] * 3
    with pytest.raises(TypeError, match="abstract"):
        targets.Target(target.space)
