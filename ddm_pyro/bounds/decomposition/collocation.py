"""Gauss collocation in time for du = G_z u |dz|, with rates that a model is asked for at the nodes only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

#: Last correction of the stages, relative to the solution, at which their equations count as solved.
STAGE_TOLERANCE = 1e-13
#: Sweeps over the stages after which a step is taken to be too long.
MAX_SWEEPS = 60
#: Shortest step in z; a solution not smooth at this scale is rough (float32 networks), and is integrated as it is.
SHORTEST = 1.0 / 64.0
#: First and longest step.
FIRST, LONGEST = 0.5, 16.0

#: What flows in, and the rate at which each entry decays: G = R - d.
Generator = tuple[Callable[[Tensor], Tensor], Tensor]


@dataclass(frozen=True)
class Gauss:
    """Nodes and weights on [0, 1], the integration matrix, and the last two Legendre coefficients of nodal values."""

    nodes: tuple[float, ...]
    weights: Tensor
    matrix: Tensor
    last: Tensor


@lru_cache
def gauss(count: int) -> Gauss:
    """The Gauss-Legendre rule with ``count`` nodes."""
    x, w = np.polynomial.legendre.leggauss(count)
    # Legendre coefficients of nodal values, by exact quadrature of degree 2 count - 1.
    coefficients = np.stack([(2 * k + 1) / 2 * w * np.polynomial.legendre.legval(x, _unit(k)) for k in range(count)])
    integrals = np.stack(
        [np.polynomial.legendre.legval(x, np.polynomial.legendre.legint(_unit(k), lbnd=-1)) for k in range(count)], -1
    )
    return Gauss(
        tuple((x + 1) / 2),
        torch.from_numpy(w / 2),
        torch.from_numpy(integrals @ coefficients / 2),
        torch.from_numpy(coefficients[-2:].copy()),
    )


def _unit(k: int) -> np.ndarray:
    out = np.zeros(k + 1)
    out[k] = 1.0
    return out


@dataclass(frozen=True)
class Step:
    """A step from z to z + h with the solution at the nodes (s, N)."""

    z: float
    h: float
    stages: Tensor


class Visitor(Protocol):
    """Something that is integrated along the solution."""

    def look(self, step: Step) -> Tensor:
        """Nodal values (s, K) of the integrand, whose smoothness limits the step as well."""

    def accept(self) -> None:
        """The step looked at last stands."""


def integrate(
    generator: Callable[[float], Generator],
    u: Tensor,
    z: float,
    stops: Sequence[float],
    rule: Gauss,
    tolerance: float,
    visitor: Visitor | None = None,
) -> list[Tensor]:
    """The solution at each of ``stops`` (increasing or decreasing from z), by steps whose error estimate is in reach.

    Args:
        generator: z -> (R, d) with G_z = R - diag(d), applied along the direction of integration.
        visitor: integrates along: it looks at every step tried and is told when the last one it saw stands.
        tolerance: largest last Legendre coefficient of the derivative times h.

    Raises:
        ValueError: stages that do not converge even in the shortest step.
    """
    found, step = [], FIRST
    scale = max(float(u.abs().max()), torch.finfo(torch.float64).tiny)
    for stop in stops:
        direction = 1.0 if stop >= z else -1.0
        while z != stop:
            h = min(step, abs(stop - z))
            last = h == abs(stop - z)
            tried = _try(generator, u, z, direction * h, rule, scale)
            error = np.inf
            if tried is not None:
                stages, slopes = tried
                error = float((rule.last @ slopes).abs().max()) * h / scale
                if visitor is not None:
                    extra = visitor.look(Step(z, direction * h, stages))
                    error = max(error, float((rule.last @ extra).abs().sum(-1).max()) * h / scale)
            if error > tolerance and h > SHORTEST:
                step = max(SHORTEST, h * (0.4 if tried is None else _factor(error, tolerance, rule)))
                continue
            if tried is None:
                raise ValueError("The reverse rates change too fast for the adjoint equation to be solved in time.")
            u = u + h * torch.tensordot(rule.weights, slopes, 1)
            z = stop if last else z + direction * h
            if visitor is not None:
                visitor.accept()
            if not last or error > 0.01 * tolerance:
                step = min(LONGEST, max(SHORTEST, h * _factor(error, tolerance, rule)))
        found.append(u)
    return found


def _factor(error: float, tolerance: float, rule: Gauss) -> float:
    return float(np.clip(0.85 * (tolerance / max(error, 1e-300)) ** (1.0 / (len(rule.nodes) - 1)), 0.3, 3.0))


def _try(
    generator: Callable[[float], Generator], u: Tensor, z: float, h: float, rule: Gauss, scale: float
) -> tuple[Tensor, Tensor] | None:
    """Stages and slopes (s, N), or None when the sweeps over them do not settle.

    U_i = u + |h| sum_j A_ij (R_j - d_j) U_j is solved with the diagonal d on the left, state by state: stable however
    long the step, and for masked processes, whose jumps only ever reveal, exact after L sweeps.
    """
    parts = [generator(z + h * node) for node in rule.nodes]
    integration = abs(h) * rule.matrix
    exits = torch.stack([d for _, d in parts], -1).unsqueeze(-2)
    inverse = torch.linalg.inv(torch.eye(len(parts), dtype=torch.float64) + integration * exits)
    stages = u.expand(len(parts), -1).contiguous()
    for _ in range(MAX_SWEEPS):
        arrivals = torch.stack([arrive(stage) for (arrive, _), stage in zip(parts, stages, strict=True)])
        right = u.unsqueeze(-1) + arrivals.T @ integration.T
        new = torch.bmm(inverse, right.unsqueeze(-1)).squeeze(-1).T.contiguous()
        change = float((new - stages).abs().max())
        stages = new
        if change <= STAGE_TOLERANCE * scale:
            slopes = torch.stack([arrive(stage) - d * stage for (arrive, d), stage in zip(parts, stages, strict=True)])
            return stages, slopes
    return None
