"""The continuous identity: Kolmogorov's backward equation of the approximate reverse process, and its score error.

With u_t(x) = E[f(Xhat_stop) | Xhat_t = x],

    E_p f - E_phat f = <p_T - pi, u_T> + int sum_x p_t(x) sum_y (Rbar_t - Rhat_t)(x, y) (u_t(y) - u_t(x)) dt.

Reverse rates blow up like 1/t at the data and, where alpha(1) = 0, like 1/(1 - t) at the noise. In z = log t/(1 - t)
both are bounded, for every process and schedule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ddm_pyro.bounds.decomposition.collocation import Gauss, Step, gauss, integrate
from ddm_pyro.bounds.decomposition.filling import fill, filled_law
from ddm_pyro.bounds.decomposition.jumps import Jumps, Layout
from ddm_pyro.bounds.decomposition.rates import Rates, t_of, z_of
from ddm_pyro.bounds.decomposition.reference import Masked, Reference, mask_counts, reveals

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization

Array = npt.NDArray[np.float64]

#: Error estimates tried one after the other until the parts agree with the whole to ``AGREEMENT`` (relative to f).
TOLERANCES, AGREEMENT = (1e-6, 1e-8, 1e-10), 1e-10
#: Error estimate for models that compute in float32, whose rates are not smooth below it.
ROUGH = 1e-6
#: Largest relative change of E_phat f when stopping 1000 times later, at which stop = 0 has a limit.
LIMIT = 1e-8


@dataclass
class Score:
    """The score error's sums over time, positions and states."""

    times: list[float]
    by_time: list[float]
    by_position: Tensor
    by_state: Tensor


@dataclass
class Adjoint:
    """u at the times asked for (from stop up), and the score error along it."""

    u: list[Tensor]
    score: Score


@dataclass
class ScoreAlong:
    """Integrates p_t(x) (Rbar - Rhat)(x, y) (u(y) - u(x)) along the adjoint."""

    rates: Rates
    reference: Reference
    rule: Gauss
    score: Score
    _seen: tuple[Step, Tensor, Tensor] | None = field(default=None)

    def look(self, step: Step) -> Tensor:
        """Score error by state, at the nodes."""
        weights = self.rule.weights * step.h
        by_node = []
        by_position = torch.zeros_like(self.score.by_position)
        for node, weight, u in zip(self.rule.nodes, weights.tolist(), step.stages, strict=True):
            z = step.z + step.h * node
            t = t_of(z)
            flow = self.reference.flow(self.rates.layout, t, t * (1.0 - t))
            by_state, position = local_errors(self.rates.at(z), flow, self.reference.law(t), u)
            by_node.append(by_state)
            by_position += weight * position
        values = torch.stack(by_node)
        self._seen = (step, values, by_position)
        return values

    def accept(self) -> None:
        """Add the step looked at."""
        if self._seen is None:
            return
        step, values, by_position = self._seen
        by_state = step.h * torch.tensordot(self.rule.weights, values, 1)
        self.score.by_state += by_state
        self.score.by_position += by_position
        self.score.by_time.append(float(by_state.sum()))
        self.score.times.append(t_of(step.z + step.h))


def local_errors(jumps: Jumps, flow: tuple[Tensor, ...], p: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """sum over y of (flow(x, y) - p(x) rate(x, y)) (u(y) - u(x)), by state (N,) and by position (L,)."""
    layout, by_state = jumps.layout, torch.zeros_like(p)
    by_position = []
    for position, (table, exact) in enumerate(zip(jumps.tables, flow, strict=True)):
        sources = layout.sources(position)
        seen_u, seen_p = layout.seen(u, position), layout.seen(p, position)[:, sources]
        error = torch.zeros_like(table[0])
        for v in range(len(table)):
            error += (exact[v] - seen_p * table[v]) * (seen_u[:, v : v + 1] - seen_u[:, sources])
        layout.seen(by_state, position)[:, sources] += error
        by_position.append(error.sum())
    return by_state, torch.stack(by_position)


def solve(
    model: Parameterization, reference: Reference, g: Tensor, times: Sequence[float] | None, start: float, stop: float
) -> Adjoint:
    """The adjoint of ``g`` (flat over the process's space) from ``stop`` up to ``start``.

    Args:
        times: increasing times at which u and the sums over time are wanted, from stop to start; None for the
            solver's own steps (u is then given at both ends).

    Raises:
        ValueError: rates that leave no limit at stop = 0, or are not finite.
    """
    rates = Rates(model)
    if rates.free and stop == 0.0 and isinstance(reference, Masked):
        return _filled(rates, reference, g, times, start)
    size = max(float(g.abs().max()), torch.finfo(torch.float64).tiny)
    rough = _is_rough(model)
    for tolerance in (ROUGH,) if rough else TOLERANCES:
        found = _integrated(rates, reference, g, times, start, stop, tolerance)
        gap = reference.law(stop) @ _at_stop(g, rates.layout, stop) - reference.law(start) @ found.u[-1]
        if abs(float(gap) - sum(found.score.by_time)) <= AGREEMENT * size:
            break
    if stop == 0.0 and not rates.layout.masked:
        _check_limit(rates, model, g, found.u[-1], start, size)
    return found


def _at_stop(g: Tensor, layout: Layout, stop: float) -> Tensor:
    """g, 0 where the exact law has nothing at ``stop``."""
    return torch.where(mask_counts(layout.space) > 0, 0.0, g) if layout.masked and stop == 0.0 else g


def _is_rough(model: Parameterization) -> bool:
    return any(p.dtype == torch.float32 for p in model.parameters())


def _integrated(
    rates: Rates, reference: Reference, g: Tensor, times: Sequence[float] | None, start: float, stop: float, tol: float
) -> Adjoint:
    layout, rule = rates.layout, gauss(rates.nodes)
    u = fill(rates.at(z_of(stop)), g) if layout.masked and stop == 0.0 else g
    score = Score([stop], [], torch.zeros(layout.length, dtype=torch.float64), torch.zeros_like(g))
    along = ScoreAlong(rates, reference, rule, score)
    stops = [start] if times is None else list(times[1:])
    found = integrate(rates.backward, u, z_of(stop), [z_of(t) for t in stops], rule, tol, along)
    if times is None:
        score.times[-1] = start
    else:
        edges = np.searchsorted(np.array([z_of(t) for t in times]), np.array([z_of(t) for t in score.times[1:]]) - 1e-9)
        sums = np.zeros(len(times))
        np.add.at(sums, np.clip(edges, 1, len(times) - 1), score.by_time)
        score.times, score.by_time = list(times), sums[1:].tolist()
    return Adjoint([g, *found], score)


def _filled(rates: Rates, reference: Masked, g: Tensor, times: Sequence[float] | None, start: float) -> Adjoint:
    """A time-free masked model run to t = 0: u is the same at all times, what is integrated a polynomial in m."""
    jumps, layout = rates.unit(), rates.layout
    u, length = fill(jumps, g), layout.length
    times = list(times) if times is not None else np.linspace(0.0, start, 65).tolist()
    one = torch.ones_like(u)
    flow = reveals(layout, one, reference.seen)
    edges = np.array([0.0 if t == 0.0 else reference.chance(t) for t in times])
    weights = torch.from_numpy(_masking_integrals(edges, length))
    by_state, _ = local_errors(jumps, flow, reference.seen, u)
    masks = reference.masks.long()
    by_count = torch.zeros(length + 1, dtype=torch.float64).index_add_(0, masks, by_state)
    whole = weights.sum(0)[masks]
    weighted = tuple(
        table * layout.seen(whole, position)[:, layout.sources(position)] for position, table in enumerate(flow)
    )
    by_state, by_position = local_errors(jumps, weighted, reference.seen * whole, u)
    score = Score(times, (weights @ by_count).tolist(), by_position, by_state)
    return Adjoint([g, *([u] * (len(times) - 1))], score)


def _masking_integrals(edges: Array, length: int) -> Array:
    """int m^k (1 - m)^(L - k) dm/m over each interval for k = 0 .. L masks, (K, L + 1); 0 for k = 0."""
    rule = gauss(length // 2 + 1)  # exact: the integrands are polynomials of degree L - 1
    m = edges[:-1, None] + np.diff(edges)[:, None] * np.array(rule.nodes)
    k = np.arange(1, length + 1)
    parts = m[..., None] ** (k - 1) * (1.0 - m[..., None]) ** (length - k)
    sums = np.diff(edges)[:, None] * np.einsum("kmj,m->kj", parts, rule.weights.numpy())
    return np.concatenate([np.zeros((len(sums), 1)), sums], 1)


def law(model: Parameterization, prior: Tensor, start: float, stop: float) -> Tensor:
    """phat_stop, the law of the continuous-time reverse process started from ``prior``, flat over the space."""
    rates = Rates(model)
    masked = rates.layout.masked
    if rates.free and stop == 0.0:
        return filled_law(rates.unit(), prior)
    rule, tolerance = gauss(rates.nodes), ROUGH if _is_rough(model) else TOLERANCES[1]
    p = integrate(rates.forward, prior, z_of(start), [z_of(stop)], rule, tolerance)[0]
    return filled_law(rates.at(z_of(stop)), p) if masked and stop == 0.0 else p


def _check_limit(rates: Rates, model: Parameterization, g: Tensor, u: Tensor, start: float, size: float) -> None:
    """Refuse stop = 0 where E_phat f still depends on where one stops."""
    jumps = rates.at(z_of(0.0))
    drift = jumps.arrivals(g) - jumps.exits * g
    if float(drift.abs().max()) <= LIMIT * size:
        return
    later = z_of(0.0) + math.log(1e3)
    other = integrate(rates.backward, g, later, [z_of(start)], gauss(rates.nodes), TOLERANCES[0])[0]
    if float((other - u).abs().max()) > LIMIT * size:
        raise ValueError(
            "The model's reverse rates grow like 1/t at t = 0 and its law has no limit there; give stop= > 0, where "
            "the identity holds for the data law noised to that time."
        )
