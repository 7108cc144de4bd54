"""Exact simulation of paths: Gillespie on the clock of the schedule, and uniformization."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import inverse_cdf
from ddm_pyro.paths.replay import padding
from ddm_pyro.paths.time_change import TimeChange

if TYPE_CHECKING:
    from ddm_pyro.processes import Process

#: A row with this many times max_jumps jumps is stopped: its chain may have infinitely many.
RUNAWAY = 16
#: Relative room for rounding when a rate is compared with its bound.
BOUND_ROOM = 1e-9


class EventLog:
    """Jumps found round by round, any number at a time; ``pack`` puts them in order of time.

    Args:
        max_jumps: rows of the packed path.
    """

    def __init__(self, max_jumps: int) -> None:
        self.max_jumps = max_jumps
        self.rounds: list[Tensor] = []
        self.count: Tensor | None = None

    def add(self, time: Tensor, position: Tensor, symbol: Tensor, happened: Tensor) -> None:
        """Record candidates, all (n, w); those that did not happen are dropped."""
        rows = torch.stack(torch.broadcast_tensors(time, position.double(), symbol.double()), -1)
        rows = torch.where(happened.unsqueeze(-1), rows, padding((1,), time.device))
        count = happened.sum(-1)
        kept = happened.long().argsort(dim=-1, descending=True)[:, : int(count.max()) if len(count) else 0]
        self.rounds.append(rows.gather(1, kept.unsqueeze(-1).expand(-1, -1, 3)))
        self.count = count if self.count is None else self.count + count
        if bool((self.count > RUNAWAY * self.max_jumps + RUNAWAY).any()):
            raise ValueError(
                f"A path has more than {int(self.count.max())} jumps, far beyond max_jumps={self.max_jumps}; "
                "end it earlier if it may have infinitely many."
            )

    def pack(self, n: int, device: torch.device) -> Tensor:
        """Paths (n, max_jumps, 3). Raises ValueError when one has more jumps, with the number that would do."""
        rows = torch.cat([padding((n, self.max_jumps), device), *self.rounds], 1)
        needed = 0 if self.count is None or n == 0 else int(self.count.max())
        if needed > self.max_jumps:
            raise ValueError(
                f"A path has {needed} jumps, more than max_jumps={self.max_jumps}; max_jumps={needed} would do."
            )
        order = rows[..., 0].argsort(dim=-1, stable=True)[:, : self.max_jumps]
        return rows.gather(1, order.unsqueeze(-1).expand(-1, -1, 3))


def gillespie(change: TimeChange, x: Tensor, start: Tensor, end: Tensor, log: EventLog) -> None:
    """Every position waits an exponential time on the clock and jumps: x (n, L), clocks start and end (n,).

    Positions are independent, so each runs its own clock; rounds are as many as the busiest position has jumps.
    Recorded times are clocks.
    """
    now, end = start.unsqueeze(-1).expand(x.shape), end.unsqueeze(-1)
    position = torch.arange(x.shape[-1], device=x.device).expand(x.shape)
    while True:
        rates = change.generator.out_rates(x).detach()
        total = rates.sum(-1)
        wait, choice = random.uniform((*x.shape, 2), x.device).unbind(-1)
        now = torch.where(total > 0, now - torch.log1p(-wait) / total, torch.inf)
        happened = now < end
        if not bool(happened.any()):
            return
        move = inverse_cdf(rates, choice).clamp(max=rates.shape[-1] - 1).unsqueeze(-1)
        x = torch.where(happened, change.generator.moves(x).gather(-1, move).squeeze(-1), x)
        log.add(now, position, x, happened)


def uniformization(process: Process, x: Tensor, start: Tensor, end: Tensor, log: EventLog) -> None:
    """Events ring at a rate that bounds the exit rate of every sequence; one is a jump with probability rate / bound.

    With a time change, ``start``, ``end`` and the recorded times are clocks, otherwise times.

    Raises:
        ValueError: an infinite bound or interval, or a rate above its bound.
    """
    change, rows = process.time_change, torch.arange(len(x), device=x.device)
    low, high = float(start.min()), float(end.max())
    bound = process.exit_bound(low, high) if change is None else change.generator.exit_bound()
    if not bound * float((end - start).max()) < torch.inf:
        raise ValueError(
            f"Uniformization needs a bounded exit rate and finite noise, which {process!r} lacks on this interval; "
            "use method='gillespie', or end the path earlier."
        )
    now = start.clone()
    while bound > 0:
        wait, choice = random.uniform((len(x), 2), x.device).unbind(-1)
        now = now - torch.log1p(-wait) / bound
        if not bool((now < end).any()):
            return
        at = torch.minimum(now, end)
        rates = (change.generator.out_rates(x) if change else process.out_rates(x, at)).detach().flatten(1)
        share = rates.sum(-1) / bound
        if bool((share > 1.0 + BOUND_ROOM).any()):
            raise ValueError(
                f"The exit rate reached {float(share.max()):.4g} times exit_bound() of {process!r}, so uniformization "
                "would be wrong; correct the bound."
            )
        happened = (now < end) & (choice < share)
        move = inverse_cdf(rates, (choice / share).clamp(max=1.0)).clamp(max=rates.shape[-1] - 1)
        moves = process.moves(x)
        position, symbol = move // moves.shape[-1], moves.flatten(1)[rows, move]
        x = x.clone()
        x[rows, position] = torch.where(happened, symbol, x[rows, position])
        log.add(now.unsqueeze(-1), position.unsqueeze(-1), symbol.unsqueeze(-1), happened.unsqueeze(-1))


def clock_to_time(change: TimeChange, paths: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """Paths (n, J, 3) whose times are clocks, on the time axis; s and t (n,) are the ends of the interval."""
    clock, real = paths[..., 0], paths[..., 1] >= 0
    s, t = s.unsqueeze(-1), t.unsqueeze(-1)
    # Rounding of the inverse may leave the interval, or the order, by a last digit; an infinite end is never reached.
    last = torch.where(change.clock(t).isinf(), torch.nextafter(t, s), t)
    time = change.time(torch.where(real, clock, 0.0)).maximum(s).minimum(last).cummax(-1).values
    return torch.cat([torch.where(real, time, torch.inf).unsqueeze(-1), paths[..., 1:]], -1)
