"""What every law of a token sequence shares: shapes, expansion, support, enumeration, drawing by inverse CDF."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ddm_pyro import random
from ddm_pyro.spaces import StateSpace


class SequenceLaw(TorchDistribution):
    """A law of sequences whose tokens are independent: batch shape (...), event shape (L,), tokens int64.

    A subclass names its tensors and their trailing (non-batch) dimensions in ``parameter_dims`` and gives
    ``token_log_prob`` and ``icdf``; expansion, enumeration, support and sampling follow from these.
    """

    has_rsample = False
    #: Parameter name -> number of trailing dimensions that are not batch dimensions.
    parameter_dims: ClassVar[dict[str, int]] = {}
    #: Parameters without any batch dimension; they are shared by the whole batch.
    shared_parameters: ClassVar[frozenset[str]] = frozenset()

    @property
    @abstractmethod
    def num_symbols(self) -> int | None:
        """A, the number of symbols at a position; None for the natural numbers."""

    @abstractmethod
    def token_log_prob(self, value: Tensor) -> Tensor:
        """log-probability of each token, (..., L)."""

    @abstractmethod
    def icdf(self, u: Tensor) -> Tensor:
        """Tokens (..., L) from uniforms (..., L): pushes the uniform law to this one."""

    def table(self) -> Tensor:
        """Probabilities of all symbols at every position, (..., L, A) float64."""
        if self.num_symbols is None:
            raise ValueError(
                "A law on the natural numbers has no finite table; truncate the space with space.box(max)."
            )
        symbols = torch.arange(self.num_symbols, device=self._device)
        values = symbols.reshape(-1, *(1,) * (len(self.batch_shape) + 1)).expand(
            -1, *self.batch_shape, *self.event_shape
        )
        return self.token_log_prob(values).exp().movedim(0, -1)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """Sequences of whole numbers 0 .. A-1."""
        size = self.num_symbols
        token = constraints.nonnegative_integer if size is None else constraints.integer_interval(0, size - 1)
        return constraints.independent(token, 1)

    @property
    def has_enumerate_support(self) -> bool:
        """Whether the space is small enough to enumerate."""
        size = self.num_symbols
        return size is not None and size ** self.event_shape[0] <= 2**20

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All A**L sequences, shape (A**L, *batch, L), in index order. Raises ValueError when too many."""
        if self.num_symbols is None:
            raise NotImplementedError(
                "The support is infinite; truncate the alphabet with space.box(max) to enumerate it."
            )
        states = StateSpace(self.num_symbols, self.event_shape[0]).enumerate(self._device)
        states = states.reshape(-1, *(1,) * len(self.batch_shape), *self.event_shape)
        return states.expand(-1, *self.batch_shape, -1) if expand else states

    @property
    def _device(self) -> torch.device:
        return next(getattr(self, name) for name in self.parameter_dims).device

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Independent draws, (*sample_shape, *batch, L)."""
        with torch.no_grad():
            return self.icdf(random.uniform((*sample_shape, *self.batch_shape, *self.event_shape), self._device))

    def log_prob(self, value: Tensor) -> Tensor:
        """log-probability of sequences: (..., L) -> (...,), float64."""
        if self._validate_args:
            self._validate_sample(value)
        return self.token_log_prob(value.long()).sum(-1)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> SequenceLaw:
        """The same law for a larger batch, without copying."""
        new = self._get_checked_instance(type(self), _instance)
        batch_shape = torch.Size(batch_shape)
        for name, dims in self.parameter_dims.items():
            value = getattr(self, name)
            if name not in self.shared_parameters:
                value = value.expand(batch_shape + value.shape[value.dim() - dims :])
            setattr(new, name, value)
        super(SequenceLaw, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @classmethod
    def infer_shapes(cls, **arg_shapes: Sequence[int]) -> tuple[torch.Size, torch.Size]:
        """Batch and event shape from the shapes of the parameters (Pyro's static shape inference)."""
        batch = [
            tuple(shape)[: len(shape) - cls.parameter_dims[name]]
            for name, shape in arg_shapes.items()
            if name in cls.parameter_dims and name not in cls.shared_parameters
        ]
        first = next(iter(cls.parameter_dims))
        shape = tuple(arg_shapes[first])
        length = shape[len(shape) - cls.parameter_dims[first]]
        return torch.broadcast_shapes(*batch), torch.Size((length,))
