"""The type of log-probabilities: float64, but that of the other sites where Pyro contracts all of them together."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

import torch
from pyro.infer import TraceEnum_ELBO, TraceTMC_ELBO
from pyro.poutine.trace_struct import Trace
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ddm_pyro.distributions.engines import Asked, asked


def in_program_type(log_prob: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A method ``log_prob`` that answers Pyro's enumeration in the floating-point type of the program's other sites.

    Sums over enumerated values are tensor contractions of all sites' densities, the guide's included, and torch wants
    one type of them. Everywhere else, and from within another law, the answer stays as it is.
    """

    @functools.wraps(log_prob)
    def typed(self: Any, *args: Any, **kwargs: Any) -> Tensor:
        result = log_prob(self, *args, **kwargs)
        who = asked(sys._getframe())
        return result.to(_common(who.traces)) if who is not None and _contracts(who) else result

    typed.in_program_type = True  # type: ignore[attr-defined]
    return typed


def _contracts(who: Asked) -> bool:
    """Whether the densities are contracted: by an engine made for it, or because a site of theirs is enumerated."""
    if any(isinstance(caller, TraceEnum_ELBO | TraceTMC_ELBO) for caller in who.callers):
        return True
    return any("_enumerate_dim" in site["infer"] for trace in who.traces for site in _samples(trace))


def _common(traces: list[Trace]) -> torch.dtype:
    """The floating-point type of the sites that have one of their own; float64 where there are none."""
    found = {dtype for trace in traces for site in _samples(trace) for dtype in _types(site["fn"])}
    return reduce(torch.promote_types, found) if found else torch.float64


def _samples(trace: Trace) -> Iterator[Any]:
    for site in trace.nodes.values():
        if site["type"] == "sample" and not site_is_subsample(site) and not site["infer"].get("_deterministic"):
            yield site


def _types(law: Any) -> Iterator[torch.dtype]:
    if getattr(type(law).log_prob, "in_program_type", False):
        return
    for value in vars(law).values():
        if isinstance(value, Tensor) and value.is_floating_point():
            yield value.dtype
        elif isinstance(value, torch.distributions.Distribution):
            yield from _types(value)
