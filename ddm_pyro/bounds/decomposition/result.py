"""The decomposition itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ddm_pyro.spaces import StateSpace

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Decomposition:
    """E_p f - E_phat f and where it comes from: ``initialization + score + discretization``, exactly.

    Attributes:
        total: E_p f - E_phat f, in units of f; for an IPM its value.
        initialization: <p_T - pi, u_T>, what starting from the prior instead of the noised data costs.
        score: what the model's error costs.
        discretization: what steps (and a final denoising) cost; 0 for the continuous-time process run to the data.
        times: decreasing edges of the time intervals, (K + 1,).
        score_by_time: (K,) the score error made in each interval; a final denoising is an interval of its own,
            the last, from times[K - 1] to times[K].
        score_by_position: (L,). Where a step draws all positions at once, model replaces exact model from the first
            position to the last, and a position's share is the change it makes. None for steps without a table.
        score_by_state: flat over ``space``: the error made at each state the exact chain passes through.
        discretization_by_time: (K,).
        space: the space of the states, masks included.
        observable: f flat over the final space (the witness, for an IPM).
        conditioned: whether the exact chain starts from all masks too, so that there is no initialization error.
        residual: total minus the sum of the parts: rounding, and for the continuous identity the solver's error.
    """

    total: float
    initialization: float
    score: float
    discretization: float
    times: Tensor
    score_by_time: Tensor
    score_by_position: Tensor | None
    score_by_state: Tensor
    discretization_by_time: Tensor
    space: StateSpace
    observable: Tensor
    conditioned: bool

    @property
    def parts(self) -> dict[str, float]:
        """The three parts by name."""
        return {
            "initialization": self.initialization,
            "score": self.score,
            "discretization": self.discretization,
        }

    @property
    def residual(self) -> float:
        """total - sum of the parts."""
        return self.total - sum(self.parts.values())

    def plot(self) -> Figure:
        """Three panels: the parts, the score and discretization error over time, the score error by position.

        Example:
            >>> import ddm_pyro as ddm
            >>> target = ddm.targets.PottsChain(num_states=2, length=2, coupling=1.0)
            >>> forward = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), length=2)
            >>> model = ddm.targets.PottsChain(num_states=2, length=2, coupling=0.5).denoiser(forward)
            >>> parts = ddm.bounds.decompose(target, model, lambda x: (x[:, 0] == x[:, 1]).double())
            >>> len(parts.plot().axes)
            3
        """
        from ddm_pyro.bounds.decomposition.plot import plot

        return plot(self)
