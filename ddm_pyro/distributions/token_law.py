"""What every law of a token sequence has: a space, its support, enumeration and expansion."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from pyro.distributions import TorchDistribution
from pyro.distributions.score_parts import ScoreParts
from torch import Tensor
from torch.distributions import constraints

from ddm_pyro.distributions.engines import asked, check_engine
from ddm_pyro.distributions.program_type import in_program_type
from ddm_pyro.spaces import StateSpace

#: Largest space offered to Pyro's enumeration.
MAX_ENUMERATED = 2**20


class TokenLaw(TorchDistribution):
    """A law on the sequences of ``space``: batch shape (...), event shape (L,), tokens int64.

    A subclass gives ``space``, ``sample`` and ``log_prob``, and ``_device`` where it has tensors. Its log-probabilities
    are float64; Pyro's enumeration, which wants one floating-point type of all sites, gets that of the others.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False
    space: StateSpace

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "log_prob" in vars(cls):
            cls.log_prob = in_program_type(vars(cls)["log_prob"])

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """The sequences of the space."""
        return InSpace(self.space)

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override, unused-ignore]
        """Whether the space is small enough to enumerate."""
        return not self.space.is_countable and self.space.num_states <= MAX_ENUMERATED

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All sequences in index order, (num_states, *batch, L); with ones for the batch unless ``expand``.

        Raises:
            NotImplementedError: an infinite alphabet.
            ValueError: too many sequences, with their number.
        """
        if self.space.is_countable:
            raise NotImplementedError(
                "The support is infinite; truncate the alphabet with space.box(max) to enumerate it."
            )
        states = self.space.enumerate(self._device).reshape(-1, *(1,) * len(self.batch_shape), *self.event_shape)
        return states.expand(-1, *self.batch_shape, -1) if expand else states

    def score_parts(self, x: Tensor, *args: Any, **kwargs: Any) -> ScoreParts:
        """log_prob, for the score function. Refuses or warns of Pyro's engines that are wrong about a discrete site."""
        parts = super().score_parts(x, *args, **kwargs)
        if x.dim() <= len(self.batch_shape) + 1:  # else enumerated, not drawn
            remedy = "train with Trace_ELBO, TraceGraph_ELBO or ReweightedWakeSleep"
            check_engine(asked(sys._getframe()), parts.log_prob, remedy)
        return parts

    @property
    def _device(self) -> torch.device:
        return torch.get_default_device()

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """The same law for a larger batch, without copying. Raises ValueError when the batch does not expand to it."""
        batch_shape = check_expansion(self.batch_shape, batch_shape)
        new = self._get_checked_instance(type(self), _instance)
        new.__dict__.update(self.__dict__)
        super(TokenLaw, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new


class InSpace(constraints.Constraint):
    """Constraint: a sequence of the given state space."""

    is_discrete = True
    event_dim = 1

    def __init__(self, space: StateSpace) -> None:
        self.space = space
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Which sequences lie in the space, (..., L) -> (...,)."""
        inside = self.space.contains(value)
        return inside & (value == value.round()).all(-1) if value.is_floating_point() else inside

    def __repr__(self) -> str:
        return f"InSpace({self.space})"


def check_expansion(old: Sequence[int], new: Sequence[int]) -> torch.Size:
    """Return ``new`` as a Size, or raise ValueError when a batch of shape ``old`` does not broadcast to it.

    Example:
        >>> check_expansion((1, 3), [2, 4, 3])
        torch.Size([2, 4, 3])
    """
    old, new = torch.Size(old), torch.Size(new)
    tail = new[len(new) - len(old) :]
    if len(new) < len(old) or any(a not in (1, b) for a, b in zip(old, tail, strict=True)):
        raise ValueError(f"A batch of shape {tuple(old)} does not expand to {tuple(new)}.")
    return new
