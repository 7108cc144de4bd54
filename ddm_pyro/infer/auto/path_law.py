"""A family's paths as one Pyro site: the auxiliary site on which a joint guide of discrete latents puts its density."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from pyro.distributions import Delta, TorchDistribution
from pyro.distributions.score_parts import ScoreParts
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor
from torch.distributions import constraints

from ddm_pyro.distributions.engines import asked, check_engine
from ddm_pyro.distributions.program_type import in_program_type
from ddm_pyro.distributions.token_law import check_expansion
from ddm_pyro.infer.auto.families import Family


class PathLaw(TorchDistribution):
    """The law of a family's paths: batch shape (...), event shape ``family.path_shape``, int64.

    ``log_prob`` is log q(path) - log r(path | x): the density with respect to the extension that the model does not
    name. With the model's own log p(x) the weights of Pyro's objectives are then those of the extended target, and
    their values lower bounds, although the site has no partner in the model.

    Pyro's ``Trace_ELBO`` leaves the density of such a site out of its score function coefficient; the product is
    handed to it as the entropy term. ``TraceGraph_ELBO`` (dense traces) counts it itself. Engines whose gradient would
    be wrong are refused.

    Attributes:
        family: the Family.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False

    def __init__(self, family: Family) -> None:
        self.family, self._counted = family, _traced_densely()
        super().__init__(torch.Size(), family.path_shape, validate_args=False)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> constraints.Constraint:
        """Arrays of nonnegative integers."""
        return constraints.independent(constraints.nonnegative_integer, len(self.event_shape))

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """The same law for a larger batch."""
        batch_shape = check_expansion(self.batch_shape, batch_shape)
        new = self._get_checked_instance(type(self), _instance)
        new.family, new._counted = self.family, self._counted
        super(PathLaw, new).__init__(batch_shape, self.event_shape, validate_args=False)
        return new

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Independent paths, (*sample_shape, *batch, *path_shape)."""
        shape = torch.Size((*sample_shape, *self.batch_shape))
        return self.family.sample(shape.numel()).reshape(*shape, *self.event_shape)

    @in_program_type
    def log_prob(self, value: Tensor) -> Tensor:
        """log q - log r, (..., *path_shape) -> (...,)."""
        shape = torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape)
        batch = shape[: len(shape) - len(self.event_shape)]
        return self.family.log_density(value.expand(shape).reshape(-1, *self.event_shape)).reshape(batch)

    def log_denoising(self, value: Tensor) -> Tensor:
        """An unbiased estimate of the mean of ``log_prob`` over paths that end like ``value``, (...,)."""
        tokens = self.family.tokens(value)
        return -self.family.denoising(tokens.reshape(-1, tokens.shape[-1])).reshape(tokens.shape[:-1])

    def score_parts(self, x: Tensor, *args: Any, **kwargs: Any) -> ScoreParts:
        """log q for the score function, and its product with itself where Pyro would leave it out."""
        log_prob = self.log_prob(x)
        check_engine(asked(sys._getframe()), log_prob, "train with loss=guide.elbo(num_particles)", joint=True)
        return ScoreParts(log_prob, log_prob, 0.0 if self._counted else log_prob.detach() * log_prob)


class Known(Delta):
    """A value already drawn; of whole numbers, too, the density is of the type of the program."""

    log_prob = in_program_type(Delta.log_prob)


def _traced_densely() -> bool:
    traces = (handler for handler in _PYRO_STACK if isinstance(handler, TraceMessenger))
    return any(handler.graph_type == "dense" for handler in traces)
