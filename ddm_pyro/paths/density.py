"""The density of a path: log-rates of its jumps minus the exit rate integrated along it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ddm_pyro.paths.replay import replay
from ddm_pyro.paths.time_change import TimeChange

if TYPE_CHECKING:
    from ddm_pyro.processes import Process

#: Error at which the quadrature of a general process's exit rate stops, relative to 1 + the integral.
QUADRATURE_TOLERANCE = 1e-9
#: Gauss-Legendre nodes a panel, and the largest number of panels a stretch between two jumps is cut into.
NODES, MAX_PANELS = 8, 1024


def clocked(change: TimeChange, path: Tensor, x0: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """log-density of each position's own path, (..., L): well-formed path (..., J, 3), x0 (..., L), s and t (...).

    The clock sigma integrates the rate in closed form, so nothing is approximated.
    """
    run = replay(path, x0, s)
    real = path[..., 1] >= 0
    position, symbol = path[..., 1].long().clamp(min=0), path[..., 2].long().clamp(min=0)
    time = torch.where(real, path[..., 0], s.unsqueeze(-1))
    jump, leave = change.generator.jump_rates(position, run.old, symbol)
    stay = _product(leave, change.elapsed(torch.where(real, run.since, s.unsqueeze(-1)), time))
    terms = torch.where(real, _log(jump, real) + _log(change.schedule.rate(time), real) - stay, 0.0)
    everywhere = torch.arange(x0.shape[-1], device=x0.device).expand(x0.shape)
    _, leave = change.generator.jump_rates(everywhere, run.final, run.final)
    rest = -_product(leave, change.elapsed(run.last, t.unsqueeze(-1)))
    return rest.scatter_add(-1, position, terms)


def by_quadrature(process: Process, path: Tensor, x0: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """The same for any process, (...): the total exit rate is integrated numerically between jumps.

    Raises:
        ValueError: the integral does not settle to ``QUADRATURE_TOLERANCE`` (an infinite rate, say).
    """
    total = torch.zeros(x0.shape[:-1], dtype=torch.float64, device=x0.device)
    x, now = x0, s
    for row in path.unbind(-2):
        real = row[..., 1] >= 0
        if not bool(real.any()):
            break
        position, symbol = row[..., 1, None].long().clamp(min=0), row[..., 2].long()
        then = torch.where(real, row[..., 0], now)
        rates, moves = process.out_rates(x, then), process.moves(x)
        matching = rates * (moves == symbol[..., None, None])
        jump = matching.sum(-1).gather(-1, position).squeeze(-1)
        total = total + torch.where(real, _log(jump, real), 0.0) - _integral(process, x, now, then)
        target = torch.where(real.unsqueeze(-1), symbol.unsqueeze(-1), x.gather(-1, position))
        x, now = x.scatter(-1, position, target), then
    return total - _integral(process, x, now, t)


def _integral(process: Process, x: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """The total exit rate of x (..., L) integrated over [s, t], (...)."""
    if not bool((t > s).any()):
        return torch.zeros_like(t - s)
    coarse, panels = _panels(process, x, s, t, 1), 2
    while panels <= MAX_PANELS:
        fine = _panels(process, x, s, t, panels)
        if bool(((fine - coarse).abs() <= QUADRATURE_TOLERANCE * (1.0 + fine.abs())).all()):
            return fine
        coarse, panels = fine, 2 * panels
    raise ValueError(
        f"The exit rate of {process!r} could not be integrated over [{float(s.min()):.6g}, {float(t.max()):.6g}] to "
        f"{QUADRATURE_TOLERANCE}; end the path before the rate becomes infinite."
    )


def _panels(process: Process, x: Tensor, s: Tensor, t: Tensor, panels: int) -> Tensor:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    total = torch.zeros_like(t - s)
    for panel in range(panels):
        for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
            share = (panel + (node + 1.0) / 2.0) / panels
            rate = process.out_rates(x, s + share * (t - s)).sum((-1, -2))
            total = total + weight / (2.0 * panels) * (t - s) * rate
    return total


def _log(rate: Tensor, real: Tensor) -> Tensor:
    """log of the rates of real jumps; impossible ones give -inf without spoiling gradients."""
    return torch.where(real & (rate <= 0), -torch.inf, torch.where(real & (rate > 0), rate, 1.0).log())


def _product(rate: Tensor, noise: Tensor) -> Tensor:
    """rate * noise, where a rate of 0 lasts forever at no cost."""
    finite = torch.where(rate > 0, noise, 0.0)
    return rate * finite
