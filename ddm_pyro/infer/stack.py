"""What Pyro is doing around a draw; the one place that looks at its handler stack."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from pyro.poutine.block_messenger import BlockMessenger
from pyro.poutine.condition_messenger import ConditionMessenger
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.escape_messenger import EscapeMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.replay_messenger import ReplayMessenger
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.trace_messenger import TraceMessenger

from ddm_pyro.spaces import describe_size

if TYPE_CHECKING:
    from pyro.distributions import TorchDistribution
    from pyro.poutine.trace_struct import Trace


def refuse_silent_enumeration(law: TorchDistribution) -> None:
    """Raise ValueError where Pyro draws a site from its prior though exact inference is under way.

    ``infer_discrete`` and the model's side of ``TraceEnum_ELBO`` skip a site that is not enumerated: the result is a
    draw from the prior, or a number that is no bound, without a word. A guide's own draw under ``TraceEnum_ELBO`` is
    an honest Monte Carlo estimate and passes.
    """
    if not _model_is_enumerated(list(_PYRO_STACK)):
        return
    if law.has_enumerate_support:
        if len(law.enumerate_support(expand=False)) == 1:
            return
        raise ValueError(
            "Pyro's exact inference would draw this site from the prior, because it is not marked for enumeration: "
            "wrap the model in pyro.infer.config_enumerate, or give the site a guide."
        )
    raise ValueError(
        f"Pyro's exact inference would skip this site and draw it from the prior: {describe_size(law.space)} values "
        "are too many to enumerate. Give it a guide, use importance sampling or ddm_pyro.infer's posterior inference, "
        "or, where the plan is what is too large, pyro.sample(name, DiffusionPrior(..., density='exact'))."
    )


def refuse_event_enumeration() -> None:
    """Raise ValueError where ``infer_discrete`` would enumerate a site of shaped events, which it cannot draw."""
    frames = list(_PYRO_STACK)
    if _is_alone(frames):
        raise ValueError(
            "Pyro's infer_discrete draws sites with scalar values only; write diffusion_sample(name, prior) instead of "
            "pyro.sample(name, prior): it enumerates by index."
        )


def wants_scalars(name: str) -> bool:
    """Whether Pyro enumerates the model for a site of this name, or replays what it drew for its index.

    Pyro's draws from enumerated posteriors, and its marginals, know scalar sites only. A value that is given by
    ``poutine.condition`` is scored as it is: an index would be summed out and leave it without a density.
    """
    frames = list(_PYRO_STACK)
    if any(isinstance(frame, ConditionMessenger) and name in frame.data for frame in frames):
        return False
    traces = [getattr(frame, kind, None) for frame in frames for kind in ("trace", "enum_trace")]
    names = {site for trace in traces if trace is not None for site in trace}
    return f"{name}_index" in names or (_model_is_enumerated(frames) and name not in names)


def open_traces() -> list[Trace]:
    """The traces that record what is drawn now."""
    return [frame.trace for frame in _PYRO_STACK if isinstance(frame, TraceMessenger)]


def refuse_given_values(path: str, sites: list[str]) -> None:
    """Raise ValueError when a guide is replayed on values of its sites without the path that makes them."""
    replays = [frame.trace for frame in _PYRO_STACK if isinstance(frame, ReplayMessenger) and frame.trace is not None]
    if any(path not in trace and any(site in trace for site in sites) for trace in replays):
        raise ValueError(
            f"AutoDiscreteDiffusion draws {', '.join(map(repr, sites))} together and cannot score values drawn "
            "elsewhere, as the sleep phase of ReweightedWakeSleep asks; use insomnia=1, or loss=guide.elbo(n, 'rws')."
        )


def warn_of_unguided(name: str, hidden: list[str], remedy: str) -> None:
    """Warn when a guide draws the site ``name`` but not the sites behind it, so that weights would be wrong."""
    frames = list(_PYRO_STACK)
    replays = [frame.trace for frame in frames if isinstance(frame, ReplayMessenger) and frame.trace is not None]
    drawn = {site for trace in replays for site in trace}
    # SMCFilter, which blocks, weighs the guide's sites alone; what is enumerated is summed out.
    apart = _model_is_enumerated(frames) or any(isinstance(frame, BlockMessenger) for frame in frames)
    if name not in drawn or drawn.intersection(hidden) or apart:
        return
    missing = ", ".join(repr(site) for site in hidden if not site.endswith("_index"))
    warnings.warn(
        f"The guide draws {name!r} but not {missing}, which the model then draws from the prior and scores without a "
        f"partner: weights and bounds are wrong. {remedy}",
        stacklevel=4,
    )


def _model_is_enumerated(frames: list[Messenger]) -> bool:
    """Pyro runs a model either against its guide's trace or, in infer_discrete, alone; a guide runs inside a queue."""
    enumerating = any(isinstance(frame, EnumMessenger) for frame in frames)
    against_guide = any(isinstance(frame, ReplayMessenger) for frame in frames)
    in_queue = any(isinstance(frame, EscapeMessenger) for frame in frames)
    return _is_alone(frames) or (enumerating and against_guide and not in_queue)


def _is_alone(frames: list[Messenger]) -> bool:
    """In infer_discrete: enumerated, and hidden from everything outside."""
    first = next((i for i, frame in enumerate(frames) if isinstance(frame, EnumMessenger)), 0)
    return first > 0 and isinstance(frames[first - 1], BlockMessenger)
