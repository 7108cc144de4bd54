"""Discrete diffusion models as first-class citizens of the probabilistic programming language Pyro.

Names load on first use, so that ``import ddm_pyro`` and ``ddm-pyro --help`` do not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_MODULES = frozenset(
    {
        "bounds",
        "distributions",
        "evaluation",
        "infer",
        "likelihood",
        "losses",
        "metrics",
        "networks",
        "parameterizations",
        "paths",
        "planning",
        "plugins",
        "processes",
        "random",
        "rates",
        "report",
        "reproduce",
        "samplers",
        "sampling",
        "schedules",
        "spaces",
        "targets",
        "training",
    }
)
_NAMES = {
    "StateSpace": "spaces",
    "Tabular": "distributions",
    "Samples": "distributions",
    "Process": "processes",
    "ForwardProcess": "processes",
    "Parameterization": "parameterizations",
    "X0": "parameterizations",
    "LeaveOneOut": "parameterizations",
    "Score": "parameterizations",
    "MaskPredictor": "parameterizations",
    "Exact": "parameterizations",
    "sample": "sampling",
    "push": "sampling",
    "Sampler": "samplers",
    "DiffusionPrior": "infer",
    "diffusion_sample": "infer",
    "fit": "training",
    "FitResult": "training",
    "load": "training",
    "save": "training",
    "Plan": "evaluation",
    "evaluate": "evaluation",
    "create": "plugins",
    "hookimpl": "plugins",
    "RateSpec": "plugins",
    "ScheduleSpec": "plugins",
    "ParameterizationSpec": "plugins",
    "LossSpec": "plugins",
    "SamplerSpec": "plugins",
    "TargetSpec": "plugins",
    "MetricSpec": "plugins",
    "BoundSpec": "plugins",
    "RendererSpec": "plugins",
    "CommandSpec": "plugins",
}

__all__ = sorted([*_MODULES, *_NAMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _NAMES:
        return getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from ddm_pyro import infer as infer
    from ddm_pyro import metrics as metrics
    from ddm_pyro import paths as paths
    from ddm_pyro import rates as rates
    from ddm_pyro import samplers as samplers
    from ddm_pyro import schedules as schedules
    from ddm_pyro import targets as targets
    from ddm_pyro.distributions import Samples as Samples
    from ddm_pyro.distributions import Tabular as Tabular
    from ddm_pyro.infer import DiffusionPrior as DiffusionPrior
    from ddm_pyro.infer import diffusion_sample as diffusion_sample
    from ddm_pyro.parameterizations import X0 as X0
    from ddm_pyro.parameterizations import Exact as Exact
    from ddm_pyro.parameterizations import LeaveOneOut as LeaveOneOut
    from ddm_pyro.parameterizations import MaskPredictor as MaskPredictor
    from ddm_pyro.parameterizations import Parameterization as Parameterization
    from ddm_pyro.parameterizations import Score as Score
    from ddm_pyro.plugins import create as create
    from ddm_pyro.plugins import hookimpl as hookimpl
    from ddm_pyro.processes import ForwardProcess as ForwardProcess
    from ddm_pyro.processes import Process as Process
    from ddm_pyro.samplers import Sampler as Sampler
    from ddm_pyro.sampling import push as push
    from ddm_pyro.sampling import sample as sample
    from ddm_pyro.spaces import StateSpace as StateSpace
