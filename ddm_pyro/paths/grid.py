"""A path seen at given times: a Markov chain of transitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, constraints

from ddm_pyro.arrays import float64
from ddm_pyro.distributions.program_type import in_program_type
from ddm_pyro.distributions.token_law import InSpace, check_expansion
from ddm_pyro.spaces import StateSpace

if TYPE_CHECKING:
    from ddm_pyro.processes import Process


class GridPath(TorchDistribution):
    """The states at ``times`` of a process started at x0: batch shape (...), event (T, L), tokens int64.

    P(x_1, ..., x_T) = prod_k P(x_{t_k} = x_k | x_{t_{k-1}} = x_{k-1}), with t_0 = s and x_0 given.

    Args:
        process: any process.
        x0: (..., L) state at s.
        times: (T,) increasing times in (s, 1]; s itself may be the first when it is 0.
        s: when the process is at x0.

    Raises:
        ValueError: states or times out of range, times that do not increase; with validation on, scoring states
            outside the space.

    Example:
        >>> from ddm_pyro import ForwardProcess
        >>> from ddm_pyro.rates import Masked
        >>> from ddm_pyro.schedules import Linear
        >>> law = GridPath(ForwardProcess(Masked(3), Linear(), length=1), torch.tensor([2]), [0.25, 0.5])
        >>> round(law.log_prob(torch.tensor([[2], [3]])).exp().item(), 12)
        0.25
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False

    def __init__(
        self, process: Process, x0: Tensor, times: Any, s: float = 0.0, *, validate_args: bool | None = None
    ) -> None:
        self.process, self.s = process, float(s)
        self.x0 = process.space.check(x0, "x0")
        self.times = check_grid(times, self.s, x0.device)
        event = torch.Size((len(self.times), process.space.length))
        super().__init__(self.x0.shape[:-1], event, validate_args=False)
        self._validate_args = bool(Distribution._validate_args) if validate_args is None else validate_args

    @property
    def space(self) -> StateSpace:
        """The sequences the path runs through."""
        return self.process.space

    @constraints.dependent_property(is_discrete=True, event_dim=2)
    def support(self) -> constraints.Constraint:
        """A sequence of the space at every time."""
        return constraints.independent(InSpace(self.space), 1)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Independent paths, (*sample_shape, *batch, T, L)."""
        x, states, now = self.x0.expand(*sample_shape, *self.x0.shape), [], self.s
        with torch.no_grad():
            for time in self.times.tolist():
                x = self.process.transition(x, now, time, validate_args=False).sample() if time > now else x
                states.append(x)
                now = time
        return torch.stack(states, -2)

    @in_program_type
    def log_prob(self, value: Tensor) -> Tensor:
        """log-probability of states (..., T, L) -> (...), float64."""
        if self._validate_args:
            self._validate_sample(value)
        batch = torch.broadcast_shapes(value.shape[:-2], self.batch_shape)
        states = value.long().expand(*batch, *self.event_shape)
        before = torch.cat([self.x0.expand(*batch, -1).unsqueeze(-2), states[..., :-1, :]], -2)
        earlier = torch.cat([self.times.new_tensor([self.s]), self.times[:-1]])
        moved = self.times > earlier
        law = self.process.transition(before[..., moved, :], earlier[moved], self.times[moved], validate_args=False)
        total = law.log_prob(states[..., moved, :]).sum(-1)
        stayed = (before == states)[..., ~moved, :].all(-1).all(-1)
        return torch.where(stayed, total, -torch.inf)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """The same law for a larger batch. Raises ValueError when the batch does not expand to it."""
        batch_shape = check_expansion(self.batch_shape, batch_shape)
        new = self._get_checked_instance(type(self), _instance)
        new.__dict__.update(self.__dict__)
        new.x0 = self.x0.expand(*batch_shape, -1)
        super(GridPath, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @classmethod
    def infer_shapes(cls, **arg_shapes: Sequence[int]) -> tuple[torch.Size, torch.Size]:
        """Shapes from those of ``x0`` and ``times``."""
        x0 = torch.Size(arg_shapes["x0"])
        return x0[:-1], torch.Size((*arg_shapes["times"], x0[-1]))

    def __repr__(self) -> str:
        return f"GridPath({self.process!r}, times={self.times.tolist()}, batch_shape={tuple(self.batch_shape)})"


def check_grid(times: Any, s: float, device: torch.device) -> Tensor:
    """Times (T,) as float64, or ValueError unless they increase within [s, 1] (past s, unless s is 0)."""
    times = float64(times, device)
    if times.dim() != 1 or len(times) == 0:
        raise ValueError(f"times has shape {tuple(times.shape)}; give at least one time, (T,).")
    inside = (times[0] > s) | ((times[0] == 0) & (s == 0))
    if not bool(inside & (times[1:] > times[:-1]).all() & (times[-1] <= 1)):
        raise ValueError(f"times={times.tolist()} must increase and lie after s={s:.6g}, up to 1.")
    return times
