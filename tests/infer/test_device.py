"""Priors, sites and guides on tensors that claim to be on a GPU: one device throughout, and no wait for it."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from device_modes import fake_cuda
from pyro import poutine
from torch import nn

import ddm_pyro as ddm
from ddm_pyro import rates, samplers, schedules
from ddm_pyro.infer import DiffusionPrior, ReverseGuide, diffusion_sample, noised

VOCAB, LENGTH = 3, 4


class Table(nn.Module):
    def __init__(self, symbols, out, dtype):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(symbols, out, device="cuda", dtype=dtype))

    def forward(self, x, t):
        return self.table[x] + t[..., None, None]


def masked():
    return ddm.ForwardProcess(rates.Masked(VOCAB), schedules.Linear(), length=LENGTH)


def uniform():
    return ddm.ForwardProcess(rates.Uniform(VOCAB), schedules.Linear(), length=LENGTH)


WORLDS = {
    "first-hitting": (masked, samplers.FirstHitting(), None),
    "k-unmask": (masked, samplers.KUnmask((2, 2)), None),
    "ancestral": (masked, samplers.Ancestral(), 3),
    "euler": (masked, samplers.Euler(), 3),
    "uniform": (uniform, samplers.Ancestral(), 3),
}


# Where factories put tensors: on the device, or on the host (None) while the model is on the device.
DEFAULTS = ["cuda", None]


@pytest.fixture
def quiet():
    # Checks of values read them; turned off, nothing may.
    before = torch.distributions.Distribution._validate_args
    # Autograd asks a missing driver for its device.
    with pyro.validation_enabled(False), torch.no_grad():
        yield
    torch.distributions.Distribution.set_default_validate_args(before)


def model(name, dtype=torch.float32):
    make, sampler, steps = WORLDS[name]
    forward = make()
    return sampler, ddm.X0(Table(forward.space.num_symbols, VOCAB, dtype), forward), steps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("default", DEFAULTS)
@pytest.mark.parametrize("density", ["fixed", "pseudo", "bound"])
@pytest.mark.parametrize("name", WORLDS)
def test_draws_and_densities_stay_on_the_device(name, density, dtype, default, quiet) -> None:
    if (name, density) == ("uniform", "fixed"):
        density = "pseudo"
    with fake_cuda(default):
        prior = DiffusionPrior(*model(name, dtype)[:2], density, model(name)[2], num_samples=2).expand((2, 3))
        x = prior.sample()
        log_p = prior.log_prob(x)
        assert (x.device.type, x.shape) == ("cuda", (2, 3, LENGTH))
        assert (log_p.device.type, log_p.shape, log_p.dtype) == ("cuda", (2, 3), torch.float64)


@pytest.mark.parametrize("default", DEFAULTS)
@pytest.mark.parametrize("name", WORLDS)
def test_sites_stay_on_the_device(name, default, quiet) -> None:
    with fake_cuda(default):
        prior = DiffusionPrior(*model(name)[:2], "pseudo", model(name)[2])

        def program():
            with pyro.plate("rows", 5):
                return diffusion_sample("x", prior)

        trace = poutine.trace(program).get_trace()
        trace.compute_log_prob()
        sites = [site for site in trace.stochastic_nodes if site != "rows"]
        assert len(sites) >= 2
        for site in sites:
            assert trace.nodes[site]["value"].device.type == "cuda"
            assert trace.nodes[site]["log_prob"].shape == (5,)


@pytest.mark.parametrize("default", DEFAULTS)
@pytest.mark.parametrize("name", ["ancestral", "euler", "uniform"])
def test_guides_stay_on_the_device(name, default, quiet) -> None:
    with fake_cuda(default):
        pyro.clear_param_store()
        sampler, network, _ = model(name)

        def program():
            with pyro.plate("rows", 5):
                x = pyro.sample("x", dist.Categorical(torch.ones(LENGTH, VOCAB, device="cuda")).to_event(1))
                pyro.sample("y", dist.Normal(x.float(), 1.0).to_event(1), obs=torch.zeros(5, LENGTH, device="cuda"))

        noisy = noised(program, "x", network.process, [0.3, 0.6, 0.9])
        guide = ReverseGuide(sampler, network, noisy)
        guide_trace = poutine.trace(guide).get_trace()
        trace = poutine.trace(poutine.replay(noisy, trace=guide_trace)).get_trace()
        for one in (guide_trace, trace):
            one.compute_log_prob()
            assert one.nodes["x"]["log_prob"].device.type == "cuda"
            assert one.nodes["x@3"]["log_prob"].shape == (5,)
    pyro.clear_param_store()
