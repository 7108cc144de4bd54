"""The learned reverse kernel against dense integration, and its certificate for samplers in steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bound_worlds import Perturbed, continuous_law, lognormal, on_states, tv

import ddm_pyro as ddm
from ddm_pyro.bounds import Best, KernelTV, NotApplicable
from ddm_pyro.bounds.case import Case
from ddm_pyro.bounds.kernel_tv import learned_kernel

SCHEDULES = [ddm.schedules.LogLinear(), ddm.schedules.Constant(total=1.5), ddm.schedules.Geometric(smin=1e-2, smax=4.0)]


def world(schedule, size=3, length=2, error=0.5, zeros=0.0):
    target = ddm.targets.RandomTabular(num_states=size, length=length, seed=8, zeros=zeros)
    forward = ddm.ForwardProcess(ddm.rates.Uniform(size), schedule, length)
    exact = target.denoiser(forward)
    return target, Perturbed(exact, lognormal(forward.space, error, seed=3)) if error else exact


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("zeros", [0.0, 0.4])
def test_the_kernel_carries_the_prior_to_the_law(schedule, zeros) -> None:
    _, model = world(schedule, zeros=zeros)
    kernel, error = learned_kernel(Case(None, model))
    prior = np.full(9, 1 / 9)
    assert tv(prior @ kernel.numpy(), continuous_law(model)) < 1e-7
    assert torch.allclose(kernel.sum(-1), torch.ones(9, dtype=torch.float64), atol=1e-9)
    assert error < 1e-7


@pytest.mark.parametrize("zeros", [0.0, 0.4])
def test_the_exact_model_has_the_exact_kernel(zeros) -> None:
    target, model = world(SCHEDULES[1], error=0.0, zeros=zeros)
    certificate = KernelTV()(target=target, model=model)
    start = tv(np.full(9, 1 / 9), model.process.push(target.pmf, 0.0, 1.0))
    assert certificate.terms["score"] < 1e-7
    assert certificate.value <= start + 1e-7


def test_positions_of_different_sizes_keep_their_order() -> None:
    """The exact model of a law on 2 x 3 tokens has the exact kernel, and its certificate is the start's mismatch."""
    target = ddm.targets.random_tabular((2, 3), seed=4)
    rates = [ddm.rates.Uniform(2), ddm.rates.RankOne(torch.tensor([0.2, 0.3, 0.5]))]
    process = ddm.ForwardProcess(rates, ddm.schedules.Constant(total=1.0))
    certificate = KernelTV()(target=target, model=target.denoiser(process))
    assert certificate.terms["score"] < 1e-7


@pytest.mark.parametrize("name", ["ancestral", "euler", "tau-leaping"])
@pytest.mark.parametrize("times", [None, [1.0, 0.6, 0.3, 0.1], [0.9, 0.5, 0.05]])
def test_steps_with_their_final_denoising(name, times) -> None:
    """The model is the exact one of another law: wrong, with an x0 head."""
    target, model = world(SCHEDULES[0], error=0.0)
    model = ddm.targets.RandomTabular(num_states=3, length=2, seed=9).denoiser(model.process)
    sampler = ddm.create("samplers", f"core/{name}")
    given = {"steps": 6} if times is None else {"times": times}
    law = ddm.push(sampler, model, **given)
    certificate = KernelTV()(target=target, model=model, sampler=sampler, **given)
    truth = tv(law.pmf, target.pmf)
    assert truth - 1e-12 <= certificate.value <= 6 * truth
    assert Best()(target=target, model=model, sampler=sampler, **given).value <= certificate.value


def test_a_predictor_with_its_corrector() -> None:
    target, model = world(SCHEDULES[0], error=0.0)
    pair = [ddm.samplers.Ancestral(), ddm.samplers.GibbsCorrector()]
    law = ddm.push(pair, model, steps=4)
    certificate = KernelTV()(target=target, model=model, sampler=pair, steps=4)
    assert tv(law.pmf, on_states(target, model.process)) <= certificate.value + 1e-12 < 0.5


def test_what_is_refused() -> None:
    target, model = world(SCHEDULES[0], size=3, length=6)
    with pytest.raises(NotApplicable, match="at most 256"):
        KernelTV()(target=target, model=model)
    small = ddm.targets.RandomTabular(num_states=2, length=2, seed=1)
    masked = small.denoiser(ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), 2))
    with pytest.raises(NotApplicable, match="without masks"):
        KernelTV()(target=small, model=masked)


def test_slow_rates_end_where_they_end() -> None:
    from ddm_pyro.bounds.kernel_tv import _ended

    generator = torch.tensor([[-1e-4, 1e-4], [3e-4, -3e-4]], dtype=torch.float64)
    assert torch.allclose(_ended(generator), torch.tensor([0.75, 0.25], dtype=torch.float64), atol=1e-12, rtol=0)
