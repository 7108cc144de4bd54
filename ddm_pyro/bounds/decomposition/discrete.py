"""The discrete identity of an n-step sampler, and its split by the exact model's steps or by the continuous adjoint.

With v_0 = f and v_k = K_k v_{k-1} (k counts from the data),

    E_p f - E_phat f = <p_T - pi, v_n> + sum_k <p_{t_k}, (Kbar_k - K_k) v_{k-1}>.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.bounds.decomposition.kernels import expectation
from ddm_pyro.bounds.decomposition.reference import Reference
from ddm_pyro.sampling.loop import denoise_law

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.samplers import Sampler


@dataclass(frozen=True)
class Stage:
    """One stage of the algorithm, from t to s < t: what it does to functions under a given model."""

    samplers: tuple[Sampler, ...]
    t: Tensor
    s: Tensor

    def backward(self, model: Parameterization, v: Tensor) -> Tensor:
        """K v."""
        for sampler in reversed(self.samplers):
            v = self._one(sampler, model, v)
        return v

    def _one(self, sampler: Sampler, model: Parameterization, v: Tensor) -> Tensor:
        def step(x: Tensor) -> TorchDistribution:
            return sampler.step(model, x, self.t, self.s)

        with torch.no_grad():
            return expectation(step, v, model.process.space)


def denoise(model: Parameterization, f: Tensor, t: Tensor) -> Tensor:
    """E f after the final denoising at time t, flat."""
    with torch.no_grad():
        return expectation(lambda x: denoise_law(model, x, t), f, model.process.space)


@dataclass
class LocalErrors:
    """What stages cost, from noise to data: score and discretization by stage, score by state."""

    score: list[float]
    discretization: list[float]
    by_state: Tensor


def split_stage(exact: Tensor, p: Tensor, of_exact_model: Tensor, of_model: Tensor, into: LocalErrors) -> None:
    """Kbar - K = (Kbar - K*) + (K* - K), with K* the same step of the exact model; ``exact`` is p Kbar v by state."""
    by_state = _weighted(p, of_exact_model - of_model)
    into.by_state += by_state
    into.score.append(float(by_state.sum()))
    into.discretization.append(float((exact - _weighted(p, of_exact_model)).sum()))


def _weighted(p: Tensor, v: Tensor) -> Tensor:
    return torch.where(p > 0, p * v, 0.0)


def denoise_stage(
    reference: Reference, exact: Parameterization, model: Parameterization, f: Tensor, t: Tensor, into: LocalErrors
) -> Tensor:
    """The final denoising at t as a stage; returns E f after it."""
    g = denoise(model, f, t)
    time = float(t)
    if time > 0.0:
        measure = reference.carry(reference.law(0.0) * f, 0.0, time)
        split_stage(measure, reference.law(time), denoise(exact, f, t), g, into)
    return g


def kernel_errors(
    stages: Sequence[Stage],
    reference: Reference,
    exact: Parameterization,
    model: Parameterization,
    v: Tensor,
    into: LocalErrors,
) -> Tensor:
    """Every stage's local error, appended from data to noise; returns v_n."""
    for stage in reversed(stages):
        t, s = float(stage.t), float(stage.s)
        mine = stage.backward(model, v)
        carried = reference.carry(_weighted(reference.law(s), v), s, t)
        split_stage(carried, reference.law(t), stage.backward(exact, v), mine, into)
        v = mine
    return v


def residuals(
    stages: Sequence[Stage], model: Parameterization, start: Tensor, u: Sequence[Tensor]
) -> tuple[list[float], Tensor]:
    """<ptilde_{t_k}, u_{t_k} - K_k u_{t_{k-1}}> of each stage, noise to data, and <ptilde_{t_0}, u_{t_0}>.

    ``u`` runs from data to noise.
    """
    p, out = start, []
    with torch.no_grad():
        for stage, (above, below) in zip(stages, pairwise(list(u)[::-1]), strict=True):
            out.append(float(_weighted(p, above - stage.backward(model, below)).sum()))
            for sampler in stage.samplers:
                p = sampler.push(model, p, stage.t, stage.s)
    return out, p @ u[0]
