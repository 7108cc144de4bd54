"""Scores with two moves a coordinate: exact ones of Poisson mixtures, learned ones, and a model put in a box."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from ddm_pyro import ForwardProcess
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.processes import Process
from ddm_pyro_lattice.network import CountMLP
from ddm_pyro_lattice.rates import ImmigrationDeath, lattice_rate
from ddm_pyro_lattice.targets import PoissonMixture


def means_at(means: Tensor, process: Process, t: Tensor) -> Tensor:
    """m exp(-death sigma(t)) + rho (1 - exp(-death sigma(t))), (..., K, d)."""
    rate = lattice_rate(process)
    if not isinstance(rate, ImmigrationDeath) or not isinstance(process, ForwardProcess):
        raise ValueError(f"Poisson mixtures stay Poisson mixtures under ImmigrationDeath only, not under {process!r}.")
    noise = (rate.death * process.noise(torch.zeros_like(t), t))[..., None, None]
    return means * torch.exp(-noise) - rate.mean * torch.expm1(-noise)


class ExactPoissonScore(Parameterization):
    """The exact score of a Poisson mixture under immigration-death on the natural numbers.

    p_t(x + e_i)/p_t(x) = E[m_i(t) | x]/(x_i + 1) and p_t(x - e_i)/p_t(x) = x_i E[1/m_i(t) | x], over the posterior of
    the components.

    Args:
        target: a PoissonMixture.
        process: a ForwardProcess of ImmigrationDeath on the same number of coordinates.

    Raises:
        ValueError: another process, or another number of coordinates.
    """

    primary: Literal["x0", "score"] = "score"

    def __init__(self, target: PoissonMixture, process: Process) -> None:
        super().__init__(process)
        if not isinstance(target, PoissonMixture) or target.space != process.space:
            raise ValueError(f"target={target!r} must be a PoissonMixture on {process.space}.")
        means_at(target.means, process, torch.zeros((), dtype=torch.float64))
        self.target = target

    def log_score(self, x: Tensor, t: Any) -> Tensor:
        """log p_t(x +- e_i)/p_t(x), (..., L, 2) float64; -inf for the step below 0."""
        t = torch.as_tensor(t, dtype=torch.float64, device=x.device)
        means = means_at(self.target.means, self.process, t)
        log_w = self.target.component_log_prob(x, means).log_softmax(-1).unsqueeze(-1)
        up = (log_w + means.log()).logsumexp(-2) - (x + 1).double().log()
        down = x.double().log() + (log_w - means.log()).logsumexp(-2)
        return torch.stack([up, down], -1)


class Boxed(Parameterization):
    """A score on the natural numbers run on 0 .. maximum, births at the top being refused.

    The process becomes finite, so ``ddm_pyro.push`` gives exact laws of any sampler of the model.

    Args:
        inner: a model whose process is one ImmigrationDeath chain on the natural numbers.
        maximum: largest count.
    """

    primary: Literal["x0", "score"] = "score"

    def __init__(self, inner: Parameterization, maximum: int) -> None:
        rate, process = lattice_rate(inner.process), inner.process
        if not isinstance(rate, ImmigrationDeath) or not isinstance(process, ForwardProcess):
            raise ValueError(f"{process!r} is not on the natural numbers, so it needs no box.")
        super().__init__(ForwardProcess(rate.box(maximum + 1), process.schedule, process.length))
        self.inner, self.cond = inner, inner.cond

    def log_score(self, x: Tensor, t: Any) -> Tensor:
        """The inner model's."""
        return self.inner.log_score(x, t)

    def bind(self, **cond: Any) -> Boxed:
        """The bound inner model in the same box."""
        return Boxed(self.inner.bind(**cond), self.process.space.vocab_size - 1)

    def rows(self, index: Tensor) -> Boxed:
        """The inner model on some rows, in the same box."""
        return Boxed(self.inner.rows(index), self.process.space.vocab_size - 1)


class LatticeScore(Parameterization):
    """A network (x, t) -> (..., L, 2): logarithms of p_t(x + e_i)/p_t(x) and p_t(x - e_i)/p_t(x).

    Two outputs a coordinate, whatever the alphabet, so it serves Z_m and the natural numbers alike. Reference scores
    are taken out: the network learns the difference to the score of the stationary law, which is
    log(rho/(x + 1)), log(x/rho) under immigration-death and 0 on a circle. A network that starts at zero starts there.

    Args:
        network: (x, t) -> (..., L, 2), such as ``CountMLP``.
        process: a lattice walk.

    Raises:
        ValueError: a process that is none; outputs of the wrong width.
    """

    primary: Literal["x0", "score"] = "score"

    def __init__(self, network: nn.Module, process: Process) -> None:
        super().__init__(process)
        if not callable(network):
            raise TypeError(f"network={network!r} is no nn.Module (x, t) -> (..., L, 2).")
        self.rate, self.network = lattice_rate(process), network

    @classmethod
    def network_for(cls, process: Process, kind: str = "mlp", width: int = 128, depth: int = 2) -> CountMLP:
        """The network an evaluation trains when its plan says ``kind = "mlp"``. Raises ValueError for other kinds."""
        if kind != "mlp":
            raise ValueError(f"network.kind = {kind!r} has no form on counts; use 'mlp' with lattice/score.")
        rate = lattice_rate(process)
        length = process.space.length
        if isinstance(rate, ImmigrationDeath):
            return CountMLP(length, scale=max(rate.mean, 1.0), width=width, depth=depth)
        return CountMLP(length, period=rate.vocab_size, width=width, depth=depth)

    def log_score(self, x: Tensor, t: Any) -> Tensor:
        """Network plus reference, (..., L, 2)."""
        dtype = next((p.dtype for p in self.network.parameters()), torch.get_default_dtype())
        out = self.network(x, torch.as_tensor(t, device=x.device).to(dtype).expand(x.shape[:-1]), **self.cond)
        if out.shape[-1] != 2:
            raise ValueError(f"The network returned {out.shape[-1]} scores a position; a lattice has two, up and down.")
        return out.double() + self._reference(x)

    def _reference(self, x: Tensor) -> Tensor:
        if not isinstance(self.rate, ImmigrationDeath):
            return torch.zeros((), dtype=torch.float64, device=x.device)
        count, rho = x.double(), self.rate.mean
        return torch.stack([rho / (count + 1), count / rho], -1).log()
