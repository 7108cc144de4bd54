"""Generalised KL between the jump rates of mixture paths (discrete flow matching)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddm_pyro.losses.base import Loss, aligned_time
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.processes import ForwardProcess, Process
from ddm_pyro.rates import RankOneRate


@dataclass(frozen=True)
class GeneralizedKL(Loss):
    """w [1 - p(x_t^l | x_t) - 1[x_0^l != x_t^l] (1 + log p(x_0^l | x_t))] over positions, w = -alpha'/(1 - alpha).

    D(a || b) between the rates a = w 1[y = x_0] and b = w p(y | x_t) of the mixture path alpha 1[x_0] + (1 - alpha) pi
    (Gat et al., arXiv:2407.15595; Shaul et al., 2412.03487), p the x0-posterior. With ``constant`` it bounds
    -log p(x_0) of the process that jumps by w p(y | x_t). For masked noise that is the reverse process, and the loss
    equals ``NELBO``. For other noise it is another process with the same one-time marginals, straight to x_0, and the
    bound is not tight even at the truth, because the mixture of paths is not Markov.

    Raises:
        ValueError: a model without an x0 view, or a process that does not refresh tokens from one law (rank one).

    Example:
        >>> from ddm_pyro.targets import Product
        >>> from ddm_pyro import ForwardProcess, rates, schedules
        >>> forward = ForwardProcess(rates.Masked(2), schedules.Linear(), length=1)
        >>> exact = Product(torch.tensor([[0.25, 0.75]])).denoiser(forward)
        >>> GeneralizedKL()(exact, torch.tensor([[1]]), torch.tensor([[2]]), torch.tensor([0.5]))  # -log(0.75) / t
        tensor([0.5754], dtype=torch.float64)
    """

    is_bound = True
    minimizer = "the x0-posterior of the data"

    def __call__(self, model: Parameterization, x0: Tensor, xt: Tensor, t: Any) -> Tensor:
        """The integrand, (...,)."""
        time = aligned_time(model, x0, xt, t)
        if model.primary != "x0":
            raise ValueError(f"GeneralizedKL needs a model of the x0-posterior, not {type(model).__name__}; use X0.")
        weight = _refresh_weight(model.process, time)
        log_p = model.x0_log_probs(xt, time)
        stay = log_p.gather(-1, xt.clamp(max=log_p.shape[-1] - 1).unsqueeze(-1)).squeeze(-1).double().exp()
        stay = torch.where(model.process.space.is_mask(xt), 0.0, stay)
        hit = log_p.gather(-1, x0.unsqueeze(-1)).squeeze(-1).double()
        changed = x0 != xt
        values = (1.0 - stay - torch.where(changed, 1.0 + hit, 0.0)).sum(-1)
        # Without noise the posterior is the token itself: no rate to compare, although the weight is infinite.
        started = weight < torch.inf
        return torch.where(started, torch.where(started, weight, 0.0) * values, 0.0)


def _refresh_weight(process: Process, t: Tensor) -> Tensor:
    if not isinstance(process, ForwardProcess) or not all(
        isinstance(rate, RankOneRate) for rate, _ in process.joint.groups
    ):
        raise ValueError(
            f"GeneralizedKL needs tokens refreshed from one law (Uniform, Masked, RankOne), not {process!r}; "
            "use NELBO()."
        )
    return process.schedule.decay(t) / -torch.expm1(-process.schedule.sigma(t))
