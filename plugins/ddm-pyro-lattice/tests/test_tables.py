"""The reference values of the theory note for walks on Z_m^2 and immigration-death, to the last printed digit."""

from __future__ import annotations

from decimal import Decimal

import pytest
import torch
from ddm_pyro_lattice.bounds import PathKL
from ddm_pyro_lattice.leap import Leap
from ddm_pyro_lattice.rates import CyclicWalk, ImmigrationDeath
from ddm_pyro_lattice.scores import Boxed
from ddm_pyro_lattice.targets import PoissonMixture, TwoModes

import ddm_pyro as ddm
from ddm_pyro.samplers import Gillespie

SLOW = pytest.mark.slow


def agrees(value: float, printed: str) -> bool:
    """Whether a value rounds to what was printed."""
    half = Decimal(1).scaleb(Decimal(printed).as_tuple().exponent) / 2
    return abs(Decimal(value) - Decimal(printed)) <= half * (1 + Decimal("1e-6"))


def kl_tv(p, q):
    return float((p * (p / q).log()).sum()), float((p - q).abs().sum() / 2)


def torus():
    target = TwoModes()
    process = ddm.ForwardProcess(CyclicWalk(10), ddm.schedules.Constant(total=30.0), 2)
    return target, process, target.denoiser(process)


def test_the_kernel():
    printed = ["0.46575961", "0.20791042", "0.04993881", "0.00815590", "0.00101520", "0.00019973"]
    found = CyclicWalk(10).displacement(torch.tensor(1.0, dtype=torch.float64))
    assert all(agrees(float(found[k]), one) for k, one in enumerate(printed))


def test_dissipation_of_the_two_modes():
    target, process, exact = torus()
    for time, printed in ((0.0, "0.685247"), (1.0, "0.270775"), (5.0, "0.0134394")):
        assert agrees(PathKL.dissipation(process, exact, target.pmf, time / 30) / 30, printed)
    assert agrees(kl_tv(target.pmf, torch.full((100,), 0.01, dtype=torch.float64))[0], "0.787351")


@pytest.mark.parametrize(
    ("sampler", "steps", "kl", "tv"),
    [
        (Leap(), 8, "0.558026", "0.457914"),
        (Leap(), 16, "0.283495", "0.338196"),
        (Leap(), 32, "0.104988", "0.204854"),
        (Leap(), 64, "0.0316707", "0.108828"),
        pytest.param(Leap(), 128, "0.00861221", "0.0549123", marks=SLOW),
        pytest.param(Leap(), 256, "0.00223828", "0.0273911", marks=SLOW),
        (Gillespie(), 8, "0.337572", "0.367333"),
        (Gillespie(), 16, "0.132281", "0.231571"),
        (Gillespie(), 32, "0.0432918", "0.129062"),
        (Gillespie(), 64, "0.0124576", "0.0671264"),
        pytest.param(Gillespie(), 128, "0.0033143", "0.0338757", marks=SLOW),
        pytest.param(Gillespie(), 256, "0.000850036", "0.0169413", marks=SLOW),
    ],
    ids=str,
)
def test_two_modes_on_the_torus(sampler, steps, kl, tv):
    target, process, exact = torus()
    law = ddm.push(sampler, exact, steps=steps, pmf=process.push(target.pmf, 0.0, 1.0), final_denoise=False)
    found = kl_tv(target.pmf, law.pmf)
    assert agrees(found[0], kl)
    assert agrees(found[1], tv)


@pytest.mark.parametrize(
    ("steps", "path", "bound"),
    [
        (8, "0.653509", "2.56968"),
        (16, "0.450823", "1.28484"),
        (32, "0.268034", "0.642419"),
        (64, "0.146701", "0.321209"),
        pytest.param(128, "0.0767735", "0.160605", marks=SLOW),
        pytest.param(256, "0.0392651", "0.0803024", marks=SLOW),
    ],
)
def test_path_kl_of_the_leap(steps, path, bound):
    target, _, exact = torus()
    terms = PathKL()(target=target, model=exact, sampler=Leap(), steps=steps).terms
    assert agrees(terms["discretization"], path)
    assert agrees(terms["discretization_bound"], bound)
    assert terms["score"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("sampler", "steps", "kl", "tv"),
    [
        (Gillespie(), 8, "0.679004", "0.455851"),
        (Gillespie(), 16, "0.221722", "0.267318"),
        (Gillespie(), 32, "0.0653265", "0.142800"),
        (Gillespie(), 64, "0.0177221", "0.0721820"),
        (Gillespie(), 128, "0.00459108", "0.0359465"),
        pytest.param(Gillespie(), 256, "0.00116511", "0.0178812", marks=SLOW),
        (Leap(), 8, "0.491385", None),
        (Leap(), 16, "0.193767", None),
        (Leap(), 32, "0.0636264", None),
        (Leap(), 64, "0.0186665", None),
        (Leap(), 128, "0.00509923", None),
        pytest.param(Leap(), 256, "0.00133536", None, marks=SLOW),
    ],
    ids=str,
)
def test_poisson_mixture_under_immigration_death(sampler, steps, kl, tv):
    target = PoissonMixture([0.5, 0.5], [1.0, 12.0])
    process = ddm.ForwardProcess(ImmigrationDeath(birth=5.0, death=1.0), ddm.schedules.Constant(total=8.0), 1)
    model = Boxed(target.denoiser(process), 60)
    start = target.after(process, 1.0).box(60)
    law = ddm.push(sampler, model, steps=steps, pmf=start.pmf, final_denoise=False)
    found = kl_tv(target.box(60).pmf, law.pmf)
    assert agrees(found[0], kl)
    assert tv is None or agrees(found[1], tv)


def geometric(total, early, steps):
    """Times of [0, 1] that fall geometrically from 1 to early / total."""
    times = (early / total) ** (torch.arange(steps + 1, dtype=torch.float64) / steps)
    times[0] = 1.0
    return times


@pytest.mark.parametrize(
    ("steps", "kl", "uniform"),
    [(16, "0.0475465", "1.52605"), (32, "0.0113352", "1.12687"), (64, "0.00269578", "0.724429")],
)
def test_the_diagonal_of_the_torus_stopped_early(steps, kl, uniform):
    target = ddm.targets.Tabular(torch.eye(10, dtype=torch.float64) / 10)
    process = ddm.ForwardProcess(CyclicWalk(10), ddm.schedules.Constant(total=30.0), 2)
    start, end = process.push(target.pmf, 0.0, 1.0), process.push(target.pmf, 0.0, 0.01 / 30)
    assert agrees(float((target.pmf - end).abs().sum() / 2), "0.0197033")
    for times, printed in (
        (geometric(30.0, 0.01, steps), kl),
        (torch.linspace(1.0, 0.01 / 30, steps + 1, dtype=torch.float64), uniform),
    ):
        law = ddm.push(Leap(), target.denoiser(process), times=times, pmf=start, final_denoise=False)
        assert agrees(kl_tv(end, law.pmf)[0], printed)


@pytest.mark.parametrize(
    ("steps", "kl", "path"),
    [
        (8, "0.110338", "0.118120"),
        (16, "0.0751002", "0.0954371"),
        (32, "0.0353955", "0.0634935"),
        (64, "0.0125984", "0.0367815"),
        (128, "0.00377962", "0.0197736"),
    ],
)
def test_the_hypercube(steps, kl, path):
    weight = 1 + ((7919 * torch.arange(16) + 104729) % 101).double() / 10
    target = ddm.targets.Tabular((weight / weight.sum()).reshape(2, 2, 2, 2))
    process = ddm.ForwardProcess(CyclicWalk(2), ddm.schedules.Constant(total=4.0), 4)
    exact, start = target.denoiser(process), process.push(target.pmf, 0.0, 1.0)
    law = ddm.push(Leap(), exact, steps=steps, pmf=start)
    assert agrees(kl_tv(target.pmf, law.pmf)[0], kl)
    assert agrees(PathKL()(target=target, model=exact, sampler=Leap(), steps=steps).terms["discretization"], path)


@pytest.mark.parametrize(
    ("steps", "kl", "tv"),
    [
        (16, "0.00377441", "0.0431833"),
        (64, "0.000238672", "0.0188369"),
        pytest.param(256, "0.000014926", "0.0136940", marks=SLOW),
    ],
)
def test_uniform_counts_stopped_early(steps, kl, tv):
    pmf = torch.zeros(61, dtype=torch.float64)
    pmf[:10] = 0.1
    target = ddm.targets.Tabular(pmf)
    rate = ImmigrationDeath(birth=5.0, death=1.0, vocab_size=61)
    process = ddm.ForwardProcess(rate, ddm.schedules.Constant(total=8.0), 1)
    start, end = process.push(pmf, 0.0, 1.0), process.push(pmf, 0.0, 0.01 / 8)
    assert agrees(float((pmf - end).abs().sum() / 2), "0.0120577")
    times = geometric(8.0, 0.01, steps)
    law = ddm.push(Gillespie(), target.denoiser(process), times=times, pmf=start, final_denoise=False)
    assert agrees(float(torch.special.xlogy(end, end / law.pmf).nansum()), kl)
    assert agrees(float((pmf - law.pmf).abs().sum() / 2), tv)
