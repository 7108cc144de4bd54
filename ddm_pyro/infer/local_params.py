"""Parameters of plain modules under Pyro's ``module_local_params``."""

from __future__ import annotations

import weakref

import pyro
from torch import nn


def name_local(module: nn.Module) -> None:
    """What Pyro does for parameters of its store, and ``SVI`` asks of those that are local to a module.

    Does nothing where the setting ``module_local_params`` is off.
    """
    if pyro.settings.get("module_local_params"):
        for parameter in module.parameters():
            parameter.unconstrained = weakref.ref(parameter)  # type: ignore[attr-defined]
