"""The format of a path, (max_jumps, 3) rows (time, position, new symbol), and how it is read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import constraints

from ddm_pyro.arrays import float64
from ddm_pyro.spaces import StateSpace


@dataclass(frozen=True)
class Replay:
    """A path run through: at every jump the token it leaves and since when it was there; at the end, each token.

    Attributes:
        old: (..., J) int64, the token before the jump.
        since: (..., J) float64, when that token came (the start of the path for the first).
        final: (..., L) int64, tokens after the last jump.
        last: (..., L) float64, when they came.
    """

    old: Tensor
    since: Tensor
    final: Tensor
    last: Tensor


def padding(shape: tuple[int, ...], device: torch.device | str | None = None) -> Tensor:
    """Rows (inf, -1, -1), (*shape, 3) float64: no jump."""
    return torch.tensor([torch.inf, -1.0, -1.0], dtype=torch.float64, device=device).repeat(*shape, 1)


def num_jumps(path: Tensor) -> Tensor:
    """Number of jumps of each path, (..., J, 3) -> (...) int64.

    Example:
        >>> num_jumps(torch.tensor([[0.5, 0.0, 1.0], [torch.inf, -1.0, -1.0]])).item()
        1
    """
    return (path[..., 1] >= 0).sum(-1)


def state_at(path: Tensor, x0: Tensor, t: Tensor | float) -> Tensor:
    """The state at time t of each path started at x0: paths (..., J, 3), x0 (..., L) -> (..., L) int64.

    Paths are right-continuous: a jump at t has happened. ``t`` broadcasts against the batch of paths, so times of
    shape (T, 1) and n paths give (T, n, L).

    Raises:
        ValueError: a path that is not (..., J, 3).

    Example:
        >>> path = torch.tensor([[0.25, 1.0, 5.0], [0.5, 0.0, 7.0], [torch.inf, -1.0, -1.0]])
        >>> state_at(path, torch.tensor([0, 0]), torch.tensor([0.1, 0.3, 0.5])).tolist()
        [[0, 0], [0, 5], [7, 5]]
    """
    path = check_shape(path)
    t = float64(t, path.device)
    batch = torch.broadcast_shapes(path.shape[:-2], x0.shape[:-1], t.shape)
    happened = (path[..., 0] <= t.unsqueeze(-1)) & (path[..., 1] >= 0)
    happened = happened.expand(*batch, path.shape[-2])
    rows = path[..., 1:].long().expand(*batch, path.shape[-2], 2)
    x = x0.long().expand(*batch, x0.shape[-1]).clone()
    for jump in range(path.shape[-2]):
        position = rows[..., jump, :1].clamp(min=0)
        kept = x.gather(-1, position)
        x.scatter_(-1, position, torch.where(happened[..., jump, None], rows[..., jump, 1:], kept))
    return x


def replay(path: Tensor, x0: Tensor, start: Tensor) -> Replay:
    """Run paths (..., J, 3) of the right format from x0 (..., L) at time ``start`` (...), one batch shape for all."""
    times, positions, symbols = path[..., 0], path[..., 1].long().clamp(min=0), path[..., 2].long()
    real = path[..., 1] >= 0
    x, last = x0.clone(), start.unsqueeze(-1).expand(x0.shape).clone()
    old, since = [], []
    for jump in range(path.shape[-2]):
        at, now = positions[..., jump, None], real[..., jump, None]
        old.append(x.gather(-1, at))
        since.append(last.gather(-1, at))
        x = x.scatter(-1, at, torch.where(now, symbols[..., jump, None], old[-1]))
        last = last.scatter(-1, at, torch.where(now, times[..., jump, None], since[-1]))
    if not old:
        return Replay(symbols, times, x, last)
    return Replay(torch.cat(old, -1), torch.cat(since, -1), x, last)


def well_formed(path: Tensor, x0: Tensor, start: Tensor, end: Tensor, space: StateSpace, closed: Tensor) -> Tensor:
    """Which paths (..., J, 3) have ordered times in [start, end], jumps to other symbols of the space, then padding.

    ``closed`` (...) says whether a jump at ``end`` itself is allowed.
    """
    time, position, symbol = path.unbind(-1)
    pad = (time == torch.inf) & (position == -1) & (symbol == -1)
    late = torch.where(closed.unsqueeze(-1), time <= end.unsqueeze(-1), time < end.unsqueeze(-1))
    real = late & (time >= start.unsqueeze(-1)) & (position >= 0) & (position < space.length)
    real = real & (position == position.round()) & (symbol == symbol.round()) & symbol.isfinite()
    real = real & _inside(space, torch.where(real, position, 0).long(), torch.where(real, symbol, 0).long())
    good = (pad | real).all(-1) & ~(pad[..., :-1] & real[..., 1:]).any(-1)
    good = good & ~(time[..., 1:] < time[..., :-1]).any(-1)
    safe = trim(torch.where(good[..., None, None], path, padding((1,), path.device)))
    run = replay(safe, x0, start)
    return good & ~((safe[..., 2] == run.old) & (safe[..., 1] >= 0)).any(-1)


def _inside(space: StateSpace, position: Tensor, symbol: Tensor) -> Tensor:
    inside = symbol >= 0
    if space.is_countable:
        return inside
    sizes = torch.tensor(space.position_sizes, device=position.device)
    return (inside & (symbol < sizes[position])) | space.is_mask(symbol)


def trim(path: Tensor) -> Tensor:
    """Paths without the rows that are padding in all of them."""
    return path[..., : int(num_jumps(path).max()) if path.numel() else 0, :]


def check_shape(path: Tensor, rows: int | None = None) -> Tensor:
    """Return ``path`` in float64, or raise ValueError unless it is (..., J, 3), with J = ``rows`` when given."""
    if path.dim() < 2 or path.shape[-1] != 3 or rows not in (None, path.shape[-2]):
        wanted = "..., max_jumps" if rows is None else f"..., {rows}"
        raise ValueError(
            f"A path of shape {tuple(path.shape)} must be ({wanted}, 3): rows of time, position and new symbol."
        )
    return path.to(torch.float64)


class PathOf(constraints.Constraint):
    """Constraint: a path in the right format that starts at ``x0``; see ``well_formed``."""

    is_discrete = False
    event_dim = 2

    def __init__(self, space: StateSpace, x0: Tensor, start: Tensor, end: Tensor, closed: Tensor) -> None:
        self.space, self.x0, self.start, self.end, self.closed = space, x0, start, end, closed
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Which paths are in the format, (..., J, 3) -> (...)."""
        batch = torch.broadcast_shapes(value.shape[:-2], self.start.shape)
        value = value.to(torch.float64).expand(*batch, *value.shape[-2:])
        x0 = self.x0.expand(*batch, self.space.length)
        return well_formed(value, x0, self.start.expand(batch), self.end.expand(batch), self.space, self.closed)
