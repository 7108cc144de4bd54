"""Score entropy: the divergence between the true and the learned reverse rates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ddm_pyro.losses.base import Loss, aligned_time
from ddm_pyro.losses.divergence import divergence, log_score, reverse_divergence, weighted_sum
from ddm_pyro.losses.implicit import implicit_score_entropy
from ddm_pyro.losses.masked import reveal_rate
from ddm_pyro.losses.nelbo import NELBO
from ddm_pyro.parameterizations import Parameterization


@dataclass(frozen=True)
class ScoreEntropy(Loss):
    """sum_y R_t[y, x_t] (s_y - r_y log s_y + K(r_y)), K(a) = a (log a - 1), 0 log 0 = 0 (Lou et al., 2310.16834, (5)).

    ``kind="denoising"``: r = q(y | x_0)/q(x_t | x_0), whose mean given x_t is the score. With K(r) kept, this is the
    integrand of the bound, equal to ``NELBO``. ``kind="explicit"``: r is the score of ``exact``; the integral over
    t ~ U(0, 1) is the path-space KL between the true and the learned reverse process (apart from their starts), 0 at
    the truth, and differs from the denoising one by a constant. ``kind="implicit"`` does so too and needs neither x0
    nor the exact score: sum_y R_t[y, x_t] s(x_t, y) - R_t[x_t, y] log s(y, x_t), for 0 < t < 1, at the price of a
    network row for every y that x_t can jump to (and of waiting for the device to count them).

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
        >>> x0, xt, t = torch.tensor([[1]]), torch.tensor([[0]]), torch.tensor([0.5])
        >>> ScoreEntropy("explicit", exact=exact)(exact, x0, xt, t).item(), ScoreEntropy().is_bound
        (0.0, True)
    """

    kind: Literal["denoising", "explicit", "implicit"] = "denoising"
    exact: Parameterization | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_kind(self.kind, self.exact, type(self).__name__)

    @property
    def is_bound(self) -> bool:
        """True for the denoising kind; the others differ from it by a constant."""
        return self.kind == "denoising"

    @property
    def minimizer(self) -> str:
        """What it is minimised by."""
        return "the ratio score of the data" if self.exact is None else "the ratio score of the exact model"

    def __call__(self, model: Parameterization, x0: Tensor, xt: Tensor, t: Any) -> Tensor:
        """The integrand, (...,)."""
        if self.kind == "implicit":
            return implicit_score_entropy(model, xt, aligned_time(model, x0, xt, t))
        if self.exact is None:
            return NELBO()(model, x0, xt, t)
        time = aligned_time(model, x0, xt, t)
        with torch.no_grad():
            in_posteriors = model.primary == self.exact.primary == "x0"
            weight = reveal_rate(model.process, time) if in_posteriors else None
            target = log_score(self.exact, xt, time) if weight is None else self.exact.x0_log_probs(xt, time).double()
        if weight is None:
            return reverse_divergence(model, target, xt, time)
        # Rates are reveal rate times posterior: finite where the rate of masking is not.
        rates = torch.where(model.process.space.is_mask(xt), weight.unsqueeze(-1), 0.0).unsqueeze(-1)
        learned = model.x0_log_probs(xt, time).double()
        masked = (rates > 0).expand(learned.shape)
        learned, target = torch.where(masked, learned, 0.0), torch.where(masked, target, 0.0)
        return weighted_sum(rates.expand(learned.shape), divergence(target, learned))


def check_kind(kind: str, exact: Parameterization | None, name: str) -> None:
    """Raise ValueError unless the kind is known and ``exact`` is given exactly when it is used."""
    if kind not in ("denoising", "explicit", "implicit"):
        raise ValueError(f"kind={kind!r} must be 'denoising', 'explicit' or 'implicit'.")
    if kind == "explicit" and not isinstance(exact, Parameterization):
        raise ValueError(f"{name}('explicit') needs exact=, the exact model, such as target.denoiser(process).")
    if kind != "explicit" and exact is not None:
        raise ValueError(f"{name}({kind!r}) does not know the exact model and takes no exact=; use kind='explicit'.")
