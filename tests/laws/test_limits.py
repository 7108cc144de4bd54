"""Limits: N x TV in the dimension, early stopping, first order of frozen rates (theory notes, section (b))."""

from __future__ import annotations

import itertools
import math

import numpy as np
import oracles
import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.rates import Masked, Uniform
from ddm_pyro.samplers import Euler, Gillespie
from ddm_pyro.schedules import Constant, Linear

HASH = torch.from_numpy(oracles.hash_pmf(3, 4))
TARGET = ddm.targets.Tabular(HASH)


def tv(p, q):
    return 0.5 * float((p.pmf - q.reshape(-1)).abs().sum())


def binary_laws(d):
    """All equal; parity (even sum); paired copies: uniform on each support."""
    x = oracles.sequences((2,) * d)
    equal = (x == x[:, :1]).all(1)
    even = x.sum(1) % 2 == 0
    pairs = (x[:, 0::2] == x[:, 1::2]).all(1)
    return {"all-equal": equal, "parity": even, "paired": pairs}


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        pytest.param("all-equal", "2.000", marks=pytest.mark.slow),
        pytest.param("parity", "1.995", marks=pytest.mark.slow),
        pytest.param("paired", "1.997", marks=pytest.mark.slow),
    ],
)
def test_scaled_tv_in_eight_dimensions(name, printed):
    assert abs(512 * binary_error(name, 8, 512) - float(printed)) <= 0.0005


@pytest.mark.parametrize("name", ["all-equal", "parity", "paired"])
@pytest.mark.parametrize("d", [2, 4])
def test_scaled_tv_tends_to_a_quarter_of_the_dimension(name, d):
    errors = [n * binary_error(name, d, n) for n in (64, 128)]
    extrapolated = 2 * errors[1] - errors[0]
    assert abs(extrapolated - d / 4) < 2e-3


class Remembered(ddm.Parameterization):
    """A time-free model asked once for every set of contexts: the grid of 512 steps repeats them."""

    time_free = True

    def __init__(self, model):
        super().__init__(model.process)
        self.model, self.known = model, {}

    def x0_log_probs(self, x, t, *, at=None):
        key = x.numpy().tobytes()
        if key not in self.known:
            self.known[key] = self.model.x0_log_probs(x, t)
        return self.known[key] if at is None else self.known[key].flatten(0, -2)[at]


def binary_error(name, d, steps):
    pmf = torch.from_numpy(oracles.normalized(binary_laws(d)[name]))
    target = ddm.targets.Tabular(pmf.reshape((2,) * d))
    law = ddm.push(Euler(), Remembered(target.denoiser(ddm.ForwardProcess(Masked(2), Linear(), length=d))), steps=steps)
    return tv(law, pmf)


def test_early_stopping_costs_at_most_the_chance_of_a_mask():
    process = ddm.ForwardProcess(Masked(3), Constant(total=1.0), length=4)
    for eta in (0.5, 0.05):
        p = process.push(torch.from_numpy(np.pad(HASH.numpy(), [(0, 1)] * 4)).reshape(-1), 0.0, eta)
        lost = 1 - float(p.reshape((4,) * 4)[:3, :3, :3, :3].sum())
        assert math.isclose(lost, 1 - math.exp(-4 * eta), rel_tol=1e-12)


def test_frozen_rates_converge_at_first_order():
    process = ddm.ForwardProcess(Uniform(3), Constant(total=6.0), length=4)
    errors = [tv(ddm.push(Gillespie(), TARGET.denoiser(process), steps=n), HASH) for n in (32, 64)]
    assert all(a > b for a, b in itertools.pairwise(errors))
    assert 0.4 < errors[1] / errors[0] < 0.6
