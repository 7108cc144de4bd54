"""The path-KL certificate bounds what it says, and its parts are what they say."""

from __future__ import annotations

import math

import pytest
import torch
from ddm_pyro_lattice.bounds import Certificate, PathKL
from ddm_pyro_lattice.leap import Leap
from ddm_pyro_lattice.rates import CyclicWalk, ImmigrationDeath
from ddm_pyro_lattice.targets import BoxedPoissonMixture
from ddm_pyro_lattice.wasserstein import LatticeWasserstein

import ddm_pyro as ddm
from ddm_pyro.evaluation import NotApplicable
from ddm_pyro.parameterizations import Parameterization


class Wrong(Parameterization):
    """The exact rates times a factor."""

    primary = "score"

    def __init__(self, inner, factor):
        super().__init__(inner.process)
        self.inner, self.factor = inner, factor

    def log_score(self, x, t):
        return self.inner.log_score(x, t) + math.log(self.factor)


def world(total=4.0, m=4):
    target = ddm.targets.RandomTabular(num_states=m, length=2, seed=2)
    process = ddm.ForwardProcess(CyclicWalk(m), ddm.schedules.Constant(total=total), 2)
    return target, target.denoiser(process)


@pytest.mark.parametrize("factor", [1.0, 0.6, 1.5])
@pytest.mark.parametrize("steps", [1, 4, 16])
def test_it_bounds_the_divergence_and_the_distance_of_the_law(factor, steps):
    target, exact = world()
    model = exact if factor == 1.0 else Wrong(exact, factor)
    certificate = PathKL()(target=target, model=model, sampler=Leap(), steps=steps)
    law, p = ddm.push(Leap(), model, steps=steps).pmf, target.pmf
    kl = float(torch.special.xlogy(p, p / law).sum())
    assert 0.0 < kl <= certificate.terms["path_kl"]
    assert float((p - law).abs().sum()) / 2 <= certificate.value
    assert (certificate.terms["score"] > 1e-6) == (factor != 1.0)
    assert certificate.terms["discretization"] <= certificate.terms["discretization_bound"] + 1e-12


def test_the_score_term_of_rates_off_by_a_factor():
    """D(r || c r) = r (c - 1 - log c), and E r = E of the forward exit rate = d lam, by reversal of time."""
    target, exact = world(total=4.0)
    terms = PathKL()(target=target, model=Wrong(exact, 1.5), sampler=Leap(), steps=8).terms
    assert terms["score"] == pytest.approx(4.0 * 2 * (0.5 - math.log(1.5)), rel=1e-9)
    assert terms["path_kl"] == pytest.approx(terms["initialization"] + terms["score"] + terms["discretization"])


def test_a_certificate_on_the_scale_of_a_metric():
    target, exact = world()
    certificate = PathKL()(target=target, model=exact, sampler=Leap(), steps=32)
    metric = LatticeWasserstein(cyclic=True)
    scaled = certificate.for_metric(metric, target.space)
    assert scaled.value == pytest.approx(4.0 * certificate.value)
    assert metric(ddm.push(Leap(), exact, steps=32), target.tabular()).value <= scaled.value
    assert Certificate(0.0, {}, {}, False).for_metric(LatticeWasserstein(), ddm.StateSpace(None, 1)).value == 0.0


def test_where_it_does_not_apply():
    target, exact = world()
    boxed = BoxedPoissonMixture([1.0], [2.0], maximum=20)
    line = ddm.ForwardProcess(ImmigrationDeath(vocab_size=21), ddm.schedules.Constant(), 1)
    bent = ddm.ForwardProcess(CyclicWalk(4), ddm.schedules.LogLinear(), 2)
    for where, model, sampler in (
        (target, exact, ddm.samplers.TauLeaping()),
        (boxed, boxed.denoiser(line), Leap()),
        (target, target.denoiser(bent), Leap()),
    ):
        with pytest.raises(NotApplicable, match="lattice/path-kl"):
            PathKL()(target=where, model=model, sampler=sampler, steps=4)
    with pytest.raises(NotApplicable, match="from 1 to 0"):
        PathKL()(target=target, model=exact, sampler=Leap(), times=[1.0, 0.1])
