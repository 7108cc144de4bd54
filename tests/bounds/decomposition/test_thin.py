"""The identity, end to end, against the exact law of the sampler."""

from __future__ import annotations

import pytest
import torch

import ddm_pyro as ddm


@pytest.mark.parametrize("rate", [ddm.rates.Masked(3), ddm.rates.Uniform(3)])
def test_parts_sum_to_the_error_of_the_pushed_law(rate) -> None:
    forward = ddm.ForwardProcess(rate, ddm.schedules.Linear(), length=3)
    target = ddm.targets.PottsChain(num_states=3, length=3, coupling=1.0)
    model = ddm.targets.PottsChain(num_states=3, length=3, coupling=0.5).denoiser(forward)
    f = torch.linspace(-1.0, 2.0, 27, dtype=torch.float64).square()
    found = ddm.bounds.decompose(target, model, f, sampler=ddm.samplers.Ancestral(), steps=3)
    law = ddm.push(ddm.samplers.Ancestral(), model, steps=3)
    assert found.total == pytest.approx(float((target.tabular().pmf - law.pmf) @ f), abs=1e-12)
    assert abs(found.residual) < 1e-12
