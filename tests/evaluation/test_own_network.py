"""A head whose output is no table over symbols builds the network that an evaluation trains."""

from __future__ import annotations

import ddm_pyro as ddm

SOURCE = """
import torch
import ddm_pyro as ddm
from ddm_pyro.plugins import ParameterizationSpec, hookimpl

@hookimpl
def register_parameterizations(register):
    register(ParameterizationSpec("own", factory="ddm_own_plugin:Own"))

class Own(ddm.MaskPredictor):
    @classmethod
    def network_for(cls, process, kind, width):
        if (kind, width) != ("mlp", 7):
            raise ValueError(f"kind={kind!r}, width={width!r}")
        return Flat(process.space.length, process.space.vocab_size)

class Flat(torch.nn.Module):
    def __init__(self, length, size):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.zeros(length, size))

    def forward(self, x, t):
        return self.logits.expand(*x.shape, -1)
"""


def test_the_network_is_the_heads_own(install, trained) -> None:
    registry = install(SOURCE, "own")
    plan = trained(parameterization="own/own", network={"kind": "mlp", "width": 7})
    (row,) = ddm.evaluate(plan, registry=registry).rows
    assert row["status"] == "ok", row["reason"]
    assert row["network"] == {"kind": "mlp", "width": 7}
    other = trained(parameterization="own/own", network={"kind": "mlp", "width": 8})
    (row,) = ddm.evaluate(other, registry=registry).rows
    assert row["status"] == "error"
    assert "width=8" in row["reason"]
