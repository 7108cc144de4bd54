"""An IPM that gives only its constant and one of exact or fit_witness gets everything else."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from metrics.oracles import draw, random_pmf, tabular

from ddm_pyro.distributions import Samples, Tabular
from ddm_pyro.metrics import IPM, TotalVariation, Witness
from ddm_pyro.spaces import StateSpace


@dataclass(frozen=True)
class Parities(IPM):
    """Functions +-1/2 times the parity of a subset of the first two positions: exact only, without a constant."""

    def exact(self, space, atoms, p, q):
        signs = torch.stack([(-1.0) ** atoms[:, i] for i in range(2)]).double()
        means = 0.5 * (signs * (p - q)).sum(-1)
        best = int(means.abs().argmax())
        sign = float(torch.sign(means[best]))
        return float(means.abs().max()), Witness(lambda x: sign * 0.5 * (-1.0) ** x[:, best].double(), osc=1.0)


@dataclass(frozen=True)
class MeanCritic(IPM):
    """Functions with values in [0, 1]: the critic thresholds the first token. fit_witness only."""

    def constant(self, space):
        return 0.5

    def fit_witness(self, space, x, y):
        flip = bool(x[:, 0].double().mean() < y[:, 0].double().mean())
        return Witness(lambda z: ((z[:, 0] > 0) ^ flip).double(), osc=1.0)


@dataclass(frozen=True)
class LineWasserstein(IPM):
    """Wasserstein-1 with |x - y| on the natural numbers, whose constant is infinite."""

    def constant(self, space):
        return math.inf if space.is_countable else (space.vocab_size - 1) / 2

    def exact(self, space, atoms, p, q):
        order = atoms[:, 0].argsort()
        cdf = (p - q)[order].cumsum(0)
        return float((cdf[:-1].abs() * atoms[order, 0].diff()).sum()), None


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    p = random_pmf(rng, 6, 0.0)
    return StateSpace((2, 3), 2), p, 0.3 * p + 0.7 * random_pmf(rng, 6, 0.0)


def test_exact_alone_gives_the_constant_values_and_a_bracket(pair):
    space, p, q = pair
    metric, rng = Parities(), np.random.default_rng(1)
    assert metric.constant(space) == pytest.approx(0.5)
    truth = metric(tabular(p, space), tabular(q, space))
    assert truth.kind == "exact"
    inside = 0
    for i in range(40):
        estimate = metric(draw(p, space, 300, rng), draw(q, space, 300, rng), seed=i)
        inside += estimate.lcb <= truth.value <= estimate.ucb
        assert estimate.kind == "upper_biased"
        assert estimate.null_mean > 0
    assert inside >= 30
    large = metric(draw(p, space, 50_000, rng), tabular(q, space), seed=0)
    assert 0 < large.lcb <= truth.value <= large.ucb < truth.value + 0.05


def test_the_derived_constant_is_refused_where_it_would_take_too_long():
    with pytest.raises(ValueError, match="define constant"):
        Parities().constant(StateSpace(4, 6))


def test_fit_witness_alone_gives_lower_values_and_an_honest_bracket(pair):
    space, p, q = pair
    metric, rng = MeanCritic(), np.random.default_rng(2)
    # The class is that of total variation, which the critic does not reach.
    truth = TotalVariation()(tabular(p, space), tabular(q, space)).value
    first = abs(p[:3].sum() - q[:3].sum())
    known = metric(tabular(p, space), tabular(q, space), seed=0)
    assert known.kind == "lower"
    assert known.value == pytest.approx(first)
    assert known.lcb <= truth <= known.ucb + 1e-12
    inside = 0
    for i in range(40):
        estimate = metric(draw(p, space, 300, rng), draw(q, space, 300, rng), seed=i)
        inside += estimate.lcb <= truth <= estimate.ucb
        assert estimate.kind == "lower"
    assert inside >= 30
    large = metric(draw(p, space, 50_000, rng), draw(q, space, 50_000, rng), seed=0)
    assert abs(large.value - first) < 0.02
    assert large.lcb > 0


def test_an_infinite_constant_gives_values_and_no_upper_limit():
    space = StateSpace(None, 1)
    metric = LineWasserstein()
    p = Tabular(atoms=torch.tensor([[0], [5]]), probs=torch.tensor([0.5, 0.5]), space=space)
    q = Tabular(atoms=torch.tensor([[1], [90]]), probs=torch.tensor([0.5, 0.5]), space=space)
    assert metric(p, q).value == pytest.approx(0.5 * 1 + 0.5 * 85)
    rng = np.random.default_rng(3)
    x, y = (Samples(torch.from_numpy(rng.poisson(rate, (50, 1))), space) for rate in (2.0, 6.0))
    estimate = metric(x, y, seed=0)
    assert (estimate.lcb, estimate.ucb) == (0.0, math.inf)
    assert estimate.value == pytest.approx(float((x.x.sort(0).values - y.x.sort(0).values).abs().double().mean()))


def test_an_ipm_that_defines_nothing_says_what_is_missing(pair):
    class Empty(IPM):
        def constant(self, space):
            return 1.0

    space, p, q = pair
    with pytest.raises(TypeError, match="neither exact"):
        Empty()(tabular(p, space), tabular(q, space))
    with pytest.raises(ValueError, match="osc=-1"):
        Witness(lambda x: x, osc=-1.0)
