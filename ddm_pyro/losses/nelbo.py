"""The continuous-time bound on -log p(x_0)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ddm_pyro.losses.base import Loss, aligned_time
from ddm_pyro.losses.divergence import log_denoising_ratio, reverse_divergence
from ddm_pyro.losses.masked import masked_cross_entropy, reveal_rate, weighted_by
from ddm_pyro.losses.uniform import is_uniform, uniform_divergence
from ddm_pyro.parameterizations import Parameterization


@dataclass(frozen=True)
class NELBO(Loss):
    """Negative evidence lower bound in continuous time (Campbell et al., arXiv:2205.14987; Lou et al., 2310.16834).

    integrand = sum_y R_t[y, x_t] D(q(y | x_0)/q(x_t | x_0) || s_t(x_t)_y), D(a || b) = b - a + a log(a / b),

    over the moves y of x_t. For a masked process and an x0 model this is the weighted cross entropy

    -alpha'(t) / (1 - alpha(t)) * sum_{masked l} -log p(x_0^l | x_t)

    (Sahoo et al., 2406.07524; Shi et al., 2406.04329), finite up to t = 1. Its mean plus ``constant`` is at least
    -log p(x_0) of the model's reverse process, with equality in the mean over data at the truth.

    At t = 0 (no noise) an x0 model has integrand 0. Where the rate is infinite (t = 1 with alpha(1) = 0, unmasked or a
    score model) the value is the limit: 0 for a score that agrees, else infinity.

    Example:
        >>> import torch
        >>> from ddm_pyro.targets import Product
        >>> from ddm_pyro import ForwardProcess, rates, schedules
        >>> forward = ForwardProcess(rates.Masked(2), schedules.Linear(), length=1)
        >>> exact = Product(torch.tensor([[0.25, 0.75]])).denoiser(forward)
        >>> NELBO()(exact, torch.tensor([[1]]), torch.tensor([[2]]), torch.tensor([0.5]))  # -log(0.75) / t
        tensor([0.5754], dtype=torch.float64)
    """

    is_bound = True
    minimizer = "the x0-posterior, or the ratio score, of the data"

    def __call__(self, model: Parameterization, x0: Tensor, xt: Tensor, t: Any) -> Tensor:
        """The integrand, (...,)."""
        time = aligned_time(model, x0, xt, t)
        weight = reveal_rate(model.process, time) if model.primary == "x0" else None
        if weight is None and model.primary == "x0" and is_uniform(model.process):
            return uniform_divergence(model, x0, xt, time)
        if weight is None:
            return reverse_divergence(model, log_denoising_ratio(model.process, x0, xt, time), xt, time)
        values = masked_cross_entropy(model, x0, xt, time)
        return weighted_by(weight, values, model.process.space.is_mask(xt))
