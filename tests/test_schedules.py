"""The five schedules and user-made ones: closed forms in numpy, derivatives by finite differences, inverses, ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ddm_pyro.schedules import Constant, Cosine, Geometric, Linear, LogLinear, NoiseSchedule


class OnlyAlpha(NoiseSchedule):
    """alpha = (1 - t)^2."""

    def alpha(self, t):
        return (1.0 - t) ** 2


class OnlySigma(NoiseSchedule):
    """sigma = 2 t + t^3."""

    def sigma(self, t):
        return 2.0 * t + t**3


#: schedule -> alpha in plain Python.
CASES = [
    (Linear(), lambda t: 1 - t),
    (LogLinear(), lambda t: 1 - 0.999 * t),
    (LogLinear(eps=0.2), lambda t: 1 - 0.8 * t),
    (Cosine(), lambda t: 1 - math.cos(math.pi / 2 * (1 - t))),
    (Geometric(), lambda t: math.exp(1e-4 - 1e-4 ** (1 - t) * 20.0**t)),
    (Geometric(smin=0.3, smax=2.0), lambda t: math.exp(0.3 - 0.3 ** (1 - t) * 2.0**t)),
    (Constant(), lambda t: math.exp(-8 * t)),
    (Constant(total=0.7), lambda t: math.exp(-0.7 * t)),
    (OnlyAlpha(), lambda t: (1 - t) ** 2),
    (OnlySigma(), lambda t: math.exp(-2 * t - t**3)),
]
EACH = pytest.mark.parametrize(("schedule", "alpha"), CASES, ids=lambda value: type(value).__name__)
TIMES = torch.tensor([1e-9, 1e-4, 0.01, 0.2, 0.5, 0.77, 0.99, 1 - 1e-6], dtype=torch.float64)


@EACH
def test_alpha_and_sigma_are_the_formula(schedule, alpha):
    expected = np.array([alpha(float(t)) for t in TIMES])
    np.testing.assert_allclose(schedule.alpha(TIMES).numpy(), expected, rtol=1e-8, atol=1e-15)
    # 1 - cos loses digits near t = 1, in this formula, not in the code.
    np.testing.assert_allclose(schedule.sigma(TIMES[2:]).numpy(), -np.log(expected[2:]), rtol=1e-6)


@EACH
def test_decay_and_rate_are_derivatives(schedule, alpha):
    for t in (0.05, 0.4, 0.93):
        h = 1e-5
        slope = (alpha(t - h) - alpha(t + h)) / (2 * h)
        time = torch.tensor(t, dtype=torch.float64)
        assert math.isclose(schedule.decay(time).item(), slope, rel_tol=1e-6)
        assert math.isclose(schedule.rate(time).item(), slope / alpha(t), rel_tol=1e-6)


@EACH
def test_inverse_undoes_alpha(schedule, alpha):
    inner = TIMES[2:-1]
    np.testing.assert_allclose(schedule.inverse(schedule.alpha(inner)).numpy(), inner.numpy(), atol=1e-9)


@EACH
def test_values_that_alpha_never_takes_go_to_the_nearer_end(schedule, alpha):
    found = schedule.inverse(torch.tensor([2.0, 1.0, alpha(1.0), -0.5], dtype=torch.float64))
    np.testing.assert_allclose(found.numpy(), [0.0, 0.0, 1.0, 1.0], atol=1e-7)


@EACH
def test_there_is_no_noise_at_time_zero(schedule, alpha):
    zero = torch.zeros((), dtype=torch.float64)
    assert schedule.alpha(zero).item() == 1.0
    assert schedule.sigma(zero).item() == 0.0


@EACH
def test_ends_at_time_one(schedule, alpha):
    one = torch.ones((), dtype=torch.float64)
    np.testing.assert_allclose(schedule.alpha(one).item(), alpha(1.0), rtol=1e-12, atol=1e-300)
    if alpha(1.0) <= 1e-300:
        assert schedule.sigma(one).item() == math.inf
    assert math.isfinite(schedule.decay(one).item())


@pytest.mark.parametrize("schedule", [Linear(), Cosine()], ids=str)
def test_the_rate_is_infinite_where_nothing_survives(schedule):
    assert schedule.rate(torch.ones((), dtype=torch.float64)).item() == math.inf


@EACH
def test_float64_of_any_shape(schedule, alpha):
    for shape in ((), (1,), (2, 3)):
        times = torch.full(shape, 0.25)
        for method in (schedule.alpha, schedule.sigma, schedule.rate, schedule.decay, schedule.inverse):
            assert method(times.expand(shape)).shape == shape
            assert method(times.double()).dtype == torch.float64


@pytest.mark.parametrize("schedule", [case[0] for case in CASES[:8]], ids=str)
def test_float32_times_are_read_in_float64(schedule):
    assert schedule.alpha(torch.tensor(0.25)).dtype == torch.float64
    assert torch.equal(schedule.sigma(torch.tensor(0.25)), schedule.sigma(torch.tensor(0.25, dtype=torch.float64)))


def test_small_noise_keeps_its_digits():
    t = torch.tensor(1e-13, dtype=torch.float64)
    assert math.isclose(Linear().sigma(t).item(), 1e-13, rel_tol=1e-12)
    assert math.isclose(Cosine().sigma(t).item(), math.pi / 2 * 1e-13, rel_tol=1e-12)
    assert math.isclose(Geometric().sigma(t).item(), 1e-4 * math.log(2e5) * 1e-13, rel_tol=1e-11)


def test_a_schedule_defines_alpha_or_sigma():
    class Neither(NoiseSchedule):
        pass

    with pytest.raises(NotImplementedError, match="alpha"):
        Neither().alpha(torch.tensor(0.5))
    with pytest.raises(NotImplementedError, match="sigma"):
        Neither().sigma(torch.tensor(0.5))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: LogLinear(eps=0.0), "eps=0.0"),
        (lambda: LogLinear(eps=1.0), "eps=1.0"),
        (lambda: LogLinear(eps=float("nan")), "eps=nan"),
        (lambda: Geometric(smin=0.0), "smin=0.0"),
        (lambda: Geometric(smin=3.0, smax=2.0), "smax=2.0"),
        (lambda: Geometric(smax=math.inf), "smax=inf"),
        (lambda: Constant(total=0.0), "total=0.0"),
        (lambda: Constant(total=math.inf), "total=inf"),
    ],
)
def test_wrong_parameters_are_quoted(make, match):
    with pytest.raises(ValueError, match=match):
        make()
