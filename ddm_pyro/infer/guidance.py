"""Guidance: models that mix predictions, or tilt one by a classifier, and are models again."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ddm_pyro.parameterizations import Parameterization


class Guided(Parameterization):
    """A model made of others: conditions and rows reach all of them."""

    def __init__(self, *parts: Parameterization, own: dict[str, Any] | None = None) -> None:
        first = parts[0]
        super().__init__(first.process)
        for other in parts[1:]:
            if other.process.space != first.process.space or other.primary != first.primary:
                raise ValueError(
                    f"The guided models disagree: {first.process!r} given as {first.primary!r}, and {other.process!r} "
                    f"given as {other.primary!r}; they must share space and primary view."
                )
        self.parts, self.own = torch.nn.ModuleList(parts), dict(own or {})
        self.primary, self.time_free = first.primary, all(part.time_free for part in parts)
        self.cond = {k: v for part in reversed(parts) for k, v in part.cond.items()} | self.own

    def _again(self, parts: list[Parameterization], own: dict[str, Any]) -> Guided:
        raise NotImplementedError

    def rows(self, index: Tensor) -> Guided:
        """The same guidance on some rows."""
        own = {k: v[index] if isinstance(v, Tensor) and v.dim() > 0 else v for k, v in self.own.items()}
        return self._again([part.rows(index) for part in self._models], own)

    @property
    def _models(self) -> list[Parameterization]:
        return list(self.parts)  # type: ignore[arg-type]


class ClassifierFreeGuidance(Guided):
    """p(v | x) proportional to p_conditional^weight p_unconditional^(1 - weight), normalised at each position.

    Weight 1 is the conditional model, 0 the unconditional one, above 1 sharpens (Ho and Salimans, arXiv 2207.12598; for
    discrete diffusion: Nisonoff et al., arXiv 2406.01572). On scores the mixture is of log ratios. What one of the two
    excludes stays excluded; where that leaves nothing, the conditional law remains.

    Args:
        conditional, unconditional: models of the same process: two networks, or one with two conditions bound.
        weight: the guidance weight, finite.

    Raises:
        ValueError: models of different spaces or primary views, a weight that is not finite.

    Example:
        >>> import ddm_pyro as ddm
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), length=1)
        >>> a, b = (ddm.targets.Product([p]).denoiser(forward) for p in ([0.8, 0.2], [0.5, 0.5]))
        >>> guided = ClassifierFreeGuidance(a, b, weight=2.0)
        >>> guided.x0_log_probs(torch.tensor([[2]]), torch.tensor(0.5)).exp()[0, 0].mul(17).round(decimals=6).tolist()
        [16.0, 1.0]
    """

    def __init__(self, conditional: Parameterization, unconditional: Parameterization, weight: float) -> None:
        super().__init__(conditional, unconditional)
        self.weight = _finite(weight)

    def x0_log_probs(self, x: Tensor, t: Tensor, *, at: Tensor | None = None) -> Tensor:
        """The mixture, renormalised, float64."""
        if self.primary != "x0":
            return super().x0_log_probs(x, t, at=at)
        with_, without = (part.x0_log_probs(x, t, at=at).double() for part in self._models)
        return renormalized(self._mix(with_, without), with_)

    def log_score(self, x: Tensor, t: Tensor) -> Tensor:
        """The mixture of log ratios."""
        if self.primary != "score":
            return super().log_score(x, t)
        with_, without = (part.log_score(x, t).double() for part in self._models)
        return self._mix(with_, without)

    def _mix(self, with_: Tensor, without: Tensor) -> Tensor:
        both = (with_ > -torch.inf) & (without > -torch.inf)
        mixed = self.weight * torch.where(both, with_, 0.0) + (1.0 - self.weight) * torch.where(both, without, 0.0)
        return torch.where(both, mixed, -torch.inf)

    def _again(self, parts: list[Parameterization], own: dict[str, Any]) -> Guided:
        return ClassifierFreeGuidance(parts[0], parts[1], self.weight)

    def bind(self, **cond: Any) -> Guided:
        """Conditions of the conditional model."""
        return self._again([self._models[0].bind(**cond), self._models[1]], {})


def renormalized(log_weights: Tensor, fallback: Tensor) -> Tensor:
    """log_weights less their log-sum, or ``fallback`` where all are -inf, (..., V)."""
    total = log_weights.logsumexp(-1, keepdim=True)
    possible = total > -torch.inf
    return torch.where(possible, log_weights - torch.where(possible, total, 0.0), fallback)


def _finite(weight: float) -> float:
    if not math.isfinite(weight):
        raise ValueError(f"weight={weight!r} must be a finite number.")
    return float(weight)
