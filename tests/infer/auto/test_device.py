"""The guides on tensors that claim to be on a GPU: one device throughout, and no wait for it."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from device_modes import fake_cuda
from torch import nn

from ddm_pyro.infer import AutoDiscreteDiffusion, TokenMLP
from ddm_pyro.infer.auto.any_order import AnyOrder
from ddm_pyro.infer.auto.density import _particles
from ddm_pyro.infer.auto.objectives import surrogate_loss
from ddm_pyro.infer.auto.uniform_chain import UniformChain
from ddm_pyro.spaces import StateSpace

SPACE = StateSpace((2, 3, 2), 3)


class Table(nn.Module):
    """Logits by token; random initialisation would ask a missing driver."""

    def __init__(self, space, dtype=None):
        super().__init__()
        self.start = nn.Parameter(torch.zeros(space.vocab_size + 1, space.vocab_size, device="cuda", dtype=dtype))

    def forward(self, x, t):
        return self.start[x] + t[..., None, None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("objective", ["rloo", "rws", "wdce"])
@pytest.mark.parametrize("make", [AnyOrder, lambda s, n: UniformChain(s, n, 3)], ids=["masked", "uniform"])
def test_objectives_stay_on_the_device(make, objective, dtype) -> None:
    with fake_cuda(), torch.no_grad():  # gradients would ask a missing driver
        family = make(SPACE, Table(SPACE, dtype))
        drawn = _particles(lambda x: x.double().sum(-1), family, 4, objective, 1.0)
        loss = surrogate_loss(drawn, objective)
        assert (loss.device.type, loss.dtype) == ("cuda", torch.float64)


@pytest.mark.parametrize("family", ["masked", "uniform"])
def test_a_guide_stays_on_the_device(family) -> None:
    def model():
        with pyro.plate("sites", 3, dim=-1):
            x = pyro.sample("x", dist.Bernoulli(torch.full((3,), 0.3)))
        k = pyro.sample("k", dist.Categorical(torch.ones(3)))
        pyro.factor("pairs", (x.sum(-1, keepdim=True) * k))

    pyro.clear_param_store()
    with pyro.validation_enabled(False), fake_cuda(), torch.no_grad():
        guide = AutoDiscreteDiffusion(model, Table, family=family)
        found = guide()
        assert {value.device.type for value in found.values()} == {"cuda"}
        loss = guide.elbo(8, vectorize_particles=True).differentiable_loss(model, guide)
        assert loss.device.type == "cuda"
    pyro.clear_param_store()


def test_the_default_network_stays_on_the_device() -> None:
    with fake_cuda(), torch.no_grad():
        with torch.device("meta"):
            network = TokenMLP(SPACE, width=8, timed=True)
        for module in network.modules():
            for values in (module._parameters, module._buffers):
                values.update({name: torch.zeros(value.shape, device="cuda") for name, value in values.items()})
        family = AnyOrder(SPACE, network)
        log_q = family.log_density(family.sample(4))
        assert (log_q.device.type, log_q.shape, log_q.dtype) == ("cuda", (4,), torch.float64)
