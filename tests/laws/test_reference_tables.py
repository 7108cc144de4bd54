"""push against every printed table that has a closed reference, to half a unit of the last printed digit.

Numbers: theory notes on samplers and KL/TV, section (b); the data law is the hash pmf on 3^4 sequences.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import oracles
import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.rates import Masked, Uniform
from ddm_pyro.samplers import Ancestral, Euler, FirstHitting, KUnmask, TauLeaping, Uniformization
from ddm_pyro.schedules import Constant, Cosine, Linear

HASH = torch.from_numpy(oracles.hash_pmf(3, 4))
TARGET = ddm.targets.Tabular(HASH)
SAMPLERS = {
    "tweedie": Ancestral(),
    "euler": Euler(),
    "tau": TauLeaping(),
    "reject": TauLeaping("reject"),
}
MASKED_TV = """
linear tweedie .0674864 .0350563 .0178525 .00900681 .00452349 .00226676 .00113463
linear euler .0674864 .0350563 .0178525 .00900681 .00452349 .00226676 .00113463
linear tau .0531312 .0307877 .0166818 .00869948 .00444466 .00224679 .00112960
linear reject .0605238 .0330468 .0172866 .00885254 .00448268 .00225620 .00113194
homogeneous tweedie .188162 .142227 .0858071 .0461326 .0237600 .0120379 .00605585
homogeneous euler .150064 .0942776 .0722187 .0462810 .0246801 .0124006 .00616317
homogeneous tau .158431 .104535 .0653570 .0386531 .0214576 .0113888 .00588258
"""
UNIFORM_TV = """
tweedie .173254 .119274 .0685280 .0361890 .0184233 .00925646
euler .193220 .136199 .0776081 .0405142 .0205019 .0102661
tau .188984 .140523 .0851426 .0461023 .0237587 .0120363
reject .190830 .147345 .0932548 .0520075 .0272358 .0138822
"""


def agrees(value, printed):
    """Whether a value rounds to the printed number."""
    exponent = Decimal(printed).as_tuple().exponent
    assert abs(value - float(printed)) <= 0.5000001 * 10.0**exponent, f"{value!r} is not {printed}"
    return True


def tv(p, q=None):
    q = HASH.reshape(-1) if q is None else q
    return 0.5 * float((p.pmf - q).abs().sum())


def kl(p, q=None):
    q = HASH.reshape(-1) if q is None else q
    return float((q * (q.log() - p.pmf.log())).sum())


def masked(schedule, target=TARGET, size=3, length=4):
    return target.denoiser(ddm.ForwardProcess(Masked(size), schedule, length=length))


def rows(table, first):
    out = []
    for line in table.strip().splitlines():
        names = [word for word in line.split() if word[0].isalpha()]
        values = [word for word in line.split() if not word[0].isalpha()]
        for k, value in enumerate(values):
            out.append((*names, first * 2**k, value))
    return out


@pytest.mark.parametrize(("schedule", "sampler", "steps", "printed"), rows(MASKED_TV, 4))
def test_masked_tv(schedule, sampler, steps, printed):
    model = masked(Linear() if schedule == "linear" else Constant(total=8.0))
    assert agrees(tv(ddm.push(SAMPLERS[sampler], model, steps=steps)), printed)


@pytest.mark.parametrize(
    ("steps", "printed"),
    [
        (4, ".0163417"),
        (8, ".00487293"),
        (16, ".00135491"),
        (32, "3.59921e-4"),
        (64, "9.29931e-5"),
        (128, "2.36529e-5"),
        (256, "5.96574e-6"),
    ],
)
def test_masked_kl_of_the_linear_tweedie_sampler(steps, printed):
    assert agrees(kl(ddm.push(Ancestral(), masked(Linear()), steps=steps)), printed)


@pytest.mark.parametrize(("sampler", "steps", "printed"), rows(UNIFORM_TV, 8))
def test_uniform_tv_from_p_t(sampler, steps, printed):
    process = ddm.ForwardProcess(Uniform(3), Constant(total=6.0), length=4)
    start = process.push(HASH.reshape(-1), 0.0, 1.0)
    assert agrees(tv(ddm.push(SAMPLERS[sampler], TARGET.denoiser(process), steps=steps, pmf=start)), printed)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_uniform_tv_from_the_stationary_law_agrees_to_the_printed_digits(sampler):
    process = ddm.ForwardProcess(Uniform(3), Constant(total=6.0), length=4)
    start = process.push(HASH.reshape(-1), 0.0, 1.0)
    both = [ddm.push(SAMPLERS[sampler], TARGET.denoiser(process), steps=16, pmf=pmf) for pmf in (None, start)]
    assert abs(tv(both[0]) - tv(both[1])) < 1e-6


def test_euler_does_not_clip_on_the_uniform_table():
    process = ddm.ForwardProcess(Uniform(3), Constant(total=6.0), length=4)
    plain = ddm.push(Euler("raise"), TARGET.denoiser(process), steps=8)
    assert torch.equal(plain.pmf, ddm.push(Euler(), TARGET.denoiser(process), steps=8).pmf)


@pytest.mark.parametrize(
    ("total", "printed"), [(1.0, "1.29335e-3"), (2.0, "9.80282e-5"), (4.0, "1.64176e-6"), (6.0, "3.00218e-8")]
)
def test_uniform_initialization_gap(total, printed):
    process = ddm.ForwardProcess(Uniform(3), Constant(total=total), length=4)
    p = process.push(HASH.reshape(-1), 0.0, 1.0)
    stationary = process.prior().log_prob(process.space.enumerate())
    assert agrees(float((p * (p.log() - stationary)).sum()), printed)


@pytest.mark.parametrize(("total", "printed"), [(1.0, "9.04741e-5"), (2.0, "1.56287e-6")])
def test_uniform_error_of_the_initialization_alone(total, printed):
    """The exact reverse process from the uniform law; below t = 1e-5 the posterior is as good as exact."""
    process = ddm.ForwardProcess(Uniform(3), Constant(total=total), length=4)
    law = ddm.push(Uniformization(early_stopping=1e-5), TARGET.denoiser(process), steps=1)
    # Early stopping at time eta costs a relative O(eta): a unit of the last digit is not promised here.
    np.testing.assert_allclose(kl(law), float(printed), rtol=2e-4)


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), Constant(total=40.0)], ids=str)
def test_first_hitting_has_no_error(schedule):
    assert tv(ddm.push(FirstHitting(), masked(schedule))) <= 1e-12


@pytest.mark.parametrize(
    ("refresh", "tv_printed", "kl_printed"),
    [(2, ".109748", ".0417167"), (3, ".0585701", ".0112578"), (4, ".204215", ".121061")],
)
def test_parallel_first_hitting(refresh, tv_printed, kl_printed):
    model = masked(Linear())
    sizes = [refresh] * (4 // refresh) + [4 % refresh] * (4 % refresh > 0)
    for sampler in (FirstHitting(refresh), KUnmask(sizes)):
        law = ddm.push(sampler, model)
        assert agrees(tv(law), tv_printed)
        assert agrees(kl(law), kl_printed)


def test_first_block_of_one():
    law = ddm.push(KUnmask((1, 3)), masked(Linear()))
    assert agrees(tv(law), ".187067")
    assert agrees(kl(law), ".102659")


class Mixed(ddm.Parameterization):
    """(1 - eps) p + eps / V at masked positions."""

    time_free = True

    def __init__(self, model, eps):
        super().__init__(model.process)
        self.model, self.eps = model, eps

    def x0_log_probs(self, x, t, *, at=None):
        exact = self.model.x0_log_probs(x, t)
        mixed = torch.log((1 - self.eps) * exact.exp() + self.eps / 3)
        mixed = torch.where(self.process.space.is_mask(x).unsqueeze(-1), mixed, exact)
        return mixed if at is None else mixed.flatten(0, -2)[at]


@pytest.mark.parametrize(
    ("eps", "tv_printed", "kl_printed"),
    [
        (0.01, ".00201591", "1.81822e-5"),
        (0.05, ".0100936", "4.38958e-4"),
        (0.1, ".0202223", "1.68953e-3"),
        (0.2, ".0405838", "6.33805e-3"),
    ],
)
def test_first_hitting_error_is_the_predictors_error(eps, tv_printed, kl_printed):
    law = ddm.push(FirstHitting(), Mixed(masked(Linear()), eps))
    assert agrees(tv(law), tv_printed)
    assert agrees(kl(law), kl_printed)
