"""Hidden Markov models against sums over all hidden paths, and against Pyro's."""

from __future__ import annotations

from itertools import pairwise, product

import pyro.distributions as dist
import pytest
import torch
from exactness import assert_evidence_is_the_sum

import ddm_pyro as ddm
from ddm_pyro.targets import HiddenMarkov


def laws(*shape, seed=0, zeros=False):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(*shape, generator=generator, dtype=torch.float64) ** 3
    if zeros:
        weights = torch.where(torch.rand(*shape, generator=generator) < 0.3, 0.0, weights)
        weights[..., 0] += 0.1
    return weights / weights.sum(-1, keepdim=True)


CASES = {
    "homogeneous": lambda: HiddenMarkov(laws(3, seed=1), laws(3, 3, seed=2), laws(3, 2, seed=3), 4),
    "by position": lambda: HiddenMarkov(laws(2, seed=1), laws(3, 2, 2, seed=2), laws(4, 2, 3, seed=3), 4),
    "zeros": lambda: HiddenMarkov([0.0, 0.5, 0.5], laws(3, 3, seed=5, zeros=True), laws(3, 3, seed=6, zeros=True), 4),
    "one token": lambda: HiddenMarkov(laws(3, seed=1), laws(3, 3, seed=2), laws(3, 1, seed=3), 4),
    "one state": lambda: HiddenMarkov([1.0], [[1.0]], laws(1, 3, seed=3), 4),
    "one position": lambda: HiddenMarkov(laws(3, seed=1), laws(3, 3, seed=2), laws(3, 4, seed=3), 1),
}
every = pytest.mark.parametrize("make", CASES.values(), ids=CASES)


def joint(target):
    """P(z, x), by the definition, shape (K,)*L + (V,)*L."""
    length, states, vocab = target.space.length, len(target.initial), target.space.vocab_size
    steps = target.transition.expand(length - 1, states, states) if length > 1 else []
    emission = target.emission.expand(length, states, vocab)
    table = torch.zeros((states,) * length + (vocab,) * length, dtype=torch.float64)
    for z in product(range(states), repeat=length):
        weight = target.initial[z[0]]
        for step, (a, b) in enumerate(pairwise(z)):
            weight = weight * steps[step][a, b]
        for position, state in enumerate(z):
            row = emission[position, state]
            weight = weight.unsqueeze(-1) * row if position else weight * row
        table[z] = weight
    return table


@every
def test_pmf(make):
    target = make()
    length = target.space.length
    exact = joint(target).sum(tuple(range(length))).reshape(-1)
    torch.testing.assert_close(target.tabular().pmf, exact)
    assert float(exact.sum()) == pytest.approx(1.0)


@every
def test_posteriors(make):
    target = make()
    length, vocab = target.space.length, target.space.vocab_size
    listed = ddm.targets.Tabular(joint(target).sum(tuple(range(length))))
    torch.manual_seed(0)
    evidence = torch.randn(2, 3, length, vocab, dtype=torch.float64)
    evidence[0, 0] = 0.0
    evidence[1, 1, -1, 1:] = -torch.inf
    torch.testing.assert_close(target.posterior(evidence).exp(), listed.posterior(evidence).exp())


@every
def test_evidence(make):
    target = make()
    assert_evidence_is_the_sum(target)


@every
def test_hidden_states_with_tokens_missing(make):
    target = make()
    length, vocab = target.space.length, target.space.vocab_size
    table = joint(target)
    x = target.sample((2, 3))
    x[0, 0], x[1, :, 0] = vocab, vocab
    found = target.states(x)
    for index in product(range(2), range(3)):
        seen = [slice(None) if token == vocab else token for token in x[index].tolist()]
        hidden = table[(..., *tuple(seen))]
        hidden = hidden.reshape(*(len(target.initial),) * length, -1).sum(-1)
        for position in range(length):
            law = hidden.sum([axis for axis in range(length) if axis != position]) if length > 1 else hidden
            torch.testing.assert_close(found[(*index, position)], law / law.sum())


def test_an_impossible_sequence_has_no_states():
    target = HiddenMarkov([1.0], [[1.0]], [[1.0, 0.0]], 2)
    with pytest.raises(ValueError, match=r"\[0, 1\], which has probability zero"):
        target.states(torch.tensor([0, 1]))
    assert target.log_prob(torch.tensor([0, 1])).item() == -torch.inf


def test_draws_follow_the_law():
    torch.manual_seed(1)
    target = CASES["by position"]()
    count, pmf = 20_000, target.tabular().pmf
    seen = torch.bincount(target.space.index(target.sample((count,))), minlength=len(pmf)) / count
    # Each frequency within five standard errors, 81 of them: false alarms below 1e-4.
    assert bool(((seen - pmf).abs() <= 5 * (pmf / count).sqrt() + 1e-4).all())


def test_agrees_with_pyro():
    torch.manual_seed(2)
    initial, steps = torch.randn(4, dtype=torch.float64), torch.randn(6, 4, 4, dtype=torch.float64)
    emission = torch.randn(6, 4, 3, dtype=torch.float64)
    law = dist.DiscreteHMM(initial, steps, dist.Categorical(logits=emission), duration=6)
    x = torch.randint(0, 3, (5, 6))
    torch.testing.assert_close(HiddenMarkov.of(law).log_prob(x), law.log_prob(x))


def test_a_long_chain_with_many_masks_is_fast_and_right():
    length, states, vocab = 1024, 4, 6
    target = HiddenMarkov(laws(states), laws(states, states, seed=1), laws(states, vocab, seed=2), length)
    torch.manual_seed(3)
    x = target.sample((8,))
    forward = ddm.ForwardProcess(ddm.rates.Masked(vocab), ddm.schedules.Linear(), length=length)
    hidden = torch.rand(8, length) < torch.linspace(0, 1, 8).unsqueeze(-1)
    p = target.denoiser(forward).x0_log_probs(torch.where(hidden, vocab, x), torch.tensor(0.5)).exp()
    torch.testing.assert_close(p.sum(-1), torch.ones(8, length, dtype=torch.float64))
    # One conditional by two evidences: P(x_l = v | rest) = P(x_l = v, rest) / P(rest).
    row, position = 0, 500
    tried = x[row].repeat(vocab, 1)
    tried[:, position] = torch.arange(vocab)
    blank = x[row].clone()
    blank[position] = vocab
    found = target.denoiser(forward).x0_log_probs(blank.unsqueeze(0), torch.tensor(0.5))[0, position]
    torch.testing.assert_close(found, target.log_prob(tried).log_softmax(0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0]], [[1.0]], [[1.0]], 2), r"initial has shape \(1, 1\)"),
        (([1.0], [[1.0]], [[0.5, 0.5], [0.5, 0.5]], 3), r"emission has shape \(2, 2\)"),
        (([1.0], [[0.5, 0.5]], [[1.0]], 2), r"transition has shape \(1, 2\)"),
        (([1.0], [[1.0]], [[0.5, 0.4]], 2), "must sum to 1"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        HiddenMarkov(*arguments)


def test_other_models_of_pyro_are_refused():
    normal = dist.DiscreteHMM(torch.zeros(2), torch.eye(2), dist.Normal(torch.zeros(2), 1.0), duration=3)
    with pytest.raises(ValueError, match="emits tokens"):
        HiddenMarkov.of(normal)
    batch = dist.DiscreteHMM(torch.zeros(5, 2), torch.eye(2), dist.Categorical(torch.ones(2, 3)), duration=3)
    with pytest.raises(ValueError, match=r"batch shape \(5,\)"):
        HiddenMarkov.of(batch)
