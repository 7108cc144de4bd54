"""The integrals over time and states that every continuous-time certificate is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ddm_pyro.bounds.case import Case
from ddm_pyro.bounds.clock import FIRST_PANEL, Clock, clock_of
from ddm_pyro.bounds.quadrature import integrate
from ddm_pyro.losses.divergence import divergence, log_or_minus_infinity

#: A first panel with at least this share of the next one is that of a singularity like 1/t, whose integral diverges.
DIVERGING = 0.5

#: Rates per unit of noise that count as none where the integral goes on to infinity.
FADED = 1e-10


@dataclass(frozen=True)
class Integrals:
    """Integrals over time of expectations under the law of x_t; quadrature errors are added in.

    With a = exact reverse rates, b = learned ones, Q the forward rates back, D(a || b) = b - a + a log(a / b):

    Attributes:
        jumps: A = int E sum a, the mean number of reverse jumps.
        learned_jumps: int E sum b.
        entropy: L_SE = int E sum D(a || b), the path-space KL and the score entropy.
        leak: its part from moves that never happen (a = 0).
        exit: the part of L_SE between total rates a position; the rest is routing.
        row: int E max(sum (a - b)^+, sum (b - a)^+), the row total variation.
        squares: L_WSM = int E sum Q |s^ - s|^2.
        cubes: R = 2/3 int E sum a |b/a - 1|^3.
        row_by_masks: ``row`` by the number of masked positions, 0 .. L.
        entropy_by_position: L_SE restricted to x with position i masked, (L,).
    """

    jumps: float
    learned_jumps: float
    entropy: float
    leak: float
    exit: float
    row: float
    squares: float
    cubes: float
    row_by_masks: tuple[float, ...]
    entropy_by_position: tuple[float, ...]


def integrals(case: Case, conditioned: bool = False) -> Integrals:
    """All integrals of a case; ``conditioned`` takes x_t given that x_1 is all masks (adjoint.md, 6b)."""
    clock = clock_of(case.process, case.model, case.stop)
    values = _integrate(case, clock, conditioned)
    jumps, learned, entropy, leak, exit_, row, squares, cubes, *rest = values.tolist()
    counts = case.states.shape[-1] + 1
    by_masks, by_position = tuple(rest[:counts]), tuple(rest[counts:])
    return Integrals(jumps, learned, entropy, leak, exit_, row, squares, cubes, by_masks, by_position)


def _integrate(case: Case, clock: Clock, conditioned: bool) -> Tensor:
    end = clock.high if conditioned else 1.0

    def f(u: Tensor) -> Tensor:
        t = clock.time(u)
        law = case.masked_law(u / end) if conditioned else case.law(t)
        return torch.cat([_row(case, law[here], *rates) for here, *rates in case.rates(t)]) * clock.pace(t).unsqueeze(
            -1
        )

    if clock.high <= clock.low:
        return torch.zeros_like(f(torch.tensor([clock.high]).double())[0])
    edges = clock.edges
    if clock.low > 0.0 or edges[1] != FIRST_PANEL or len(edges) < 4:
        total, error = integrate(f, edges)
    else:
        first, first_error = integrate(f, edges[:2], cuts=0)
        second, second_error = integrate(f, edges[1:3])
        rest, rest_error = integrate(f, edges[2:])
        total = first + second + rest
        error = first_error + second_error + rest_error
        diverges = (first > DIVERGING * second) & (first > 1e-12)
        total = torch.where(diverges, math.inf, total)
    total = total + torch.where(total.isinf(), 0.0, error)
    if clock.cut:
        late = f(torch.tensor([clock.high], dtype=torch.float64))[0]
        # Total rates go on for ever; it is differences that must have faded.
        late[:2] = 0.0
        total[:2] = math.inf
        total = torch.where(late > FADED, math.inf, total)
    return total


def _row(case: Case, law: Tensor, exact: Tensor, learned: Tensor, forward: Tensor) -> Tensor:
    """The integrands at T times, (T, 8 + L + 1 + L)."""
    gap = exact - learned
    log_a, log_b = log_or_minus_infinity(exact), log_or_minus_infinity(learned)
    pieces = divergence(log_a, log_b)
    impossible = exact <= 0
    ratio = torch.where(impossible, 1.0, learned / torch.where(impossible, 1.0, exact))
    a, b = exact.sum(-1), learned.sum(-1)
    square = torch.where(forward > 0, gap**2 / torch.where(forward > 0, forward, 1.0), 0.0)
    entropy = pieces.sum((-2, -1))
    up, down = gap.clamp(min=0).sum((-2, -1)), (-gap).clamp(min=0).sum((-2, -1))
    row = torch.maximum(up, down)
    functionals = [
        a.sum(-1),
        b.sum(-1),
        entropy,
        torch.where(impossible, learned, 0.0).sum((-2, -1)),
        divergence(log_or_minus_infinity(a), log_or_minus_infinity(b)).sum(-1),
        row,
        square.sum((-2, -1)),
        (2.0 / 3.0 * exact * (ratio - 1.0).abs() ** 3).sum((-2, -1)),
    ]
    number = case.masks.sum(-1)
    weighted_row, weighted_entropy = _weigh(law, row), _weigh(law, entropy)
    counts = torch.arange(case.states.shape[-1] + 1)
    by_masks = weighted_row @ (number.unsqueeze(-1) == counts).double()
    # inf times an unmasked position is no contribution, so no product here.
    by_position = torch.stack([weighted_entropy[:, m].sum(-1) for m in case.masks.unbind(-1)], -1)
    return torch.cat([torch.stack([_weigh(law, f).sum(-1) for f in functionals], -1), by_masks, by_position], -1)


def _weigh(law: Tensor, values: Tensor) -> Tensor:
    """law * values, states of probability zero left out."""
    return torch.where(law > 0, law * torch.where(law > 0, values, 0.0), 0.0)
