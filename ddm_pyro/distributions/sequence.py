"""What every law of a token sequence shares: shapes, expansion, support, enumeration, drawing by inverse CDF."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.distributions import Distribution

from ddm_pyro import random
from ddm_pyro.distributions.token_law import TokenLaw
from ddm_pyro.spaces import StateSpace


class SequenceLaw(TokenLaw):
    """A law of sequences whose tokens are independent: batch shape (...), event shape (L,), tokens int64.

    A subclass names its tensors and their trailing (non-batch) dimensions in ``parameter_dims`` and gives
    ``token_log_prob`` and ``icdf``; expansion, enumeration, support and sampling follow from these.
    """

    #: Parameter name -> number of trailing dimensions that are not batch dimensions.
    parameter_dims: ClassVar[dict[str, int]] = {}
    #: Parameters without any batch dimension; they are shared by the whole batch.
    shared_parameters: ClassVar[frozenset[str]] = frozenset()
    _space: StateSpace | None = None

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

    @property
    def space(self) -> StateSpace:  # type: ignore[override]
        """The space the law was put ``on``, or all sequences of its A symbols."""
        return StateSpace(self.num_symbols, self.event_shape[0]) if self._space is None else self._space

    def on(self, space: StateSpace, validate_args: bool | None = None) -> Self:
        """This law, read on ``space`` (smaller alphabets, masks) and checking the values it scores as asked."""
        self._space = space
        self._validate_args = bool(Distribution._validate_args) if validate_args is None else validate_args
        return self

    @property
    def _device(self) -> torch.device:
        return next(getattr(self, name) for name in self.parameter_dims).device

    def entropy(self) -> Tensor:
        """Sum of the tokens' entropies, (...,), nats."""
        return torch.special.entr(self.table()).sum((-1, -2))

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Independent draws, (*sample_shape, *batch, L)."""
        with torch.no_grad():
            return self.icdf(random.uniform((*sample_shape, *self.batch_shape, *self.event_shape), self._device))

    def log_prob(self, value: Tensor) -> Tensor:
        """log-probability of sequences: (..., L) -> (...,), float64."""
        if self._validate_args:
            self._validate_sample(value)
        return self.token_log_prob(value.long()).sum(-1)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """The same law for a larger batch, without copying."""
        new = super().expand(batch_shape, _instance)
        for name, dims in self.parameter_dims.items():
            value = getattr(self, name)
            if value is not None and name not in self.shared_parameters:
                setattr(new, name, value.expand(new.batch_shape + value.shape[value.dim() - dims :]))
        return new

    @classmethod
    def infer_shapes(cls, **arg_shapes: Sequence[int]) -> tuple[torch.Size, torch.Size]:
        """Batch and event shape from the shapes of the parameters (Pyro's static shape inference)."""
        # The first trailing dimension of every parameter is L (or 1): with the batch it is one shape to broadcast.
        shapes = [
            tuple(shape)[: len(shape) - cls.parameter_dims[name] + 1]
            for name, shape in arg_shapes.items()
            if name in cls.parameter_dims and name not in cls.shared_parameters and len(shape) > 0
        ]
        shape = torch.broadcast_shapes(*shapes)
        return shape[:-1], shape[-1:]
