"""The discrete identity of an n-step sampler, and its split by the exact model's steps or by the continuous adjoint.

With v_0 = f and v_k = K_k v_{k-1} (k counts from the data),

    E_p f - E_phat f = <p_T - pi, v_n> + sum_k <p_{t_k}, (Kbar_k - K_k) v_{k-1}>.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.bounds.decomposition.kernels import Step, expectation, replacing
from ddm_pyro.bounds.decomposition.reference import Reference, float64
from ddm_pyro.samplers.exact_push import push_step
from ddm_pyro.sampling.loop import denoise_law

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.samplers import Sampler


@dataclass(frozen=True)
class Stage:
    """One stage of the algorithm, from t to s < t: a predictor, and correctors at s; or the final denoising."""

    samplers: tuple[Sampler, ...]
    t: Tensor
    s: Tensor

    def _law(self, sampler: Sampler, model: Parameterization, x: Tensor) -> TorchDistribution:
        return sampler.step(model, x, self.t, self.s)

    def steps(self, model: Parameterization) -> list[Step]:
        """The steps of the stage, in the order they are taken."""
        return [partial(self._law, sampler, model) for sampler in self.samplers]

    def backward(self, model: Parameterization, v: Tensor) -> Tensor:
        """K v."""
        with torch.no_grad():
            for step in reversed(self.steps(model)):
                v = expectation(step, v, model.process.space)
        return v

    def replaced(self, exact: Parameterization, model: Parameterization, v: Tensor) -> Tensor:
        """From K* v to K v: in L moves (L + 1, N) where the stage is one step with a table, else in one (2, N)."""
        before, after = self.steps(exact), self.steps(model)
        if len(before) == 1:
            with torch.no_grad():
                found = replacing(before[0], after[0], v, model.process.space)
            if found is not None:
                return found
        return torch.stack([self.backward(exact, v), self.backward(model, v)])

    def push(self, model: Parameterization, p: Tensor) -> Tensor:
        """p K."""
        with torch.no_grad():
            for sampler in self.samplers:
                p = sampler.push(model, p, self.t, self.s)
        return p


@dataclass(frozen=True)
class Denoising(Stage):
    """All noise left at t drawn from the x0-posterior."""

    def steps(self, model: Parameterization) -> list[Step]:
        """One step."""
        return [lambda x: denoise_law(model, x, self.t)]

    def push(self, model: Parameterization, p: Tensor) -> Tensor:
        """p K."""
        with torch.no_grad():
            return push_step(self.steps(model)[0], p, model.process.space)


def denoising(t: float) -> Denoising:
    """The final denoising at t."""
    return Denoising((), float64(t), float64(0.0))


@dataclass
class LocalErrors:
    """What stages cost, appended from data to noise: score and discretization by stage, score by state and position."""

    by_state: Tensor
    by_position: Tensor | None
    score: list[float] = field(default_factory=list)
    discretization: list[float] = field(default_factory=list)

    def add(
        self, stage: Stage, reference: Reference, exact: Parameterization, model: Parameterization, v: Tensor
    ) -> Tensor:
        """Kbar - K = (Kbar - K*) + (K* - K), K* the same stage of the exact model; returns K v."""
        t, s = float(stage.t), float(stage.s)
        p = reference.law(t)
        carried = reference.carry(weighted(reference.law(s), v), s, t)
        path = stage.replaced(exact, model, v)
        moved = weighted(p, path[:-1] - path[1:])
        self.by_state += moved.sum(0)
        if len(moved) != model.process.space.length:
            self.by_position = None
        elif self.by_position is not None:
            self.by_position = self.by_position + moved.sum(-1)
        self.score.append(float(moved.sum()))
        self.discretization.append(float((carried - weighted(p, path[0])).sum()))
        return path[-1]


def weighted(p: Tensor, v: Tensor) -> Tensor:
    """p v, 0 where p is 0 whatever v says there."""
    return torch.where(p > 0, p * v, 0.0)


def residuals(
    stages: Sequence[Stage], model: Parameterization, start: Tensor, u: Sequence[Tensor]
) -> tuple[list[float], Tensor]:
    """<ptilde_{t_k}, u_{t_k} - K_k u_{t_{k-1}}> of each stage, noise to data, and <ptilde_{t_0}, u_{t_0}>.

    ``u`` runs from data to noise.
    """
    p, out = start, []
    for stage, (above, below) in zip(stages, pairwise(list(u)[::-1]), strict=True):
        out.append(float(weighted(p, above - stage.backward(model, below)).sum()))
        p = stage.push(model, p)
    return out, p @ u[0]
