"""Certificates on the scale of a metric, and the smallest of several."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ddm_pyro as ddm
from ddm_pyro.bounds import Certificate, NotApplicable
from ddm_pyro.bounds.best import smallest
from ddm_pyro.bounds.certificate import tv_of_kl

SPACE = ddm.StateSpace(3, 4)
W1 = ddm.metrics.HammingWasserstein()


def test_twice_the_constant_capped_at_the_diameter() -> None:
    assert Certificate(0.1).for_metric(W1, SPACE).value == pytest.approx(0.4)
    capped = Certificate(1.7, estimate=0.2, ucb=1.7, confidence=0.95).for_metric(W1, SPACE)
    assert (capped.value, capped.ucb, capped.vacuous) == (4.0, 4.0, True)
    assert capped.estimate == pytest.approx(0.8)


def test_zero_stays_zero_where_the_diameter_is_infinite() -> None:
    class Endless:
        def constant(self, space):
            return math.inf

    assert Certificate(0.0).for_metric(Endless(), SPACE).value == 0.0
    assert Certificate(0.1).for_metric(Endless(), SPACE).value == math.inf


def test_errors_that_reach_few_positions_weigh_less() -> None:
    local = Certificate(0.3, by_masks=(0.0, 0.1, 0.2, 0.0, 0.0))
    assert local.for_metric(W1, SPACE).value == pytest.approx(0.1 * 1 + 0.2 * 2)
    assert local.for_metric(ddm.metrics.TotalVariation(), SPACE).value == pytest.approx(0.3)
    bandwidth = ddm.metrics.HammingMMD(bandwidth=2.0)
    expected = sum(w * math.sqrt(2 * (1 - math.exp(-n / 2))) for n, w in ((1, 0.1), (2, 0.2)))
    assert local.for_metric(bandwidth, SPACE).value == pytest.approx(expected)


def test_the_smallest_can_change_with_the_metric() -> None:
    best = smallest(
        [Certificate(0.3, by_masks=(0.0, 0.3, 0.0, 0.0, 0.0), source="a"), Certificate(0.2, source="b")], []
    )
    assert (best.value, best.source) == (0.2, "b")
    assert best.for_metric(W1, SPACE).source == "a"
    assert best.for_metric(W1, SPACE).value == pytest.approx(0.3)
    assert smallest([Certificate(math.inf)], []).value == 1.0
    with pytest.raises(NotApplicable, match="too large"):
        smallest([], ["too large"])


def test_what_a_certificate_refuses() -> None:
    for bad in (-0.1, math.nan):
        with pytest.raises(ValueError, match="not negative"):
            Certificate(bad)
    with pytest.raises(ValueError, match="no integral probability metric"):
        Certificate(0.1).for_metric(ddm.metrics.KL(), SPACE)


def test_hypotheses() -> None:
    certificate = Certificate(0.1, hypotheses={"a": "verified", "b": "assumed", "c": "violated"})
    assert certificate.holds_if == ("b",)
    assert certificate.is_violated
    assert not certificate.vacuous


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_the_distance_of_a_divergence(a, b) -> None:
    """TV of two coins is below the function of their KL."""
    p, q = (torch.tensor([x, 1 - x]).double() for x in (a, b))
    kl = float(torch.special.xlogy(p, p).sum() - torch.special.xlogy(p, q).sum())
    assert abs(a - b) <= tv_of_kl(kl if kl == kl else math.inf) + 1e-7
