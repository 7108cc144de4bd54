"""Shapes, expansion, support, enumeration and refusals of every public law, as Pyro needs them."""

from __future__ import annotations

import copy
import io
import math
import pickle

import pyro
import pytest
import torch
from public_laws import CASES, EXPANDING, PROCESSES, TIMES, TOKENS
from pyro.distributions import TorchDistribution

from ddm_pyro import distributions, samplers, targets

BATCHES = [(), (1,), (2, 3)]


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def default_dtype(request):
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


@pytest.fixture(params=CASES, ids=repr)
def law(request):
    return request.param.make()


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_draws_and_densities_have_the_shapes_of_the_law(case, default_dtype):
    law = case.make()
    for sample_shape in BATCHES:
        x = law.sample(sample_shape)
        assert x.dtype == torch.int64
        assert x.shape == (*sample_shape, *law.batch_shape, *law.event_shape)
        log_prob = law.log_prob(x)
        assert log_prob.shape == (*sample_shape, *law.batch_shape)
        assert log_prob.dtype == torch.float64
        assert torch.isfinite(log_prob).all()
        assert law.support.check(x).all()


def test_support_speaks_of_sequences(law):
    assert law.support.is_discrete
    assert law.support.event_dim == law.event_dim == 1
    x = law.sample()
    assert law.support.check(x).shape == law.batch_shape
    assert not law.support.check(x - 1000).any()
    assert not law.support.check(x.double() + 0.5).any()


def test_enumeration_lists_each_value_once_and_the_densities_sum_to_one(law):
    assert law.has_enumerate_support
    wide, narrow = law.enumerate_support(), law.enumerate_support(expand=False)
    n = len(wide)
    assert wide.shape == (n, *law.batch_shape, *law.event_shape)
    assert narrow.shape == (n, *(1,) * len(law.batch_shape), *law.event_shape)
    assert (wide == narrow).all()
    assert len(narrow.reshape(n, -1).unique(dim=0)) == n
    total = law.log_prob(wide).exp().sum(0)
    torch.testing.assert_close(total, torch.ones(law.batch_shape, dtype=torch.float64))
    torch.testing.assert_close(law.log_prob(narrow.expand(wide.shape)), law.log_prob(wide))


def test_wrong_shapes_and_values_are_refused(law):
    x = law.sample()
    with pytest.raises(ValueError, match=r"event_shape|rightmost"):
        law.log_prob(x.unsqueeze(-1))
    with pytest.raises(ValueError, match=r"event_shape|rightmost"):
        law.log_prob(x[..., :1])
    with pytest.raises(ValueError, match=r"support|not broadcastable|constraint"):
        law.log_prob(torch.full_like(x, 99))
    if law.batch_shape not in ((), (1,)):
        with pytest.raises(ValueError, match="broadcastable"):
            law.log_prob(torch.zeros(law.batch_shape[0] + 1, *law.batch_shape[1:], *law.event_shape))


def test_pickles_and_copies_score_as_the_original(law):
    x = law.sample()
    buffer = io.BytesIO()
    torch.save(law, buffer)
    buffer.seek(0)
    twins = [
        copy.copy(law),
        copy.deepcopy(law),
        pickle.loads(pickle.dumps(law)),
        torch.load(buffer, weights_only=False),
    ]
    for twin in twins:
        assert type(twin) is type(law)
        assert torch.equal(twin.log_prob(x), law.log_prob(x))


def test_masking_silences_rows(law):
    x = law.sample()
    keep = torch.arange(math.prod(law.batch_shape)).reshape(law.batch_shape) % 2 == 0
    masked = law.mask(keep)
    assert masked.batch_shape == law.batch_shape
    assert torch.equal(masked.log_prob(x), torch.where(keep, law.log_prob(x), 0.0))
    assert torch.equal(masked.enumerate_support(), law.enumerate_support())
    assert (law.mask(False).log_prob(x) == 0).all()
    torch.testing.assert_close(law.score_parts(x).log_prob, law.log_prob(x))


def test_independent_rows_become_one_event(law):
    joint = law.to_event(len(law.batch_shape))
    x = joint.sample((2,))
    assert joint.batch_shape == ()
    assert joint.event_shape == law.batch_shape + law.event_shape
    torch.testing.assert_close(joint.log_prob(x), law.log_prob(x).reshape(2, -1).sum(-1))


@pytest.mark.parametrize("default", [False, True], ids=["own", "Pyro's"])
def test_expanded_laws_are_the_same_law(law, default):
    for extra in BATCHES:
        shape = [*extra, *law.batch_shape]
        wide = TorchDistribution.expand(law, shape) if default else law.expand(shape)
        assert wide.batch_shape == tuple(shape)
        assert wide.event_shape == law.event_shape
        x = wide.sample()
        assert torch.equal(wide.log_prob(x), law.log_prob(x))
        y = law.sample()
        assert torch.equal(wide.log_prob(y.expand(wide.shape())), law.log_prob(y).expand(shape))


@pytest.mark.parametrize("case", EXPANDING, ids=repr)
def test_expansion_keeps_enumeration_and_leaves_the_law_alone(case, default_dtype):
    law = case.make()
    shape = law.batch_shape
    wide = law.expand((5, *shape)).expand((2, 5, *shape))
    assert law.batch_shape == shape
    assert wide.has_enumerate_support
    values = wide.enumerate_support()
    assert values.shape[1:] == (2, 5, *shape, *law.event_shape)
    torch.testing.assert_close(
        wide.log_prob(values).exp().sum(0), torch.ones(wide.batch_shape, dtype=torch.float64), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_impossible_expansions_are_refused(case):
    law = case.make()
    wide = law.expand((2, 4, *law.batch_shape))
    for shape in [(2, 2, *law.batch_shape), (4, 2, 1, *law.batch_shape), law.batch_shape]:
        with pytest.raises((ValueError, RuntimeError)):
            wide.expand(shape)


def test_a_batch_of_one_widens():
    process = PROCESSES["uniform"]()
    law = process.marginal(TOKENS[:1], TIMES[:1]).expand((4,))
    assert torch.equal(law.log_prob(TOKENS[:1]), law.log_prob(TOKENS[:1].expand(4, 2)))
    assert law.sample().shape == (4, 2)


@pytest.mark.parametrize("name", PROCESSES)
def test_times_broadcast_against_the_batch(name):
    process = PROCESSES[name]()
    x = TOKENS[0]
    assert process.marginal(x, TIMES).batch_shape == (3,)
    assert process.marginal(x, TIMES[:, None]).batch_shape == (3, 1)
    law = process.marginal(TOKENS, TIMES[:, None])
    assert law.batch_shape == (3, 3)
    y = law.sample()
    one_by_one = [[process.marginal(TOKENS[j], TIMES[i]).log_prob(y[i, j]) for j in range(3)] for i in range(3)]
    torch.testing.assert_close(law.log_prob(y), torch.stack([torch.stack(row) for row in one_by_one]))
    assert process.bridge(x, x, 0.1, TIMES).batch_shape == (3,)


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        (distributions.FactorizedCategorical, {"probs": (5, 2, 3)}),
        (distributions.AtomMixture, {"atoms": (2, 1), "weights": (5, 2, 1), "base": (1, 3)}),
        (distributions.JumpLaw, {"x": (5, 2), "jump": (2,), "weights": (4, 1, 2, 3)}),
        (distributions.Tabular, {"pmf": (3, 2, 2)}),
        (distributions.Samples, {"x": (7, 3), "space": ()}),
        (targets.Tabular, {"pmf": (2, 2)}),
    ],
)
def test_shapes_are_known_before_the_law_is_built(kind, shapes):
    batch, event = kind.infer_shapes(**shapes)
    if kind in (distributions.Tabular, targets.Tabular):
        law = kind(torch.ones(shapes["pmf"]) / math.prod(shapes["pmf"]))
    elif kind is distributions.Samples:
        law = kind(torch.zeros(shapes["x"]), distributions.Tabular(torch.ones(2, 2, 2) / 8).space)
    else:
        values = {name: torch.ones(shape) for name, shape in shapes.items()}
        values = {k: v.long() if k in ("atoms", "x") else v / v.sum(-1, keepdim=True) for k, v in values.items()}
        law = kind(**values)
    assert (batch, event) == (law.batch_shape, law.event_shape)


def test_a_flat_pmf_does_not_tell_its_length():
    with pytest.raises(NotImplementedError, match="flat pmf"):
        distributions.Tabular.infer_shapes(pmf=(4,), space=())


def test_validation_off_scores_without_checks():
    with pyro.validation_enabled(False):
        law = PROCESSES["masked"]().marginal(torch.tensor([[0, 1]]), 0.5)
        assert law.log_prob(torch.tensor([[0, 3]])).shape == (1,)
        assert law.log_prob(torch.tensor([[0.0, 3.0]])).exp().item() == pytest.approx(
            law.log_prob(torch.tensor([[0, 3]])).exp().item()
        )
        bad = PROCESSES["masked"]().marginal(torch.tensor([[0, 3]]), 0.5)  # a mask in the data passes unseen
    assert bad.batch_shape == (1,)
    with pytest.raises(ValueError, match="mask id"):
        PROCESSES["masked"]().marginal(torch.tensor([[0, 3]]), 0.5)


@pytest.mark.parametrize("sampler", [samplers.Gillespie(), samplers.Uniformization()], ids=repr)
def test_laws_that_only_sample_pickle_and_say_so(sampler):
    from public_laws import exact

    t, s = torch.tensor(0.6, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
    law = pickle.loads(pickle.dumps(sampler.step(exact("masked"), torch.tensor([[3, 3], [0, 3]]), t, s)))
    x = law.sample((2,))
    assert x.shape == (2, 2, 2)
    assert (x[:, 1, 0] == 0).all()
    with pytest.raises(NotImplementedError, match="can be sampled"):
        law.log_prob(x)
