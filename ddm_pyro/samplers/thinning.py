"""Steps in which every position jumps at most once, independently of the others.

For a masked process such a step reveals a masked position with a probability that ignores the tokens and draws its
value from p(v | x); samplers differ in that probability alone, and the step of each position can be planned.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.distributions import JumpLaw, LazyLaw
from ddm_pyro.samplers.base import Sampler
from ddm_pyro.samplers.plans import Planned, hazard_plan, reveal_law

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.processes import Process


class ThinningSampler(Sampler):
    """A sampler that, on a masked process, reveals each mask with probability ``reveal(process, t, s)``."""

    @abstractmethod
    def reveal(self, process: Process, t: Tensor, s: Tensor) -> Tensor:
        """P(a masked position is revealed in the step from t to s)."""

    def plan(self, process: Process, x: Tensor, times: Tensor) -> TorchDistribution | None:
        """The step that reveals each position of a masked process."""
        if not process.is_masked:
            return None
        return hazard_plan(lambda t, s: self.reveal(process, t, s), x, times)

    def prepare(self, process: Process, x: Tensor, times: Tensor, plan: Tensor | None) -> Sampler:
        """Follow the plan."""
        return self if plan is None else Planned.of(process, x, times, plan)


class RateSampler(ThinningSampler):
    """Position l leaves with probability ``leave(h r_l)``, r_l its total reverse rate at t, to a move by its rate."""

    uses_rates: ClassVar[bool] = True
    leaves_noise: ClassVar[bool] = True

    @abstractmethod
    def leave(self, mean: Tensor) -> Tensor:
        """P(leaving) from the mean number of jumps h r."""

    def reveal(self, process: Process, t: Tensor, s: Tensor) -> Tensor:
        """leave(h r), r = -alpha'(t) / (1 - alpha(t))."""
        return self.leave((t - s) * process.mask_decay(t) / process.mask_probability(t))

    def step(self, model: Parameterization, x: Tensor, t: Tensor, s: Tensor) -> TorchDistribution:
        """Law of X_s given X_t = x."""
        process = model.process
        if process.is_masked and model.primary == "x0":
            return reveal_law(model, x, t, self.reveal(process, t, s)[..., None])

        def build() -> JumpLaw:
            rates = model.reverse_rate(x, t)
            moves = None if process.has_full_moves else process.moves(x)
            size = None if process.space.is_countable else process.space.num_symbols
            jump = self.leave((t - s)[..., None] * rates.sum(-1))
            return JumpLaw(x, jump, rates, moves, size, validate_args=False)

        return LazyLaw(build, x.shape[:-1], x.shape[-1])
