"""Gillespie's algorithm on reverse rates frozen in time over a step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.samplers.base import Sampler
from ddm_pyro.samplers.events import SampleOnly, joint_generator, simulate

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization


@dataclass(frozen=True)
class Gillespie(Sampler):
    """The jump process with rates R_t frozen at the step's start time, simulated exactly in the state.

    One network call an event, so the number of calls is random; a host synchronisation an event. The exact law of a
    step is exp((t - s) R_t) on the enumerated space.
    """

    syncs: ClassVar[bool] = True
    leaves_noise: ClassVar[bool] = True
    uses_rates: ClassVar[bool] = True

    def step(self, model: Parameterization, x: Tensor, t: Tensor, s: Tensor) -> TorchDistribution:
        """Law of X_s given X_t = x; it can only be sampled."""
        return SampleOnly(partial(simulate, model, x, t, s), x.shape, "core/gillespie")

    def push(self, model: Parameterization, pmf: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """pmf exp((t - s) R_t)."""
        from scipy.sparse.linalg import expm_multiply  # here: its import changes warning filters

        generator = joint_generator(model, t, model.process.space)
        return torch.from_numpy(expm_multiply(generator.T * float(t - s), pmf.numpy())).clamp(min=0.0)
