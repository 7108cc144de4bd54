"""A plan guarantees what was asked for, and no fewer steps would by the closed form of the information curve."""

from __future__ import annotations

import math

import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.bounds import NotApplicable, plan_steps
from ddm_pyro.parameterizations import Parameterization

TV = ddm.metrics.TotalVariation()


class Mixed(Parameterization):
    """(1 - e) p + e / V at masks."""

    def __init__(self, inner, share):
        super().__init__(inner.process)
        self.inner, self.share, self.time_free = inner, share, True

    def x0_log_probs(self, x, t, *, at=None):
        exact = self.inner.x0_log_probs(x, t)
        mixed = ((1 - self.share) * exact.exp() + self.share / exact.shape[-1]).log()
        table = torch.where(self.process.space.is_mask(x).unsqueeze(-1), mixed, exact)
        return table if at is None else table.flatten(0, -2)[at]


def masked(length=16, coupling=1.0, share=0.0):
    target = ddm.targets.PottsChain(num_states=3, length=length, coupling=coupling)
    forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length)
    exact = target.denoiser(forward)
    return target, Mixed(exact, share) if share else exact


@pytest.mark.parametrize("accuracy", [0.5, 0.25])
def test_the_fewest_steps_of_the_optimal_sizes(accuracy) -> None:
    target, model = masked()
    plan = plan_steps(target, model, metric=TV, accuracy=accuracy)
    curve = target.information_curve()

    def kl(steps):
        return max(0.0, ddm.planning.reveal_error(curve, ddm.planning.optimal_sizes(curve, steps)))

    enough = [n for n in range(1, 17) if min(math.sqrt(kl(n) / 2), math.sqrt(-math.expm1(-kl(n)))) <= accuracy]
    assert plan.steps == enough[0]
    assert plan.sizes == ddm.planning.optimal_sizes(curve, plan.steps)
    assert plan.rests_on == ()
    assert plan.early_stopping == 0.0


def test_the_law_of_the_plan_is_within_the_accuracy() -> None:
    target, model = masked(length=5, share=0.02)
    for metric, accuracy in ((TV, 0.3), (ddm.metrics.HammingWasserstein(), 1.0)):
        plan = plan_steps(target, model, metric=metric, accuracy=accuracy)
        law = ddm.push(plan.sampler, model, times=plan.times)
        assert metric(law, target.tabular()).value <= plan.certificate.value <= accuracy


def test_uniform_noise_gets_a_grid_with_early_stopping_when_that_is_better() -> None:
    target = ddm.targets.RandomTabular(num_states=3, length=2, seed=4)
    forward = ddm.ForwardProcess(ddm.rates.Uniform(3), ddm.schedules.LogLinear(), 2)
    model = target.denoiser(forward)
    plan = plan_steps(target, model, metric=TV, accuracy=0.05)
    law = ddm.push(plan.sampler, model, times=plan.times)
    assert TV(law, target.tabular()).value <= plan.certificate.value <= 0.05
    assert plan.early_stopping == plan.times[-1]


def test_an_accuracy_beyond_the_score_is_refused_with_the_reason() -> None:
    target, model = masked(length=6, share=0.3)
    with pytest.raises(ValueError, match=r"not certified by 8 steps.*score term"):
        plan_steps(target, model, metric=TV, accuracy=0.01, max_steps=8)


def test_what_is_refused() -> None:
    target, model = masked()
    with pytest.raises(ValueError, match=r"accuracy=0\.0 must be positive"):
        plan_steps(target, model, metric=TV, accuracy=0.0)
    # The rates of 243 states are too many for a matrix of the sampler's jumps.
    target = ddm.targets.RandomTabular(num_states=3, length=5, seed=1)
    uniform = target.denoiser(ddm.ForwardProcess(ddm.rates.Uniform(3), ddm.schedules.LogLinear(), 5))
    with pytest.raises(NotApplicable, match="density"):
        plan_steps(target, uniform, metric=TV, accuracy=0.1, sampler=ddm.samplers.Gillespie())
