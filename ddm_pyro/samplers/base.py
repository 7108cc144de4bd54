"""What a sampler is: the law of X_s given X_t = x, for one step from t down to s."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.samplers.exact_push import push_step

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.processes import Process


class Sampler(ABC):
    """One step of a reverse process. Frozen: no counters, no random state; the loop is ``ddm_pyro.sample``.

    Attributes:
        syncs: whether a step reads values back to the host (once an event, for exact jump samplers).
        leaves_noise: whether masks can be left at the last time, to be filled by the final denoising.
        uses_rates: whether the step needs finite reverse rates at its start time t.
        masked_only: whether the sampler is defined for masked processes only.
    """

    syncs: ClassVar[bool] = False
    leaves_noise: ClassVar[bool] = False
    uses_rates: ClassVar[bool] = False
    masked_only: ClassVar[bool] = False

    def num_steps(self, process: Process, steps: int | None) -> int:
        """The number of steps to take; a sampler that fixes it refuses another value."""
        if steps is None:
            raise ValueError(f"{type(self).__name__} needs steps= (how many) or times= (a decreasing grid).")
        if isinstance(steps, bool) or steps != int(steps) or steps < 1:
            raise ValueError(f"steps={steps!r} must be a whole number of at least 1.")
        return int(steps)

    def grid(self, process: Process, steps: int) -> Tensor:
        """Decreasing times, (steps + 1,) float64; evenly spaced from 1 to 0 unless overridden."""
        return torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)

    @abstractmethod
    def step(self, model: Parameterization, x: Tensor, t: Tensor, s: Tensor) -> TorchDistribution:
        """Law of X_s given X_t = x, batch (n,), event (L,); the network runs when it is sampled or scored."""

    def plan(self, process: Process, x: Tensor, times: Tensor) -> TorchDistribution | None:
        """Law of the randomness that ignores tokens: the step that draws each position, (n, L) int64; or None."""
        return None

    def prepare(self, process: Process, x: Tensor, times: Tensor, plan: Tensor | None) -> Sampler:
        """The sampler whose steps follow a drawn plan; ``x`` is the start, observed tokens in place."""
        return self

    def after(self, x: Tensor, y: Tensor, law: TorchDistribution) -> Sampler:
        """The sampler for the next step, given that ``law`` took x to y: a pure update of what it carries."""
        return self

    def push(self, model: Parameterization, pmf: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The exact law after one step from the flat ``pmf`` over ``model.process.space``."""
        return push_step(lambda x: self.step(model, x, t, s), pmf, model.process.space)
