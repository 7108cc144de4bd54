"""Integrals with known values, smooth and singular."""

from __future__ import annotations

import math

import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.bounds.quadrature import integrate


def test_known_integrals() -> None:
    value, error = integrate(
        lambda t: torch.stack([t**13, torch.exp(-t), 1 / (1 + 100 * t * t), t.sqrt()], -1), [0.0, 0.5, 1.0]
    )
    expected = [1 / 14, 1 - math.exp(-1), math.atan(10) / 10, 2 / 3]
    for v, e, truth in zip(value.tolist(), error.tolist(), expected, strict=True):
        assert v == pytest.approx(truth, abs=1e-8)
        assert abs(v - truth) <= e + 1e-12


def test_an_infinite_value_is_an_infinite_integral() -> None:
    value, error = integrate(lambda t: torch.where(t > 0.5, math.inf, t).unsqueeze(-1), [0.0, 1.0], cuts=0)
    assert (value.item(), error.item()) == (math.inf, 0.0)


def test_panels_are_halved_where_it_matters() -> None:
    calls = []

    def f(t):
        calls.append(len(t))
        return (1.0 / (1e-4 + (t - 0.3) ** 2)).unsqueeze(-1)

    value, _ = integrate(f, [0.0, 1.0])
    assert value.item() == pytest.approx((math.atan(70.0) + math.atan(30.0)) * 100, rel=1e-9)
    assert len(calls) > 3
    assert calls[0] == 15


@pytest.mark.parametrize("schedule", ["linear", "log-linear", "cosine"])
@pytest.mark.parametrize(("start", "end"), [(0.36, 0.38), (0.901, 0.911)])
def test_a_short_lapse_of_a_model_is_not_missed(schedule, start, end) -> None:
    """One token, revealed at a time with law q(t) / q(1): wrong only in a window, TV is the window's share of it."""
    target = ddm.targets.Tabular(torch.tensor([0.25, 0.75]))
    forward = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.create("schedules", f"core/{schedule}"), length=1)

    class Lapse(ddm.Parameterization):
        def x0_log_probs(self, x, t, *, at=None):
            t = torch.as_tensor(t, dtype=torch.float64).expand(x.shape[:-1])
            first = torch.where((t > start) & (t < end), 0.75, 0.25)
            table = torch.stack([first, 1 - first], -1).unsqueeze(-2)
            seen = torch.nn.functional.one_hot(x.clamp(max=1), 2).double()
            table = torch.where((x == 2).unsqueeze(-1), table, seen).log()
            return table if at is None else table.flatten(0, -2)[at]

    q = forward.mask_probability(torch.tensor([start, end, 1.0], dtype=torch.float64))
    share = float((q[1] - q[0]) / q[2])
    found = ddm.bounds.Row()(target=target, model=Lapse(forward))
    assert found.value >= 0.5 * share * (1 - 1e-6)
    assert found.value == pytest.approx(0.5 * share, rel=0.05)
