from __future__ import annotations

import numpy as np
import pytest
import torch
from metrics.oracles import draw, random_pmf, tabular

from ddm_pyro.distributions import FactorizedCategorical, Samples, Tabular
from ddm_pyro.metrics import HammingMMD, PositionTV, TotalVariation
from ddm_pyro.spaces import StateSpace


class Opaque:
    """A law that can only be sampled."""

    def __init__(self, law):
        self.law, self.space = law, law.space

    def sample(self, shape):
        return self.law.sample(shape)


class Target(Opaque):
    """A law that knows its pmf, as targets do."""

    def tabular(self):
        return self.law


def product(rng, length=3, size=3):
    return FactorizedCategorical(torch.from_numpy(rng.dirichlet(np.ones(size), size=length)))


def pmf_of(law):
    probs = law.enumerate_support()
    return Tabular(law.log_prob(probs).exp(), space=StateSpace(3, probs.shape[-1]))


def test_laws_with_a_pmf_are_compared_exactly():
    rng = np.random.default_rng(0)
    space = StateSpace(3, 3)
    q = tabular(random_pmf(rng, 27), space)
    law = product(rng)
    expected = 0.5 * float((pmf_of(law).pmf - q.pmf).abs().sum())
    for other in (law, Target(pmf_of(law))):
        estimate = TotalVariation()(other, q)
        assert estimate.kind == "exact"
        assert estimate.value == pytest.approx(expected, abs=1e-12)


def test_opaque_laws_are_sampled_with_n_and_seed():
    rng = np.random.default_rng(1)
    space = StateSpace(3, 3)
    p, q = tabular(random_pmf(rng, 27), space), tabular(random_pmf(rng, 27), space)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = TotalVariation()(Opaque(p), Opaque(p), n=321, seed=5)
    assert (first.n, first.m) == (321, 321)
    assert torch.equal(torch.get_rng_state(), before)
    assert first == TotalVariation()(Opaque(p), Opaque(p), n=321, seed=5)
    assert first.value > 0.0, "both sides drew the same rows"
    assert TotalVariation()(Opaque(p), draw(q.pmf.numpy(), space, 77, rng), seed=0).n == 77
    one, two = (TotalVariation()(Opaque(p), q, n=50).value for _ in range(2))
    assert one != two, "without a seed the global generator is used"


def test_a_density_that_does_not_sum_to_one_is_not_taken_for_a_pmf():
    class Bounded(FactorizedCategorical):
        def log_prob(self, value):
            return super().log_prob(value) - 0.5

    rng = np.random.default_rng(2)
    law = Bounded(torch.from_numpy(rng.dirichlet(np.ones(3), size=3)))
    assert TotalVariation()(law, tabular(random_pmf(rng, 27), StateSpace(3, 3)), n=40, seed=0).n == 40


def test_total_variation_of_two_densities_on_a_large_space():
    rng = np.random.default_rng(3)
    a, b = (torch.from_numpy(rng.dirichlet(np.ones(3), size=30)) for _ in range(2))
    p, q = FactorizedCategorical(a), FactorizedCategorical(0.9 * a + 0.1 * b)
    estimate = TotalVariation()(p, q, n=4000, seed=0)
    assert estimate.kind == "unbiased"
    other = TotalVariation()(q, p, n=4000, seed=1)
    assert abs(estimate.value - other.value) < 5 * (estimate.stderr + other.stderr)
    assert PositionTV("max")(p, q, n=4000, seed=0).lcb <= estimate.ucb


def test_total_variation_of_two_densities_against_the_sum_over_states(monkeypatch):
    rng = np.random.default_rng(4)
    p, q = product(rng), product(rng)
    exact = TotalVariation()(p, q).value
    monkeypatch.setattr("ddm_pyro.metrics.laws.TABULAR_STATES", 1)
    estimate = TotalVariation()(p, q, n=20_000, seed=0)
    assert estimate.kind == "unbiased"
    assert abs(estimate.value - exact) < 4.3 * estimate.stderr
    assert estimate.lcb <= exact <= estimate.ucb


def test_truncated_laws_report_their_tail_and_widen_the_limits():
    p = Tabular(torch.tensor([0.5, 0.5]), tail_mass=0.01)
    q = Tabular(torch.tensor([0.4, 0.6]), tail_mass=0.02)
    estimate = TotalVariation()(p, q)
    assert estimate.extra["tail_mass"] == pytest.approx(0.03)
    assert (estimate.lcb, estimate.ucb) == pytest.approx((0.07, 0.13))


@pytest.mark.parametrize("metric", [TotalVariation(), HammingMMD(), PositionTV()], ids=str)
def test_what_can_not_be_compared_is_refused_in_a_sentence(metric):
    p, q = Tabular(torch.full((2, 2), 0.25)), Tabular(torch.full((2, 3), 1 / 6))
    with pytest.raises(ValueError, match=r"p lives on StateSpace\(sizes=2.*q on StateSpace\(sizes=\(2, 3\)"):
        metric(p, q)
    with pytest.raises(ValueError, match="p lives on"):
        metric(Samples(torch.zeros(3, 2), StateSpace(2, 2)), Samples(torch.zeros(3, 2), StateSpace(2, 2, mask=True)))
    with pytest.raises(TypeError, match="q is list"):
        metric(p, [0.5, 0.5])
    with pytest.raises(ValueError, match="confidence=95"):
        metric(p, p, confidence=95)
    with pytest.raises(ValueError, match="n=0 rows"):
        metric(Opaque(p), p, n=0)
    with pytest.raises(ValueError, match="a single law"):
        metric(Opaque(p.expand((4,))), p, n=5)
