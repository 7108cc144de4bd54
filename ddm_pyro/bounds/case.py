"""A small enough world in which everything is known: states, laws of x_t, exact and learned rates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddm_pyro.bounds.tables import carried, padded, pattern_mass, position_kernels
from ddm_pyro.plugins.errors import NotApplicable

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.processes import Process
    from ddm_pyro.spaces import StateSpace

#: Largest number of states, masks included, over which exact certificates sum.
STATES = 2**15

#: Table entries (rows x positions x symbols) worked on at once.
ENTRIES = 2**22


@dataclass(frozen=True, eq=False)
class Case:
    """Target, process and model on an enumerable space, from t = 1 down to ``stop``.

    Attributes:
        target: the data law.
        model: what the reverse process runs on.
        stop: delta, the time at which the reverse process ends.
    """

    target: Any
    model: Parameterization
    stop: float = 0.0

    @classmethod
    def of(cls, target: Any, model: Parameterization, times: Sequence[float] | Tensor | None, name: str) -> Case:
        """The case, after checking that it can be enumerated.

        Raises:
            NotApplicable: a countable or a large space.
            ValueError: target and model on different spaces, times that do not start at 1.
        """
        space = model.process.space
        check_spaces(target, model)
        if not is_small(space):
            raise NotApplicable(
                f"{name} sums over all states exactly, and {space} has more than {STATES}; "
                "core/kernel-kl, core/plan-kl and core/path-kl also estimate."
            )
        return cls(target, model, stop_of(times))

    @property
    def process(self) -> Process:
        """The forward process."""
        return self.model.process

    @cached_property
    def exact(self) -> Parameterization:
        """The exact denoiser."""
        return self.target.denoiser(self.process)

    @cached_property
    def states(self) -> Tensor:
        """(N, L)."""
        return self.process.space.enumerate()

    @cached_property
    def masks(self) -> Tensor:
        """Masked positions, (N, L) bool."""
        return self.process.space.is_mask(self.states)

    @cached_property
    def data(self) -> Tensor:
        """p_0, flat over the data."""
        pmf: Tensor = self.target.tabular().pmf
        return pmf

    @cached_property
    def padded(self) -> Tensor:
        """p_0 as a tensor over the process's symbols, zero on masks."""
        return padded(self.data, self.process.space)

    @cached_property
    def contexts(self) -> Tensor:
        """P(the tokens shown by x), masks summed over, (N,): p_t(x) = q^n (1 - q)^(L - n) times it."""
        return pattern_mass(self.data, self.process.space)

    def masked_law(self, q: Tensor) -> Tensor:
        """The law of a sequence whose positions are masked with probability q, (T,) -> (T, N)."""
        number = self.masks.sum(-1)
        length = self.masks.shape[-1]
        q = q.unsqueeze(-1)
        return q**number * (1.0 - q) ** (length - number) * self.contexts

    def law(self, t: Tensor) -> Tensor:
        """p_t over the states, (T,) -> (T, N) float64."""
        if self.process.is_masked:
            return self.masked_law(self.process.mask_probability(t))
        return torch.stack([self.noised(float(one)) for one in t])

    def noised(self, t: float) -> Tensor:
        """p_t at one time: one kernel a position, applied along its axis."""
        return carried(self.padded, position_kernels(self.process, 0.0, t)).reshape(-1)

    @cached_property
    def prior(self) -> Tensor:
        """The law that sampling starts from, flat over the states."""
        return self.process.prior().log_prob(self.states).exp().double()

    def learned(self, t: Tensor) -> Tensor:
        """Learned reverse rates along the moves, (T, N, L, M)."""
        with torch.no_grad():
            rows, time = self.states.repeat(len(t), 1), t.repeat_interleave(len(self.states))
            return self.model.reverse_rate(rows, time).double().reshape(len(t), *self.states.shape, -1)

    def rates(self, t: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Exact rates, learned rates and forward rates along the moves, times in chunks: (chunk, 3 x (T', N, L, M))."""
        space = self.process.space
        per_time = self.states.numel() * space.num_symbols
        chunk = max(1, ENTRIES // per_time)
        for start in range(0, len(t), chunk):
            here = slice(start, min(start + chunk, len(t)))
            some = t[here]
            rows = self.states.repeat(len(some), 1)
            time = some.repeat_interleave(len(self.states))
            with torch.no_grad():
                shape = (len(some), *self.states.shape, -1)
                exact = self.exact.reverse_rate(rows, time).double().reshape(shape)
                learned = self.model.reverse_rate(rows, time).double().reshape(shape)
                forward = self.process.in_rates(rows, time).double().reshape(shape)
            # The move to the symbol itself is no jump.
            own = (self.process.moves(self.states) == self.states.unsqueeze(-1)).expand_as(exact)
            none = torch.zeros((), dtype=torch.float64)
            yield here, torch.where(own, none, exact), torch.where(own, none, learned), torch.where(own, none, forward)


def is_small(space: StateSpace) -> bool:
    """Whether exact certificates sum over its states."""
    return not space.is_countable and space.num_states <= STATES


def check_spaces(target: Any, model: Parameterization) -> None:
    """Raise ValueError unless target and model live on the same data."""
    if target.space != model.process.space.data:
        raise ValueError(f"The target lives on {target.space} but the model on {model.process.space.data}.")


def stop_of(times: Sequence[float] | Tensor | None) -> float:
    """The last time; 0 when none are given. Raises ValueError unless times decrease from 1."""
    if times is None:
        return 0.0
    values = [float(time) for time in times]
    if len(values) < 2 or values[0] != 1.0 or any(a <= b for a, b in pairwise(values)):
        raise ValueError(f"times={values} must decrease from 1, the time of the prior.")
    if values[-1] < 0.0:
        raise ValueError(f"times={values} must end in [0, 1).")
    return values[-1]
