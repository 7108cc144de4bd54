"""Twisted SMC on tensors that claim to be on a GPU: one device, and the particles never wait for the host."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from device_modes import fake_cuda
from torch import nn

import ddm_pyro as ddm
from ddm_pyro import arrays
from ddm_pyro.infer import DiffusionPrior, TwistedSMC, diffusion_sample


class Table(nn.Module):
    """Logits from the token and the time."""

    def __init__(self, symbols, out):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(symbols, out, device="cuda"))

    def forward(self, x, t):
        return self.table[x] + t[..., None, None]


@pytest.fixture(autouse=True)
def keep_copies(monkeypatch):
    monkeypatch.setattr(arrays.OnDevice, "_keeps", staticmethod(lambda copy: True))


PROCESSES = {
    "masked": lambda: ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=4),
    "uniform": lambda: ddm.ForwardProcess(ddm.rates.Uniform(3), ddm.schedules.LogLinear(), length=4),
}


@pytest.mark.parametrize(("name", "default"), [("masked", "cuda"), ("masked", None), ("uniform", "cuda")])
@pytest.mark.parametrize("twist", ["candidates", "none"])
def test_particles_stay_on_the_device_of_the_model(name, default, twist):
    with fake_cuda(default), pyro.validation_enabled(False):
        process = PROCESSES[name]()
        model = ddm.X0(Table(process.space.num_symbols, 3), process)
        prior = DiffusionPrior(ddm.samplers.Ancestral(), model, density="pseudo", steps=3)
        noise = torch.ones(3, 3, device="cuda")
        y = torch.zeros(5, 4, dtype=torch.int64, device="cuda")

        def program(y):
            with pyro.plate("rows", 5):
                x = diffusion_sample("x", prior)
                pyro.sample("y", dist.Categorical(noise[x]).to_event(1), obs=y)

        posterior = TwistedSMC(program, 8, twist=twist, candidates=2).run(y)
        assert posterior.samples["x"].device.type == "cuda"
        assert posterior.samples["x"].shape == (8, 5, 4)
        assert posterior.log_evidence.device.type == "cuda"
        assert posterior.ess.shape == (5,)


def test_known_tokens_stay_on_the_device_of_the_model():
    with fake_cuda(None), pyro.validation_enabled(False):
        process = PROCESSES["masked"]()
        prior = DiffusionPrior(ddm.samplers.Ancestral(), ddm.X0(Table(4, 3), process), density="pseudo", steps=3)
        known = torch.zeros(4, dtype=torch.int64, device="cuda")
        posterior = TwistedSMC(lambda: diffusion_sample("x", prior), 8, twist="none", known={"x": known}).run()
        assert posterior.log_evidence.device.type == "cuda"
