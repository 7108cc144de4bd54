"""push against step matrices built entry by entry in numpy, on laws with zeros and without symmetry."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from pairs import pair
from scipy.linalg import expm

import ddm_pyro as ddm
from ddm_pyro.samplers import (
    Ancestral,
    Euler,
    FirstHitting,
    GibbsCorrector,
    Gillespie,
    KUnmask,
    TauLeaping,
    Uniformization,
)
from ddm_pyro.targets.tabular import random_tabular

THINNING = [
    pytest.param(Euler(), lambda mean: min(1.0, mean), id="euler"),
    pytest.param(TauLeaping(), lambda mean: 1 - math.exp(-mean), id="tau-first"),
    pytest.param(TauLeaping("reject"), lambda mean: mean * math.exp(-mean), id="tau-reject"),
]
EVERY = [
    "uniform",
    "masked",
    "rank-one",
    "dense",
    "one rate a position",
    "uniform alphabets",
    "masked alphabets",
    "mixed alphabets",
]
GRID = [0.9, 0.55, 0.3, 0.05, 0.0]


def law(oracle, zeros=0.3):
    return random_tabular(oracle.sizes, seed=7, concentration=0.7, zeros=zeros)


def run(p, matrices):
    for matrix in matrices:
        p = p @ matrix
    return p


def assert_same(found, expected):
    np.testing.assert_allclose(found.pmf.numpy(), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("schedule", ["cosine", "log-linear"])
@pytest.mark.parametrize("name", EVERY)
def test_ancestral(name, schedule):
    process, oracle = pair(name, schedule)
    target = law(oracle)
    p = run(oracle.prior(), [oracle.ancestral(target.pmf, t, s) for t, s in itertools.pairwise(np.linspace(1, 0, 5))])
    assert_same(ddm.push(Ancestral(), target.denoiser(process), steps=4), oracle.data_part(p))


@pytest.mark.parametrize(("sampler", "leave"), THINNING)
@pytest.mark.parametrize("name", EVERY)
def test_thinning(name, sampler, leave):
    process, oracle = pair(name, "log-linear")
    target = law(oracle)
    steps = [oracle.thinning(leave, target.pmf, t, s) for t, s in itertools.pairwise(GRID)]
    p = run(oracle.forward(target.pmf, 0.9), steps)
    found = ddm.push(sampler, target.denoiser(process), times=GRID, pmf=oracle.forward(target.pmf, 0.9))
    if oracle.masked:
        p = p @ oracle.denoise(target.pmf, 0.0)
    assert_same(found, oracle.data_part(p))


@pytest.mark.parametrize(("sampler", "leave"), THINNING)
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_masked_thinning_starts_where_alpha_is_zero(sampler, leave, schedule):
    process, oracle = pair("masked", schedule)
    target = law(oracle)
    steps = [oracle.thinning(leave, target.pmf, t, s) for t, s in itertools.pairwise([1.0, 0.5, 0.0])]
    p = run(oracle.prior(), [*steps, oracle.denoise(target.pmf, 0.0)])
    assert_same(ddm.push(sampler, target.denoiser(process), steps=2), oracle.data_part(p))


@pytest.mark.parametrize("name", EVERY)
def test_final_denoising_draws_what_noise_is_left(name):
    process, oracle = pair(name, "cosine")
    target = law(oracle)
    model, steps = target.denoiser(process), [oracle.ancestral(target.pmf, t, s) for t, s in [(1.0, 0.6), (0.6, 0.2)]]
    p = run(oracle.prior(), steps)
    noisy = ddm.push(Ancestral(), model, times=[1.0, 0.6, 0.2], final_denoise=False)
    clean = ddm.push(Ancestral(), model, times=[1.0, 0.6, 0.2])
    np.testing.assert_allclose(noisy.pmf.numpy(), p, atol=1e-10)
    assert noisy.space == process.space
    assert_same(clean, oracle.data_part(p @ oracle.denoise(target.pmf, 0.2)))


@pytest.mark.parametrize("name", EVERY)
def test_gillespie(name):
    process, oracle = pair(name, "log-linear")
    target, times = law(oracle), [0.8, 0.4, 0.1]
    steps = [brute_exponential(oracle, target, t, s) for t, s in itertools.pairwise(times)]
    p = run(oracle.forward(target.pmf, 0.8), steps)
    found = ddm.push(
        Gillespie(),
        target.denoiser(process),
        times=times,
        pmf=oracle.forward(target.pmf, 0.8),
        final_denoise=False,
    )
    np.testing.assert_allclose(found.pmf.numpy(), p, atol=1e-10)


def brute_exponential(oracle, target, t, s):
    return expm((t - s) * oracle.generator(target.pmf, t))


@pytest.mark.parametrize("name", ["uniform", "masked", "dense", "uniform alphabets"])
def test_uniformization_solves_the_reverse_equation(name):
    process, oracle = pair(name, "constant")
    target = law(oracle, zeros=0.0)
    times = [1.0, 0.5, 0.2]
    p = run(oracle.prior(), [oracle.flow(target.pmf, t, s, pieces=24) for t, s in itertools.pairwise(times)])
    found = ddm.push(Uniformization(), target.denoiser(process), times=times, final_denoise=False)
    np.testing.assert_allclose(found.pmf.numpy(), p, atol=1e-7)


@pytest.mark.parametrize("name", ["uniform", "masked", "rank-one", "dense", "masked alphabets"])
def test_uniformization_carries_p_t_to_p_s(name):
    process, oracle = pair(name, "cosine")
    target = law(oracle)
    start = oracle.forward(target.pmf, 0.9)
    found = ddm.push(Uniformization(), target.denoiser(process), times=[0.9, 0.1], pmf=start, final_denoise=False)
    np.testing.assert_allclose(found.pmf.numpy(), oracle.forward(target.pmf, 0.1), atol=1e-8)


@pytest.mark.parametrize("name", ["masked", "masked alphabets"])
@pytest.mark.parametrize("refresh", [1, 2, 3])
def test_first_hitting(name, refresh):
    process, oracle = pair(name, "cosine")
    target = law(oracle)
    matrix = oracle.reveal(target.pmf, lambda masks: min(refresh, masks))
    p = run(oracle.prior(), [matrix] * math.ceil(oracle.length / refresh))
    found = ddm.push(FirstHitting(refresh), target.denoiser(process))
    assert_same(found, oracle.data_part(p))
    if refresh == 1:
        assert 0.5 * float((found.pmf - target.pmf).abs().sum()) <= 1e-12


@pytest.mark.parametrize("sizes", [(1, 2), (2, 1), (1, 1, 1), (3,)])
def test_k_unmask(sizes):
    process, oracle = pair("masked alphabets", "linear")
    target = law(oracle)
    p = run(oracle.prior(), [oracle.reveal(target.pmf, lambda masks, b=b: min(b, masks)) for b in sizes])
    assert_same(ddm.push(KUnmask(sizes), target.denoiser(process)), oracle.data_part(p))


@pytest.mark.parametrize("name", ["uniform", "rank-one", "dense"])
def test_predictor_and_corrector_act_in_turn(name):
    process, oracle = pair(name, "log-linear")
    target = law(oracle, zeros=0.0)
    times = [1.0, 0.5, 0.1]
    steps = []
    for t, s in itertools.pairwise(times):
        steps += [oracle.ancestral(target.pmf, t, s), oracle.gibbs(target.pmf, s), oracle.gibbs(target.pmf, s)]
    p = run(oracle.prior(), steps)
    found = ddm.push(
        [Ancestral(), GibbsCorrector(), GibbsCorrector()], target.denoiser(process), times=times, final_denoise=False
    )
    np.testing.assert_allclose(found.pmf.numpy(), p, atol=1e-10)


@pytest.mark.parametrize("name", ["masked", "masked alphabets"])
def test_observed_tokens_are_clamped(name):
    process, oracle = pair(name, "cosine")
    target = law(oracle, zeros=0.2)
    model, last = target.denoiser(process), oracle.length - 1
    start = np.zeros(len(oracle.states))
    start[oracle.where[(*oracle.sizes[:-1], 1)]] = 1.0
    cosine = [oracle.ancestral(target.pmf, t, s) for t, s in itertools.pairwise(np.linspace(1, 0, 4))]
    assert_same(ddm.push(Ancestral(), model, steps=3, observe={last: 1}), oracle.data_part(run(start, cosine)))
    reveal = oracle.reveal(target.pmf, lambda masks: min(1, masks))
    p = oracle.data_part(run(start, [reveal] * oracle.length))
    observe = [-1] * last + [1]
    assert_same(ddm.push(FirstHitting(), model, observe=observe), p)
    assert_same(ddm.push(KUnmask((1,) * last), model, observe=observe), p)
    joint = target.pmf.numpy().reshape(oracle.sizes).copy()
    joint[..., [v for v in range(oracle.sizes[-1]) if v != 1]] = 0.0
    np.testing.assert_allclose(p, joint.ravel() / joint.sum(), atol=1e-12)
