"""The path-KL certificate of a leap on the torus."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ddm_pyro import ForwardProcess
from ddm_pyro.evaluation.errors import NotApplicable
from ddm_pyro.schedules import Constant
from ddm_pyro_lattice.leap import Leap
from ddm_pyro_lattice.rates import CyclicWalk, lattice_rate

#: Largest number of states for which the expectations are computed by enumeration.
STATES = 2**14


@dataclass(frozen=True)
class Certificate:
    """An upper limit on a distance, with what it is made of.

    Attributes:
        value: on the scale of total variation, or of a metric after ``for_metric``.
        terms: the parts, by name, nats.
        hypotheses: each with "verified", "assumed" or "violated".
        vacuous: whether it says nothing.
        ucb: upper confidence limit; None when nothing was estimated.
    """

    value: float
    terms: Mapping[str, float]
    hypotheses: Mapping[str, str]
    vacuous: bool
    ucb: float | None = None

    def for_metric(self, metric: Any, space: Any) -> Certificate:
        """d_F <= 2 C_F TV, at most the diameter 2 C_F."""
        diameter = 2.0 * float(metric.constant(space))
        value = 0.0 if self.value == 0.0 else min(diameter, diameter * self.value)
        return replace(self, value=value, vacuous=self.vacuous or self.value >= 1.0)


@dataclass(frozen=True)
class PathKL:
    """KL of the reversed walk's path from the leap's, on Z_m^d with a constant rate; a bound on KL(data || sampler).

    KL(path) = KL(p_1 || prior) + sum_k h_k E sum_y D(r_y || r^_y) + sum_k int (Psi(t) - Psi(t_k)) dt,
    D(a || b) = b - a + a log(a/b), r and r^ the exact and the model's rates at (t_k, X_{t_k}),
    Psi(t) = -d/dt KL(p_t || uniform). All three are computed exactly by enumeration; the third equals
    sum_k [KL(p_{t_{k+1}} || uniform) - KL(p_{t_k} || uniform) - h_k Psi(t_k)] and is at most
    h (Psi(0) - Psi(1)) on a uniform grid, reported as ``discretization_bound``. Then TV <= min(sqrt(KL/2),
    sqrt(1 - exp(-KL))).

    Raises:
        NotApplicable: a sampler other than lattice/leap, another walk or schedule, a space too large to enumerate.
    """

    name: str = "lattice/path-kl"

    def __call__(
        self, *, target: Any, model: Any, sampler: Any = None, steps: int | None = None, times: Any = None
    ) -> Certificate:
        """The certificate for sampling from the prior with ``steps`` even steps, or on ``times`` from 1 to 0."""
        process = _check(target, model, sampler)
        grid = sampler.grid(process, steps) if times is None else torch.as_tensor(times, dtype=torch.float64)
        if grid is None or float(grid[0]) != 1.0 or float(grid[-1]) != 0.0:
            raise NotApplicable("lattice/path-kl bounds grids from 1 to 0; early stopping is another law.")
        exact, data = target.denoiser(process), target.tabular().pmf
        states = process.space.enumerate()
        start = kl_from_uniform(process.push(data, 0.0, 1.0))
        loss = spread = 0.0
        for t, s in pairwise(grid.unbind()):
            here, h = process.push(data, 0.0, t), float(t - s)
            ratio = exact.log_score(states, t).exp()
            base = process.in_rates(states, t)
            rate = base * ratio
            learned = model.reverse_rate(states, t)
            loss += h * float(here @ _divergence(rate, learned))
            psi = float(here @ _divergence(rate, base))
            spread += kl_from_uniform(process.push(data, 0.0, s)) - kl_from_uniform(here) - h * psi
        total = start + loss + spread
        terms = {"path_kl": total, "initialization": start, "score": loss, "discretization": spread}
        if times is None and bool((data > 0).all()):
            ends = [self.dissipation(process, exact, data, float(t)) for t in (0.0, 1.0)]
            terms["discretization_bound"] = (ends[0] - ends[1]) / (len(grid) - 1)
        value = min(math.sqrt(max(total, 0.0) / 2.0), math.sqrt(-math.expm1(-max(total, 0.0))), 1.0)
        hypotheses = {"walk on Z_m^d at a constant rate": "verified", "leap from the prior": "verified"}
        return Certificate(value, terms, hypotheses, vacuous=value >= 1.0)

    @staticmethod
    def dissipation(process: ForwardProcess, exact: Any, data: Tensor, t: float) -> float:
        """Psi(t) = E sum_y R_t(y, x) D(p_t(y)/p_t(x) || 1), per unit of the process's time."""
        states, law = process.space.enumerate(), process.push(data, 0.0, t)
        base = process.in_rates(states, torch.tensor(t, dtype=torch.float64))
        moved = law[process.space.index(_neighbors(process, states))]
        return float(law @ _divergence(base * moved / law[:, None, None], base))


def kl_from_uniform(pmf: Tensor) -> float:
    """KL(p || uniform) = log N - H(p).

    Example:
        >>> kl_from_uniform(torch.tensor([1.0, 0.0], dtype=torch.float64)) == math.log(2)
        True
    """
    return math.log(len(pmf)) - float(torch.special.entr(pmf).sum())


def _divergence(a: Tensor, b: Tensor) -> Tensor:
    return (b - a + torch.xlogy(a, a) - torch.xlogy(a, b)).sum((-2, -1))


def _neighbors(process: ForwardProcess, states: Tensor) -> Tensor:
    moves = process.moves(states)
    out = states[:, None, None, :].expand(*moves.shape, -1).clone()
    position = torch.arange(states.shape[1])[None, :, None, None].expand(*moves.shape, 1)
    return out.scatter(-1, position, moves.unsqueeze(-1))


def _check(target: Any, model: Any, sampler: Any) -> ForwardProcess:
    process = model.process
    try:
        rate = lattice_rate(process)
    except ValueError as error:
        raise NotApplicable(str(error)) from None
    if not isinstance(sampler, Leap):
        raise NotApplicable(f"lattice/path-kl is about lattice/leap, not {sampler!r}.")
    if not isinstance(rate, CyclicWalk) or not isinstance(getattr(process, "schedule", None), Constant):
        raise NotApplicable(f"lattice/path-kl needs a CyclicWalk with core/constant, not {process!r}.")
    if process.space.num_states > STATES:
        raise NotApplicable(f"lattice/path-kl enumerates states, and {process.space} has more than {STATES}.")
    return process
