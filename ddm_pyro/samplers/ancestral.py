"""Ancestral sampling: the bridge to s, averaged over the x0-posterior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.distributions import FactorizedCategorical, LazyLaw
from ddm_pyro.samplers.averaged import AveragedBridge
from ddm_pyro.samplers.plans import reveal_law
from ddm_pyro.samplers.thinning import ThinningSampler

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.processes import Process


@dataclass(frozen=True)
class Ancestral(ThinningSampler):
    """Each position is drawn from sum_u p(x_0 = u | x) q(x_s | x_t = x, x_0 = u), its exact one-site marginal.

    This is the x0-averaged posterior sampler of D3PM and equals Tweedie tau-leaping (SEDD's analytic sampler). For a
    masked process a mask is revealed with probability (alpha_s - alpha_t) / (1 - alpha_t). One network call a step;
    exact for one position, otherwise of first order in the step.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=3, length=3, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Uniform(3), ddm.schedules.Constant(total=6.0), length=3)
        >>> law = ddm.push(Ancestral(), target.denoiser(forward), steps=64)
        >>> ddm.create("metrics", "core/tv")(law, target.tabular()).value < 0.05
        True
    """

    def step(self, model: Parameterization, x: Tensor, t: Tensor, s: Tensor) -> TorchDistribution:
        """Law of X_s given X_t = x."""
        process = model.process
        if process.is_masked:
            return reveal_law(model, x, t, self.reveal(process, t, s)[..., None])

        def build() -> AveragedBridge | FactorizedCategorical:
            law = AveragedBridge(process, x, t, s, model.x0_log_probs(x, t))
            return law if process.has_full_reach else FactorizedCategorical(law.table(), validate_args=False)

        return LazyLaw(build, x.shape[:-1], x.shape[-1])

    def reveal(self, process: Process, t: Tensor, s: Tensor) -> Tensor:
        """(alpha_s - alpha_t) / (1 - alpha_t)."""
        at_t = process.mask_probability(t)
        return (at_t - process.mask_probability(s)) / at_t
