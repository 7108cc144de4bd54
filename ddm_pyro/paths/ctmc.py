"""Jump times and states of a forward process as a Pyro distribution with an exact density."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ddm_pyro.arrays import float64
from ddm_pyro.distributions.program_type import in_program_type
from ddm_pyro.distributions.token_law import check_expansion
from ddm_pyro.paths.capacity import check_finitely_many, default_max_jumps
from ddm_pyro.paths.density import by_quadrature, clocked
from ddm_pyro.paths.replay import PathOf, check_shape, padding, trim, well_formed
from ddm_pyro.paths.simulate import EventLog, clock_to_time, gillespie, uniformization
from ddm_pyro.spaces import StateSpace

if TYPE_CHECKING:
    from ddm_pyro.processes import Process

METHODS = ("gillespie", "uniformization")


class PathLaw(TorchDistribution):
    """A law of paths on [s, t]: batch shape (...), event (max_jumps, 3). Abstract: a subclass scores and draws.

    Rows are (time, position, new symbol) in time order, padded with (inf, -1, -1), float64.

    Attributes:
        process, x0, s, t: what runs, from which state (..., L), and over which interval (...).
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False
    #: Tensors with the batch's shape and this many dimensions more.
    tensors: ClassVar[dict[str, int]] = {"x0": 1, "s": 0, "t": 0}

    def __init__(self, process: Process, x0: Tensor, s: Any, t: Any, max_jumps: int | None) -> None:
        self.process = process
        x0 = process.space.check(x0, "x0")
        s, t = float64(s, x0.device), float64(t, x0.device)
        batch = torch.broadcast_shapes(x0.shape[:-1], s.shape, t.shape)
        if not bool(((s >= 0) & (s < t) & (t <= 1)).all()):
            raise ValueError(f"A path runs over [s, t] with 0 <= s < t <= 1; s={_show(s)} and t={_show(t)} do not.")
        self.x0, self.s, self.t = x0.expand(*batch, x0.shape[-1]), s.expand(batch), t.expand(batch)
        self._check()
        if max_jumps is not None and (isinstance(max_jumps, bool) or int(max_jumps) != max_jumps or max_jumps < 0):
            raise ValueError(f"max_jumps={max_jumps!r} must be a whole number of at least 0.")
        rows = self._default_max_jumps() if max_jumps is None else int(max_jumps)
        super().__init__(batch, torch.Size((rows, 3)), validate_args=False)

    def _check(self) -> None:
        """Raise ValueError when there is no such law."""
        check_finitely_many(self.process, self.s, self.t)

    def _default_max_jumps(self) -> int:
        return default_max_jumps(self.process, self.s, self.t)

    @property
    def max_jumps(self) -> int:
        """Rows of a path."""
        return self.event_shape[0]

    @property
    def space(self) -> StateSpace:
        """The sequences the path runs through."""
        return self.process.space

    @constraints.dependent_property(is_discrete=False, event_dim=2)
    def support(self) -> constraints.Constraint:
        """Ordered times, jumps to other symbols of the space, padding."""
        return PathOf(self.space, self.x0, self.s, self.t, self._closed())

    def _closed(self) -> Tensor:
        """Whether a jump may happen at t itself: not where the noise is infinite."""
        change = self.process.time_change
        return torch.ones_like(self.t, dtype=torch.bool) if change is None else change.clock(self.t).isfinite()

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Independent paths, (*sample_shape, *batch, max_jumps, 3). Raises ValueError when one has too many jumps."""
        shape = (*sample_shape, *self.batch_shape)
        flat = {
            name: getattr(self, name).expand((*shape, *self._tail(name))).reshape(-1, *self._tail(name))
            for name in self.tensors
        }
        with torch.no_grad():
            return self._draw(**flat).reshape(*shape, *self.event_shape)

    def _tail(self, name: str) -> torch.Size:
        value = getattr(self, name)
        return value.shape[value.dim() - self.tensors[name] :]

    def _draw(self, **flat: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} does not say how it is drawn.")

    def _aligned(self, path: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Paths in the batch's shape with ill-formed ones emptied, which those are, and the tensors expanded alike."""
        path = check_shape(path, self.max_jumps)
        batch = torch.broadcast_shapes(path.shape[:-2], self.batch_shape)
        path = path.expand(*batch, *self.event_shape)
        own = {name: getattr(self, name).expand((*batch, *self._tail(name))) for name in self.tensors}
        closed = self._closed().expand(batch)
        good = well_formed(path.detach(), own["x0"], own["s"], own["t"], self.space, closed)
        return trim(torch.where(good[..., None, None], path, padding((1,), path.device))), good, own

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """The same law for a larger batch. Raises ValueError when the batch does not expand to it."""
        batch_shape = check_expansion(self.batch_shape, batch_shape)
        new = self._get_checked_instance(type(self), _instance)
        new.__dict__.update(self.__dict__)
        for name in self.tensors:
            setattr(new, name, getattr(self, name).expand((*batch_shape, *self._tail(name))))
        super(PathLaw, new).__init__(batch_shape, self.event_shape, validate_args=False)
        return new


class CTMCPath(PathLaw):
    """The path of a forward process on [s, t] from x0.

    Density with respect to counting measure on the jumps times Lebesgue measure on their times:

        log p(path) = sum_i log R_{t_i}(x_{i-1}, x_i) - int_s^t sum_{y != x_u} R_u(x_u, y) du

    The integral is closed-form when R_t = schedule.rate(t) Q, by quadrature to ``density.QUADRATURE_TOLERANCE`` for any
    other process. Densities differentiate with respect to the rates (``rates.Dense`` of a tensor that requires grad)
    and the jump times. Ill-formed and impossible paths score -inf, whether or not validation is on.

    Args:
        process: what runs.
        x0: (..., L) start.
        s, t: the interval, numbers or tensors broadcasting with the batch.
        max_jumps: rows of a path; None takes one that overflows with probability below 1e-9.
        method: how paths are drawn, "gillespie" (the inverse of sigma a jump; needs R_t = schedule.rate(t) Q) or
            "uniformization" (needs a bounded exit rate); both are exact. None takes the first that works.

    Raises:
        ValueError: states, times or numbers out of range; infinitely many jumps; when drawing, more than ``max_jumps``
            jumps, with the number that would do; when scoring, a path of another shape.

    Example:
        >>> from ddm_pyro import ForwardProcess
        >>> from ddm_pyro.rates import Masked
        >>> from ddm_pyro.schedules import Linear
        >>> law = CTMCPath(ForwardProcess(Masked(3), Linear(), length=2), torch.tensor([0, 2]))
        >>> law.event_shape, round(law.log_prob(torch.tensor([[0.25, 1, 3], [0.5, 0, 3]])).exp().item(), 12)
        (torch.Size([2, 3]), 1.0)
    """

    def __init__(
        self,
        process: Process,
        x0: Tensor,
        s: Any = 0.0,
        t: Any = 1.0,
        *,
        max_jumps: int | None = None,
        method: str | None = None,
    ) -> None:
        if method is None:
            method = METHODS[process.time_change is None]
        if method not in METHODS:
            raise ValueError(f"method={method!r} must be one of {METHODS}.")
        if method == "gillespie" and process.time_change is None:
            raise ValueError(
                f"method='gillespie' needs rates of the form schedule.rate(t) Q, which {process!r} has not; "
                "use method='uniformization'."
            )
        self.method = method
        super().__init__(process, x0, s, t, max_jumps)

    @in_program_type
    def log_prob(self, value: Tensor) -> Tensor:
        """log-density of paths (..., max_jumps, 3) -> (...), float64."""
        if self.process.time_change is not None:
            return self.position_log_prob(value).sum(-1)
        path, good, own = self._aligned(value)
        return torch.where(good, by_quadrature(self.process, path, **own), -torch.inf)

    def position_log_prob(self, value: Tensor) -> Tensor:
        """log-density of each position's path, (..., L): sum those that were watched, and the others are marginalised.

        Raises:
            NotImplementedError: rates that are not of the form schedule.rate(t) Q.
        """
        change = self.process.time_change
        if change is None:
            raise NotImplementedError(f"{self.process!r} has no time change that separates its positions.")
        path, good, own = self._aligned(value)
        return torch.where(good.unsqueeze(-1), clocked(change, path, **own), -torch.inf)

    def _draw(self, *, x0: Tensor, s: Tensor, t: Tensor) -> Tensor:  # type: ignore[override]
        change, log = self.process.time_change, EventLog(self.max_jumps)
        start, end = (s, t) if change is None else (change.clock(s), change.clock(t))
        if self.method == "uniformization" or change is None:
            uniformization(self.process, x0, start, end, log)
        else:
            gillespie(change, x0, start, end, log)
        paths = log.pack(len(x0), x0.device)
        return paths if change is None else clock_to_time(change, paths, s, t)

    def __repr__(self) -> str:
        return f"CTMCPath({self.process!r}, batch_shape={tuple(self.batch_shape)}, max_jumps={self.max_jumps})"


def _show(time: Tensor) -> str:
    return f"{float(time):.6g}" if time.dim() == 0 else str(time.tolist())
