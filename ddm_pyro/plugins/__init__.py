"""The plugin door: hooks, specs, loader and registry, on pluggy and the standard library alone.

Nothing here imports torch or any other part of ddm_pyro; the built-ins come through the same hooks as everyone
else's components, and are imported when one of them is built.
"""

from __future__ import annotations

from ddm_pyro.plugins.api import API
from ddm_pyro.plugins.defaults import configure, create, default_registry, describe, list_plugins, requirements
from ddm_pyro.plugins.errors import (
    AmbiguousIdError,
    BrokenPluginError,
    ParameterError,
    PluginError,
    UnknownIdError,
    did_you_mean,
)
from ddm_pyro.plugins.hookspecs import hookimpl, hookspec
from ddm_pyro.plugins.kinds import KINDS, canonical_kind
from ddm_pyro.plugins.manager import Manager
from ddm_pyro.plugins.options import LoadOptions
from ddm_pyro.plugins.parameters import ParameterInfo, Signature
from ddm_pyro.plugins.records import Component, PluginRecord
from ddm_pyro.plugins.registry import Registry
from ddm_pyro.plugins.specs import (
    BoundSpec,
    CommandSpec,
    LossSpec,
    MetricSpec,
    Param,
    ParameterizationSpec,
    RateSpec,
    RendererSpec,
    SamplerSpec,
    ScheduleSpec,
    Spec,
    TargetSpec,
)

__all__ = [
    "API",
    "KINDS",
    "AmbiguousIdError",
    "BoundSpec",
    "BrokenPluginError",
    "CommandSpec",
    "Component",
    "LoadOptions",
    "LossSpec",
    "Manager",
    "MetricSpec",
    "Param",
    "ParameterError",
    "ParameterInfo",
    "ParameterizationSpec",
    "PluginError",
    "PluginRecord",
    "RateSpec",
    "Registry",
    "RendererSpec",
    "SamplerSpec",
    "ScheduleSpec",
    "Signature",
    "Spec",
    "TargetSpec",
    "UnknownIdError",
    "canonical_kind",
    "configure",
    "create",
    "default_registry",
    "describe",
    "did_you_mean",
    "hookimpl",
    "hookspec",
    "list_plugins",
    "requirements",
]
