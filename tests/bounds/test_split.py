"""Continuous-time certificates plus a discretization error, against the exact law of masked samplers in steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bound_worlds import SCHEDULES, Blurred, Perturbed, Tilted, lognormal, tv

import ddm_pyro as ddm
from ddm_pyro.bounds import AdjointIPM, Best, ExitRouting, GeneralizedPinsker, NotApplicable, PathKL, Row

W1 = ddm.metrics.HammingWasserstein()


def world(rng):
    size, length = int(rng.integers(2, 4)), int(rng.integers(1, 4))
    zeros = float(rng.choice([0.0, 0.4]))
    target = ddm.targets.RandomTabular(num_states=size, length=length, seed=int(rng.integers(10**6)), zeros=zeros)
    forward = ddm.ForwardProcess(ddm.rates.Masked(size), SCHEDULES[rng.integers(len(SCHEDULES))], length)
    exact, error, seed = target.denoiser(forward), float(10 ** rng.uniform(-2, 0.1)), int(rng.integers(10**6))
    model = [exact, Tilted(exact, error, seed), Blurred(exact, min(error, 0.9), seed)][rng.integers(3)]
    steps = int(rng.integers(1, 6))
    names = ["ancestral", "euler", "tau-leaping", "k-unmask", "first-hitting"]
    name = names[rng.integers(len(names))]
    if name == "k-unmask":
        sizes = ddm.planning.balanced_sizes(length, min(steps, length))
        return target, model, ddm.samplers.KUnmask(sizes), len(sizes)
    if name == "first-hitting":
        return target, model, ddm.samplers.FirstHitting(refresh=2), None
    return target, model, ddm.create("samplers", f"core/{name}"), steps


@pytest.mark.parametrize("seed", range(16))
def test_no_split_certificate_is_below_the_distance(seed) -> None:
    target, model, sampler, steps = world(np.random.default_rng(seed))
    law = ddm.push(sampler, model, steps=steps)
    truth, transport = tv(law.pmf, target.pmf), W1(law, target.tabular()).value
    asked = 0
    for bound in (Row(), GeneralizedPinsker(), ExitRouting(), AdjointIPM(), Best()):
        try:
            certificate = bound(target=target, model=model, sampler=sampler, steps=steps)
        except NotApplicable:
            continue
        asked += 1
        assert certificate.value >= truth - 1e-9, bound
        assert certificate.for_metric(W1, target.space).value >= transport - 1e-8, bound
    assert asked >= 4


def test_two_tokens_and_an_exact_score_make_it_tight() -> None:
    target = ddm.targets.RandomTabular(num_states=3, length=2, seed=6)
    model = target.denoiser(ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Cosine(), 2))
    law = ddm.push(ddm.samplers.Ancestral(), model, steps=3)
    certificate = Row()(target=target, model=model, sampler=ddm.samplers.Ancestral(), steps=3)
    assert certificate.value == pytest.approx(tv(law.pmf, target.pmf), rel=1e-9)
    assert certificate.terms["discretization"] == pytest.approx(certificate.value)


def test_a_divergence_is_never_added_to_a_discretization() -> None:
    target = ddm.targets.RandomTabular(num_states=2, length=2, seed=6)
    process = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), 2)
    exact = target.denoiser(process)
    for model in (exact, Perturbed(exact, lognormal(process.space, 0.1))):
        with pytest.raises(NotApplicable, match="takes steps"):
            PathKL()(target=target, model=model, sampler=ddm.samplers.Ancestral(), steps=2)
    with pytest.raises(NotApplicable, match="takes steps"):
        Row()(target=target, model=model, sampler=ddm.samplers.Euler(), times=torch.linspace(0.9, 0.0, 4))


@pytest.mark.parametrize("rate", [ddm.rates.Masked(4), ddm.rates.Uniform(4)])
def test_large_spaces_are_estimated_from_the_loss(rate) -> None:
    target = ddm.targets.PottsChain(num_states=4, length=24, coupling=1.0)
    exact = target.denoiser(ddm.ForwardProcess(rate, ddm.schedules.LogLinear(), 24))
    certificate = PathKL()(target=target, model=exact, seed=0, budget=8)
    assert certificate.estimate <= certificate.value == certificate.ucb
    assert certificate.hypotheses["asymptotic limit"] == "assumed"
    best = Best()(target=target, model=exact, seed=0, budget=8)
    assert best.source in ("core/path-kl", "core/conditioned-path-kl")
    with pytest.raises(NotApplicable, match="runs to t = 0"):
        PathKL()(target=target, model=exact, times=[1.0, 0.1])
