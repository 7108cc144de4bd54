"""core/kernel-kl against kernels written out in plain numpy, printed values, and its own other routes."""

from __future__ import annotations

import itertools
import math

import brute
import numpy as np
import oracles
import pytest
import torch
from discrete_worlds import Tilted, WrongScore, random_run
from pairs import pair

import ddm_pyro as ddm
from ddm_pyro.bounds import KernelKL, NotApplicable, PlanKL, Question
from ddm_pyro.bounds.discrete import kernel_kl, steps
from ddm_pyro.bounds.discrete.case import Run
from ddm_pyro.distributions.token_law import TokenLaw
from ddm_pyro.rates import Masked, Uniform
from ddm_pyro.samplers import Ancestral, Euler, GibbsCorrector, Gillespie, Sampler, TauLeaping, Uniformization
from ddm_pyro.schedules import Constant, Linear

LEAVES = {
    "euler": (Euler(), lambda mean: min(mean, 1.0)),
    "tau": (TauLeaping(), lambda mean: 1 - math.exp(-mean)),
    "reject": (TauLeaping("reject"), lambda mean: mean * math.exp(-mean)),
}


def step_matrix(oracle, name, pmf, t, s):
    if name == "ancestral":
        return oracle.ancestral(pmf, t, s)
    return oracle.thinning(LEAVES[name][1], pmf, t, s)


def path_kl(oracle, pmf, name, times, conditioned):
    """sum_k E KL(Kbar_k || K_k), the final denoising included, with dense matrices."""
    first = times[0]

    def law(t):
        if not conditioned:
            return oracle.forward(pmf, t) if t > 0 else oracle.embed(pmf)
        share = (1 - oracle.alpha(t)) / (1 - oracle.alpha(first)) if t > 0 else 0.0
        kernels = [
            brute.kernel(generator, math.inf if share == 1 else -math.log(1 - share)) for generator in oracle.generators
        ]
        return oracle.embed(pmf) @ np_kron(kernels)

    def forward(s, t):
        if not conditioned or t < first:
            keep = None
            if conditioned:
                keep = [(oracle.alpha(x) - oracle.alpha(first)) / (1 - oracle.alpha(first)) for x in (s, t)]
            noise = (
                oracle.sigma(t) - (oracle.sigma(s) if s > 0 else 0.0) if keep is None else math.log(keep[0] / keep[1])
            )
            return np_kron([brute.kernel(generator, noise) for generator in oracle.generators])
        return np_kron([brute.kernel(generator, math.inf) for generator in oracle.generators])

    total = 0.0
    stages = [(t, s, step_matrix(oracle, name, pmf, t, s)) for t, s in itertools.pairwise(times)]
    if times[-1] > 0:
        stages.append((times[-1], 0.0, oracle.denoise(pmf, times[-1])))
    for t, s, kernel in stages:
        late, early, noising = law(t), law(s), forward(s, t)
        for x in np.nonzero(late > 0)[0]:
            back = early * noising[:, x] / late[x]
            inside = back > 0
            total += late[x] * float((back[inside] * np.log(back[inside] / kernel[x, inside])).sum())
    return total, law(first)


def np_kron(matrices):
    out = np.ones((1, 1))
    for matrix in matrices:
        out = np.kron(out, matrix)
    return out


@pytest.mark.parametrize("name", ["uniform", "rank-one", "dense", "uniform alphabets", "masked", "masked alphabets"])
@pytest.mark.parametrize("sampler", ["ancestral", "tau", "reject"])
@pytest.mark.parametrize("times", [[1.0, 0.6, 0.3, 0.0], [0.8, 0.5, 0.1]])
def test_equals_the_sum_over_dense_kernels(name, sampler, times):
    process, oracle = pair(name, "constant")
    pmf = oracles.normalized(np.random.default_rng(1).gamma(0.6, size=oracle.sizes))
    target = ddm.targets.Tabular(torch.from_numpy(pmf))
    used = Ancestral() if sampler == "ancestral" else LEAVES[sampler][0]
    model = target.denoiser(process)
    found = KernelKL()(target=target, model=model, sampler=used, times=times)
    kl, first = path_kl(oracle, pmf, sampler, times, conditioned=process.is_masked)
    assert found.terms["kl"] == pytest.approx(kl, rel=1e-9, abs=1e-11)
    if not process.is_masked:
        prior = oracle.prior()
        assert found.terms["prior_mismatch"] == pytest.approx(0.5 * np.abs(first - prior).sum(), abs=1e-11)
        assert found.terms["start"] == pytest.approx(float((first * np.log(first / prior)).sum()), abs=1e-11)
        both = min(
            found.terms["prior_mismatch"] + min(math.sqrt(kl / 2), math.sqrt(1 - math.exp(-kl))),
            min(math.sqrt((kl + found.terms["start"]) / 2), math.sqrt(1 - math.exp(-kl - found.terms["start"]))),
        )
        assert found.value == pytest.approx(both, abs=1e-10)
    law = ddm.push(used, model, times=times)
    assert 0.5 * float((law.pmf - target.pmf).abs().sum()) <= found.value


@pytest.mark.parametrize("masked", [False, True])
def test_routes_agree(masked, monkeypatch):
    """Pairs of states, tables a position, and for masked samplers the patterns alone."""
    compared = 0
    for seed in range(300, 330):
        given = random_run(seed, masked)
        run = Run.of(Question(target=given.target, model=given.model, sampler=given.sampler, times=given.times), "test")
        if given.times is None:
            continue
        value = given.certify(KernelKL())
        with torch.no_grad():
            pairs = KernelKL()._exact(run)
            monkeypatch.setattr(steps, "PAIR_STATES", 0)
            tables = KernelKL()._exact(run)
            monkeypatch.undo()
        if math.isinf(pairs.terms["kl"]):
            assert value.value >= 1.0
            continue
        assert pairs.terms["kl"] == pytest.approx(value.terms["kl"], abs=1e-12)
        assert tables.terms["kl"] == pytest.approx(value.terms["kl"], abs=1e-12)
        compared += 1
    assert compared > 12


REVEALS = [(Euler(), "0"), (TauLeaping(), ".280107"), (TauLeaping("reject"), ".692069")]


@pytest.mark.parametrize(("sampler", "printed"), REVEALS, ids=str)
def test_printed_parts_of_the_long_chain(sampler, printed):
    """kl_tv.md (b): Potts, K = 4, J = 1, L = 32, linear schedule, 64 steps."""
    target = ddm.targets.PottsChain(num_states=4, length=32, coupling=1.0)
    process = ddm.ForwardProcess(Masked(4), Linear(), length=32)
    found = KernelKL()(target=target, model=target.denoiser(process), sampler=sampler, steps=64)
    assert found.terms["discretization"] == pytest.approx(0.0544779, abs=5e-8)
    assert found.terms["reveal_times"] == pytest.approx(float(printed), abs=5e-7)
    assert found.terms["kl"] == pytest.approx(sum(found.terms[key] for key in ("discretization", "reveal_times")))


@pytest.mark.parametrize(
    ("sampler", "printed"), [(Euler(), 0.303901), (TauLeaping(), 2.25708), (TauLeaping("reject"), 4.77515)]
)
def test_printed_parts_of_the_homogeneous_chain(sampler, printed):
    """T = 8: the printed reveal times start from p_T, ours from all masks: apart by about alpha(1) = 3e-4."""
    target = ddm.targets.PottsChain(num_states=4, length=32, coupling=1.0)
    process = ddm.ForwardProcess(Masked(4), Constant(total=8.0), length=32)
    found = KernelKL()(target=target, model=target.denoiser(process), sampler=sampler, steps=64)
    assert found.terms["discretization"] == pytest.approx(0.207622, abs=5e-7)
    assert found.terms["reveal_times"] == pytest.approx(printed, rel=1e-3)


def test_a_corrector_is_part_of_the_kernel():
    target = ddm.targets.Tabular(torch.from_numpy(oracles.hash_pmf(3, 2)))
    process = ddm.ForwardProcess(Uniform(3), Constant(total=3.0), length=2)
    model = WrongScore(target.denoiser(process), 0.2)
    pair_ = [TauLeaping(), GibbsCorrector()]
    times = [1.0, 0.5, 0.25, 0.1, 0.0]
    found = KernelKL()(target=target, model=model, sampler=pair_, times=times)
    tv = 0.5 * float((ddm.push(pair_, model, times=times).pmf - target.pmf).abs().sum())
    assert tv <= found.value < 1.0
    alone = KernelKL()(target=target, model=model, sampler=[TauLeaping()], times=times)
    assert alone == KernelKL()(target=target, model=model, sampler=TauLeaping(), times=times)
    assert alone.value != found.value


class Foreign(TokenLaw):
    """A product law that only knows its density."""

    def __init__(self, inner, space):
        self.inner, self.space = inner, space
        super().__init__(inner.batch_shape, inner.event_shape, validate_args=False)

    def log_prob(self, value):
        return self.inner.log_prob(value)

    def sample(self, sample_shape=()):
        return self.inner.sample(sample_shape)


class ForeignSampler(Sampler):
    def step(self, model, x, t, s):
        return Foreign(TauLeaping().step(model, x, t, s), model.process.space)


@pytest.mark.parametrize("rate", [Masked(2), Uniform(2)], ids=str)
def test_a_sampler_that_knows_densities_alone(rate, monkeypatch):
    target = ddm.targets.Tabular(torch.from_numpy(oracles.hash_pmf(2, 3)))
    process = ddm.ForwardProcess(rate, Constant(total=3.0), length=3)
    model = Tilted(target.denoiser(process), 0.3)
    given = {"target": target, "model": model, "times": [1.0, 0.6, 0.3, 0.1], "seed": 0}
    exact = KernelKL()(sampler=TauLeaping(), **given)
    assert KernelKL()(sampler=ForeignSampler(), **given).terms["kl"] == pytest.approx(exact.terms["kl"], abs=1e-12)
    for module in (kernel_kl, steps):
        monkeypatch.setattr(module, "PAIR_STATES", 0)
    drawn = KernelKL()(sampler=ForeignSampler(), **given, budget=40)
    assert drawn.estimate is not None
    whole = exact.terms["kl"] + exact.terms.get("start", 0.0)
    assert abs(drawn.terms["kl"] - whole) < 4.3 * drawn.terms["stderr"]


@pytest.mark.parametrize("rate", [Masked(2), Uniform(2)], ids=str)
def test_rates_frozen_in_time(rate):
    target = ddm.targets.Tabular(torch.from_numpy(oracles.hash_pmf(2, 3)))
    process = ddm.ForwardProcess(rate, Constant(total=2.0), length=3)
    model = Tilted(target.denoiser(process), 0.1)
    values = []
    for count in (4, 16):
        times = np.linspace(1.0, 0.05, count + 1).tolist()
        found = KernelKL()(target=target, model=model, sampler=Gillespie(), times=times)
        law = ddm.push(Gillespie(), model, times=times)
        tv = 0.5 * float((law.pmf - target.pmf).abs().sum())
        assert tv <= found.value
        values.append(found.terms["kl"])
    assert values[1] < values[0] < 1.0


@pytest.mark.parametrize("sampler", [Gillespie(), Uniformization()], ids=str)
def test_steps_without_a_density_are_refused(sampler, monkeypatch):
    target = ddm.targets.Tabular(torch.from_numpy(oracles.hash_pmf(2, 2)))
    process = ddm.ForwardProcess(Uniform(2), Constant(total=3.0), length=2)
    given = {"target": target, "model": target.denoiser(process), "sampler": sampler, "times": [1.0, 0.5, 0.1]}
    monkeypatch.setattr(steps, "PUSH_STATES", 0)
    with pytest.raises(NotApplicable, match="density"):
        KernelKL()(**given)
    for module in (kernel_kl, steps):
        monkeypatch.setattr(module, "PAIR_STATES", 0)
        monkeypatch.setattr(kernel_kl, "TABLE_STATES", 0)
    with pytest.raises(NotApplicable, match="density"):
        KernelKL()(**given, budget=1)


def test_what_bounds_are_asked():
    target = ddm.targets.Tabular(torch.from_numpy(oracles.hash_pmf(2, 2)))
    process = ddm.ForwardProcess(Masked(2), Linear(), length=2)
    model = target.denoiser(process)
    other = ddm.targets.Tabular(torch.from_numpy(oracles.hash_pmf(2, 3)))
    for bound in (KernelKL(), PlanKL()):
        with pytest.raises(NotApplicable, match="core/path-kl"):
            bound(target=target, model=model)
        with pytest.raises(ValueError, match="The target lives on"):
            bound(target=other, model=model, sampler=Ancestral(), steps=2)
        with pytest.raises(ValueError, match="steps="):
            bound(target=target, model=model, sampler=Ancestral())
