"""Cross entropy of the x0-posterior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ddm_pyro.losses.base import Loss, aligned_time
from ddm_pyro.losses.masked import masked_cross_entropy
from ddm_pyro.parameterizations import Parameterization


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """sum over positions of -log p(x_0^l | x_t), weight 1; masked processes: over masked positions only.

    No bound: the weight of the times is missing. Minimised by the same posterior as the bound, with less variance
    at small t.

    Raises:
        ValueError: a model whose primary view is not the x0-posterior.

    Example:
        >>> import torch
        >>> from ddm_pyro.targets import Product
        >>> from ddm_pyro import ForwardProcess, rates, schedules
        >>> forward = ForwardProcess(rates.Masked(2), schedules.Linear(), length=2)
        >>> exact = Product(torch.tensor([[0.25, 0.75], [0.5, 0.5]])).denoiser(forward)
        >>> CrossEntropy()(exact, torch.tensor([[1, 0]]), torch.tensor([[1, 2]]), 0.5).exp()
        tensor([2.], dtype=torch.float64)
    """

    minimizer = "the x0-posterior of the data"

    def __call__(self, model: Parameterization, x0: Tensor, xt: Tensor, t: Any) -> Tensor:
        """The integrand, (...,)."""
        time = aligned_time(model, x0, xt, t)
        if model.primary != "x0":
            raise ValueError(
                f"CrossEntropy needs a model of the x0-posterior, not {type(model).__name__}; "
                "use X0, or the loss ScoreEntropy()."
            )
        if model.process.is_masked:
            return masked_cross_entropy(model, x0, xt, time).double()
        log_p = model.x0_log_probs(xt, time).gather(-1, x0.unsqueeze(-1)).squeeze(-1)
        return -log_p.sum(-1).double()
