"""The hooks of ddm_pyro: each gets ``register``, a callable that takes one spec of the hook's kind.

A plugin decorates a function of the same name with ``@hookimpl``. Hooks return None, import nothing heavy, and
their order never matters; what a plugin registered counts only if all its hooks returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pluggy import HookimplMarker, HookspecMarker

from ddm_pyro.plugins.api import PROJECT

if TYPE_CHECKING:
    from ddm_pyro.plugins.registrar import Registrar

hookspec: Final = HookspecMarker(PROJECT)
hookimpl: Final = HookimplMarker(PROJECT)


@hookspec
def register_rates(register: Registrar) -> None:
    """Register rate matrices with ``register(RateSpec(...))``."""


@hookspec
def register_schedules(register: Registrar) -> None:
    """Register noise schedules with ``register(ScheduleSpec(...))``."""


@hookspec
def register_parameterizations(register: Registrar) -> None:
    """Register views of a network's output with ``register(ParameterizationSpec(...))``."""


@hookspec
def register_losses(register: Registrar) -> None:
    """Register training losses with ``register(LossSpec(...))``."""


@hookspec
def register_samplers(register: Registrar) -> None:
    """Register samplers with ``register(SamplerSpec(...))``."""


@hookspec
def register_targets(register: Registrar) -> None:
    """Register laws and data sets with ``register(TargetSpec(...))``."""


@hookspec
def register_metrics(register: Registrar) -> None:
    """Register metrics with ``register(MetricSpec(...))``."""


@hookspec
def register_bounds(register: Registrar) -> None:
    """Register certificates with ``register(BoundSpec(...))``."""


@hookspec
def register_renderers(register: Registrar) -> None:
    """Register report renderers with ``register(RendererSpec(...))``."""


@hookspec
def register_commands(register: Registrar) -> None:
    """Register subcommands of ``ddm-pyro`` with ``register(CommandSpec(...))``."""
