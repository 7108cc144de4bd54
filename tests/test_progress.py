"""The bar: on a terminal only, and nothing is read off a device for nobody."""

from __future__ import annotations

import io
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.infer import SplitGibbs, TwistedSMC, diffusion_sample, fit_density
from ddm_pyro.progress import progress_bar

FORWARD = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), length=3)
TARGET = ddm.targets.PottsChain(num_states=2, length=3, coupling=1.0)
MODEL = TARGET.denoiser(FORWARD)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Unread:
    def __float__(self):
        raise AssertionError("read for nobody")


def program():
    x = diffusion_sample("x", MODEL)
    pyro.sample("y", dist.Bernoulli(0.2 + 0.6 * x).to_event(1), obs=torch.ones(3))


RUNS = {
    "twisted SMC": lambda **options: TwistedSMC(program, 8, **options).run(),
    "split Gibbs": lambda **options: SplitGibbs(program, 0.5, num_chains=2, **options).run(sweeps=3),
    "fitting": lambda **options: fit_density(TARGET.log_prob, TARGET.space, steps=3, num_particles=4, **options),
}


@pytest.mark.parametrize("what", RUNS)
def test_a_terminal_sees_what_takes_long(what, monkeypatch):
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    RUNS[what](progress=False)
    assert shown.getvalue() == ""
    RUNS[what]()
    assert what in shown.getvalue()
    assert "3/3" in shown.getvalue()


def test_nobody_watches():
    with progress_bar(True, 3) as report:
        assert report(1, Unread()) is None


def test_a_function_of_the_callers():
    seen = []
    with progress_bar(lambda done, value: seen.append((done, value)), 3) as report:
        report(2, torch.tensor(0.5))
    assert seen == [(2, 0.5)]
