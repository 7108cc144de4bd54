"""What Pyro is doing around a draw; the one place that looks at its handler stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyro.poutine.block_messenger import BlockMessenger
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.replay_messenger import ReplayMessenger
from pyro.poutine.runtime import _PYRO_STACK

from ddm_pyro.spaces import describe_size

if TYPE_CHECKING:
    from ddm_pyro.distributions import TokenLaw


def refuse_silent_enumeration(law: TokenLaw) -> None:
    """Raise ValueError where Pyro would draw from a prior that its exact inference believes to be enumerated.

    ``infer_discrete`` and the model's side of ``TraceEnum_ELBO`` skip a site that cannot be enumerated: the result is
    a draw from the prior, or a number that is no bound, without a word. A guide's own draw under ``TraceEnum_ELBO`` is
    an honest Monte Carlo estimate and passes.
    """
    if law.has_enumerate_support:
        return
    frames = list(_PYRO_STACK)
    enumerating = [i for i, frame in enumerate(frames) if isinstance(frame, EnumMessenger)]
    if not enumerating:
        return
    before = frames[enumerating[0] - 1] if enumerating[0] > 0 else None
    if isinstance(before, BlockMessenger) or any(isinstance(frame, ReplayMessenger) for frame in frames):
        raise ValueError(
            f"Pyro's exact inference would skip this site and draw it from the prior: {describe_size(law.space)} "
            "values are too many to enumerate. Give it a guide, use importance sampling or ddm_pyro.infer's posterior "
            "inference, or, for the plan of a short sequence, pyro.sample(name, DiffusionPrior(..., density='exact'))."
        )
