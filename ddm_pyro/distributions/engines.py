"""Which of Pyro's engines asks a law for its density, in which traces: no law is told, so the caller is looked at."""

from __future__ import annotations

import warnings
from types import FrameType
from typing import Any, NamedTuple

import torch
from pyro.infer import RenyiELBO, TraceMeanField_ELBO, TraceTailAdaptive_ELBO, TraceTMC_ELBO
from pyro.infer.enum import get_importance_trace
from pyro.poutine.trace_struct import Trace
from torch import Tensor

#: Where Pyro asks the sites of a trace for their densities.
_LOG_PROB, _SCORE_PARTS = Trace.compute_log_prob.__code__, Trace.compute_score_parts.__code__
_PAIR = get_importance_trace.__code__

#: Engines that differentiate through draws.
_REPARAMETERISED = TraceMeanField_ELBO | TraceTailAdaptive_ELBO
#: Engines whose gradient for sites that are drawn is that of infinitely many particles.
_ASYMPTOTIC = RenyiELBO | TraceTMC_ELBO


class Asked(NamedTuple):
    """Who asks for a density.

    Attributes:
        traces: those that are scored, a guide's and its model's together.
        engine: the engine that scores a model against its guide; None for any other.
        callers: the objects whose methods ask.
    """

    traces: list[Trace]
    engine: Any
    callers: list[Any]


def asked(law: FrameType) -> Asked | None:
    """Who asks for the density that the function of frame ``law`` computes: None where it is no trace being scored.

    None as well where the same function has called itself, as for the parts of another law's density.
    """
    frame, own = law.f_back, law.f_code
    while frame is not None and frame.f_code is not _LOG_PROB and frame.f_code is not _SCORE_PARTS:
        if frame.f_code is own:
            return None
        frame = frame.f_back
    if frame is None or frame.f_back is None:
        return None
    caller, outer = frame.f_back, frame.f_back.f_back
    traces = [frame.f_locals["self"]]
    if str(caller.f_globals.get("__name__")).startswith("pyro."):  # else other traces at hand are the user's own
        traces += [value for value in caller.f_locals.values() if isinstance(value, Trace)]
    callers = [one.f_locals.get("self") for one in (caller, outer) if one is not None]
    return Asked(traces, callers[-1] if caller.f_code is _PAIR else None, callers)


def check_engine(who: Asked | None, score: Tensor, remedy: str, *, joint: bool = False) -> None:
    """Refuse, or warn of, an engine of Pyro's that is wrong in silence about a guide's discrete site.

    Args:
        who: who asks for the site's density.
        score: the site's log-probability.
        remedy: what to train with instead.
        joint: whether the density is that of sites in plates, which the others take plate element by plate element.

    Raises:
        NotImplementedError: an engine for reparameterised guides; with ``joint``, any that is wrong about it.

    Warns:
        UserWarning: a gradient that is right for infinitely many particles only.
    """
    engine = None if who is None else who.engine
    name = type(engine).__name__
    if isinstance(engine, _REPARAMETERISED):
        raise NotImplementedError(f"{name} differentiates through a guide's draws, but tokens are discrete; {remedy}.")
    if not isinstance(engine, _ASYMPTOTIC):
        return
    if joint:
        raise NotImplementedError(f"{name} is wrong for a joint guide of discrete sites; {remedy}.")
    if torch.is_grad_enabled() and score.requires_grad:
        warnings.warn(
            f"{name}'s gradient for what a guide draws of discrete sites is that of infinitely many particles, which "
            f"can be zero; {remedy}.",
            stacklevel=2,
        )
