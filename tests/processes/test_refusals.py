"""Bad tokens and times are refused in one sentence that quotes them."""

from __future__ import annotations

import math

import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.rates import Dense, KroneckerSum, Masked, Uniform
from ddm_pyro.schedules import Linear

MASKED = ddm.ForwardProcess(Masked(3), Linear(), length=2)
UNIFORM = ddm.ForwardProcess(Uniform(3), Linear(), length=2)
X = torch.tensor([0, 2])


def test_masks_are_no_data():
    for call in (lambda x: MASKED.marginal(x, 0.5), lambda x: MASKED.bridge(x, torch.tensor([3, 3]), 0.2, 0.5)):
        with pytest.raises(ValueError, match="mask id, which data must not hold"):
            call(torch.tensor([0, 3]))
    assert MASKED.transition(torch.tensor([0, 3]), 0.2, 0.5).log_prob(torch.tensor([3, 3])).isfinite()


@pytest.mark.parametrize("token", [-1, 3, 7])
def test_tokens_out_of_range(token):
    with pytest.raises(ValueError, match=rf"\[0, {token}\]"):
        UNIFORM.marginal(torch.tensor([0, token]), 0.5)
    with pytest.raises(ValueError, match=rf"\[0, {token}\]"):
        UNIFORM.transition(torch.tensor([0, token]), 0.2, 0.5)


@pytest.mark.parametrize("t", [-0.1, 1.1, math.nan, math.inf])
def test_times_outside_the_unit_interval(t):
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        MASKED.marginal(X, t)
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        MASKED.marginal(X.expand(3, 2), torch.tensor([0.2, t, 0.3]))


@pytest.mark.parametrize(("s", "t"), [(0.5, 0.5), (0.6, 0.5), (1.0, 1.0)])
def test_times_in_the_wrong_order(s, t):
    with pytest.raises(ValueError, match=f"s={s:g} must be smaller than t={t:g}"):
        MASKED.transition(X, s, t)
    with pytest.raises(ValueError, match="must be smaller"):
        MASKED.bridge(X, X, s, t)


def test_a_wrong_length():
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        UNIFORM.marginal(torch.tensor([0, 1, 2]), 0.5)


def test_unreachable_bridges():
    with pytest.raises(ValueError, match="cannot follow"):
        MASKED.bridge(X, torch.tensor([1, 3]), 0.2, 0.5)
    with pytest.raises(ValueError, match=r"token at \[1, 0\]"):
        MASKED.bridge(X, torch.tensor([[0, 2], [1, 2]]), 0.2, 0.5)
    climb = ddm.ForwardProcess(Dense([[-1.0, 1.0], [0.0, 0.0]]), Linear(), length=1)
    with pytest.raises(ValueError, match="cannot follow"):
        climb.bridge(torch.tensor([1]), torch.tensor([0]), 0.2, 0.5)
    with pytest.raises(ValueError, match="cannot follow"):
        UNIFORM.bridge(X, torch.tensor([1, 2]), 0.0, 0.0)


def test_validation_can_be_turned_off():
    law = MASKED.marginal(torch.tensor([0, 3]), 0.5, validate_args=False)
    assert law.log_prob(torch.tensor([0, 3])).isfinite()


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: ddm.ForwardProcess(Masked(3), Linear()), ValueError, "needs length="),
        (lambda: ddm.ForwardProcess(Masked(3), Linear(), length=0), ValueError, "length=0"),
        (lambda: ddm.ForwardProcess([Masked(3)] * 2, Linear(), length=3), ValueError, "disagrees with the 2 rates"),
        (lambda: ddm.ForwardProcess(Masked(3), "linear", length=2), TypeError, "must be a NoiseSchedule"),
        (lambda: ddm.ForwardProcess([Masked(3), 5], Linear()), TypeError, "needs a RateMatrix"),
    ],
)
def test_wrong_processes(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_the_ways_to_write_one_process():
    rate = Uniform(3)
    for written in ([rate, rate], KroneckerSum([rate, rate])):
        process = ddm.ForwardProcess(written, Linear())
        assert process.space == UNIFORM.space
        assert torch.equal(process.marginal(X, 0.3).log_prob(X), UNIFORM.marginal(X, 0.3).log_prob(X))


def test_reducible_chains_have_no_prior():
    still = ddm.ForwardProcess(Dense(torch.zeros(2, 2)), Linear(), length=1)
    with pytest.raises(ValueError, match="reducible"):
        still.prior()


def test_only_masked_processes_have_a_mask_probability():
    half = torch.tensor(0.25, dtype=torch.float64)
    assert float(MASKED.mask_probability(half)) == pytest.approx(0.25, rel=1e-14)
    assert float(MASKED.mask_decay(half)) == 1.0
    with pytest.raises(NotImplementedError, match="not a masked process"):
        UNIFORM.mask_probability(half)
