"""A law that is worked out when it is first used: the network runs in ``sample`` or ``log_prob``, not before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ddm_pyro.distributions.token_law import check_expansion
from ddm_pyro.spaces import StateSpace


class LazyLaw(TorchDistribution):
    """The distribution ``build()`` returns, built once, on first use. Pickling builds it and keeps the law alone.

    Args:
        build: makes the law.
        batch_shape: its batch shape.
        length: L; the event shape is (L,).

    Example:
        >>> from ddm_pyro.distributions import FactorizedCategorical
        >>> law = LazyLaw(lambda: FactorizedCategorical(torch.ones(2, 3)), (), 2)
        >>> round(law.log_prob(torch.tensor([0, 2])).exp().item(), 4)
        0.1111
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False

    def __init__(self, build: Callable[[], TorchDistribution], batch_shape: Sequence[int], length: int) -> None:
        self._build = build
        super().__init__(torch.Size(batch_shape), torch.Size((length,)))

    @cached_property
    def law(self) -> TorchDistribution:
        """The law itself."""
        return self._build()

    @property
    def space(self) -> StateSpace:
        """The space of the law."""
        return self.law.space

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """That of the law."""
        return self.law.support

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override, unused-ignore]
        """Whether the law can be enumerated."""
        return self.law.has_enumerate_support

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values of the law."""
        return self.law.enumerate_support(expand)

    def entropy(self) -> Tensor:
        """Entropy of the law, nats."""
        return self.law.entropy()

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws of the law."""
        return self.law.sample(torch.Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probabilities under the law."""
        if self._validate_args:
            self._validate_sample(value)
        return self.law.log_prob(value)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> LazyLaw:
        """The same law for a batch, still unbuilt. Raises ValueError when the batch does not expand to it."""
        shape = check_expansion(self.batch_shape, batch_shape)
        return LazyLaw(lambda: self.law.expand(shape), shape, self.event_shape[0])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "law": self.law, "_build": None}
