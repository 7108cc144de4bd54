"""Weighted score matching: squared differences of ratio scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ddm_pyro.losses.base import Loss, aligned_time
from ddm_pyro.losses.divergence import log_denoising_ratio, log_score, weighted_sum
from ddm_pyro.losses.implicit import implicit_score_matching
from ddm_pyro.losses.score_entropy import check_kind
from ddm_pyro.parameterizations import Parameterization


@dataclass(frozen=True)
class ScoreMatching(Loss):
    """sum_y R_t[y, x_t] |s_y - r_y|^2: the weighted L2 loss of the uniform-noise bounds (Theorem 5.1, case 2).

    ``kind="denoising"``: r = q(y | x_0)/q(x_t | x_0); ``kind="explicit"``: r is the score of ``exact``. The two differ
    by a constant. ``kind="implicit"`` differs from both by a constant too and needs neither x0 nor the exact score:
    sum_y R_t[y, x_t] s(x_t, y)^2 - 2 R_t[x_t, y] s(y, x_t), for 0 < t < 1, at the price of a network row for every y
    that x_t can jump to. No bound on a likelihood. With masked noise the integral over t diverges at t = 0 for every
    model but the exact one: use ``ScoreEntropy`` or ``NELBO`` there.

    Args:
        kind: "denoising", "explicit" or "implicit".
        exact: the exact model, for "explicit" only.

    Raises:
        ValueError: another kind, or "explicit" without ``exact``, or another one with it.

    Example:
        >>> from ddm_pyro.targets import Product
        >>> from ddm_pyro import ForwardProcess, rates, schedules
        >>> forward = ForwardProcess(rates.Uniform(2), schedules.Linear(), length=1)
        >>> exact = Product(torch.tensor([[0.25, 0.75]])).denoiser(forward)
        >>> ScoreMatching()(exact, torch.tensor([[1]]), torch.tensor([[0]]), torch.tensor([0.5]))
        tensor([1.7778], dtype=torch.float64)
    """

    kind: Literal["denoising", "explicit", "implicit"] = "denoising"
    exact: Parameterization | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_kind(self.kind, self.exact, type(self).__name__)

    @property
    def minimizer(self) -> str:
        """What it is minimised by."""
        return "the ratio score of the data" if self.exact is None else "the ratio score of the exact model"

    def __call__(self, model: Parameterization, x0: Tensor, xt: Tensor, t: Any) -> Tensor:
        """The integrand, (...,)."""
        time = aligned_time(model, x0, xt, t)
        if self.kind == "implicit":
            return implicit_score_matching(model, xt, time)
        with torch.no_grad():
            rates = model.process.in_rates(xt, time)
            if self.exact is None:
                target = log_denoising_ratio(model.process, x0, xt, time)
            else:
                target = log_score(self.exact, xt, time)
        jumps = rates > 0
        learned = torch.where(jumps, log_score(model, xt, time), 0.0).exp()
        return weighted_sum(rates, (learned - torch.where(jumps, target, 0.0).exp()).square())
