"""Integrals with known values, smooth and singular."""

from __future__ import annotations

import math

import pytest
import torch

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
