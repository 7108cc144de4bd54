"""An enumerable law by the number of its value: what Pyro's exact posterior draws can handle."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import pyro
import torch
from pyro.distributions import Categorical, TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ddm_pyro.distributions.program_type import in_program_type
from ddm_pyro.distributions.token_law import TokenLaw, check_expansion
from ddm_pyro.infer.stack import refuse_silent_enumeration, wants_scalars
from ddm_pyro.spaces import StateSpace


def emit(name: str, law: TorchDistribution, infer: dict[str, Any], obs: Tensor | None = None) -> Tensor:
    """The site ``name`` ~ law; as a function of the site ``{name}_index`` where Pyro can enumerate scalars only."""
    if obs is not None or not wants_scalars(name) or not law.has_enumerate_support:
        return pyro.sample(name, law, obs=obs, infer=infer)
    listed = Listed(law)
    if len(listed.values) == 1:  # nothing to enumerate
        value = listed.values[0].expand(*law.batch_shape, -1)
        return pyro.sample(name, Sure(law.space, value), infer={**infer, "enumerate": None})
    value = listed.values[pyro.sample(f"{name}_index", listed)]
    # As pyro.deterministic does, but for the type of its zeros.
    return pyro.sample(name, Sure(law.space, value), obs=value, infer={"_deterministic": True})


class Listed(TorchDistribution):
    """The law of i where ``values[i]`` ~ law: scalar events, the batch shape of the law.

    Args:
        law: a law with ``enumerate_support``.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_enumerate_support = True

    def __new__(cls, *args: Any, logits: Tensor | None = None, **options: Any) -> Any:
        """A plain Categorical from ``logits``: Pyro makes posterior laws by ``type(law)(logits=...)``."""
        return super().__new__(cls) if logits is None else Categorical(logits=logits)

    def __init__(self, law: TorchDistribution, validate_args: bool | None = None) -> None:
        self.law = law
        super().__init__(law.batch_shape, torch.Size(), validate_args=validate_args)

    @cached_property
    def values(self) -> Tensor:
        """All values of the law, (K, L)."""
        values = self.law.enumerate_support(expand=False)
        return values.reshape(len(values), -1)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """0 .. K - 1."""
        return constraints.integer_interval(0, len(self.values) - 1)

    @in_program_type
    def log_prob(self, value: Tensor) -> Tensor:
        """log P(values[i])."""
        return self.law.log_prob(self.values[value])

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """0 .. K - 1, (K, *batch); with ones for the batch unless ``expand``."""
        index = torch.arange(len(self.values), device=self.values.device)
        index = index.reshape(-1, *(1,) * len(self.batch_shape))
        return index.expand(-1, *self.batch_shape) if expand else index

    def __call__(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """A draw, as ``pyro.sample`` asks for it."""
        refuse_silent_enumeration(self.law)
        return self.sample(sample_shape)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws, (*sample_shape, *batch)."""
        with torch.no_grad():
            probs = self.log_prob(self.enumerate_support()).exp().movedim(0, -1)
            return Categorical(probs).sample(torch.Size(sample_shape))

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Listed:
        """The same law for a larger batch."""
        return Listed(self.law.expand(check_expansion(self.batch_shape, batch_shape)))


class Sure(TokenLaw):
    """The law of a value that is known already: log-probability 0, whatever is asked.

    Args:
        space: of the value.
        value: (..., L).
    """

    def __init__(self, space: StateSpace, value: Tensor) -> None:
        self.space, self.value = space, value
        super().__init__(value.shape[:-1], value.shape[-1:], validate_args=False)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """The value, (*sample_shape, *batch, L)."""
        return self.value.expand(*sample_shape, *self.batch_shape, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """0."""
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return torch.zeros(shape, dtype=torch.float64, device=value.device)
