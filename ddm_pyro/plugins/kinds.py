"""The ten kinds of component, their hooks and their specs."""

from __future__ import annotations

from typing import Final

from ddm_pyro.plugins.errors import PluginError, did_you_mean, listed
from ddm_pyro.plugins.specs import (
    BoundSpec,
    CommandSpec,
    LossSpec,
    MetricSpec,
    ParameterizationSpec,
    RateSpec,
    RendererSpec,
    SamplerSpec,
    ScheduleSpec,
    Spec,
    TargetSpec,
)

_SPECS: Final[tuple[type[Spec], ...]] = (
    RateSpec,
    ScheduleSpec,
    ParameterizationSpec,
    LossSpec,
    SamplerSpec,
    TargetSpec,
    MetricSpec,
    BoundSpec,
    RendererSpec,
    CommandSpec,
)
#: kind -> spec class, in the order of the hooks.
KINDS: Final[dict[str, type[Spec]]] = {spec.kind: spec for spec in _SPECS}
_SINGULAR: Final = {"loss" if kind == "losses" else kind.removesuffix("s"): kind for kind in KINDS}


def canonical_kind(kind: str) -> str:
    """The plural spelling of a kind; the singular is accepted.

    Raises:
        PluginError: there is no such kind.

    Example:
        >>> canonical_kind("loss"), canonical_kind("samplers")
        ('losses', 'samplers')
    """
    if kind in KINDS:
        return kind
    if kind in _SINGULAR:
        return _SINGULAR[kind]
    raise PluginError(
        f"Unknown kind of component {kind!r}.{did_you_mean(str(kind), KINDS)} The kinds are {listed(KINDS)}."
    )


def singular(kind: str) -> str:
    """One component of a kind, for sentences."""
    return next(one for one, many in _SINGULAR.items() if many == kind)


def hook_of(kind: str) -> str:
    """Name of the hook through which a kind is registered."""
    return f"register_{kind}"
