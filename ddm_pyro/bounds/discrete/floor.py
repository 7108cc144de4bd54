"""A predictor kept away from zero: what makes confidence limits of cross entropies honest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ddm_pyro.parameterizations import Parameterization


class Floored(Parameterization):
    """(1 - eps) times a model's x0-posterior plus eps / V at what is masked: no token is less likely than eps / V.

    Its log-losses are bounded by log(V / eps), so that a Monte Carlo certificate covers whatever the network does,
    instead of asymptotically. Sample from it as well: a certificate speaks of the model it was computed for.

    Args:
        inner: a model of a masked process.
        eps: share of the uniform law, in (0, 1).

    Raises:
        ValueError: eps outside (0, 1), or a process without masks.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=4, length=3, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(4), ddm.schedules.Linear(), length=3)
        >>> model = Floored(target.denoiser(forward), eps=0.1)
        >>> least_probability(model)
        0.025
    """

    def __init__(self, inner: Parameterization, eps: float) -> None:
        super().__init__(inner.process)
        if not 0.0 < eps < 1.0:
            raise ValueError(f"eps={eps!r} must lie strictly between 0 and 1.")
        if not inner.process.is_masked:
            raise ValueError(f"Floored mixes in the uniform law at masks; {inner.process!r} has none.")
        self.inner, self.eps, self.time_free, self.cond = inner, float(eps), inner.time_free, inner.cond

    @property
    def floor(self) -> float:
        """eps / V, the least probability of a token at a masked position."""
        return self.eps / self.process.space.vocab_size

    def x0_log_probs(self, x: Tensor, t: Tensor, *, at: Tensor | None = None) -> Tensor:
        """log of the mixture, float64."""
        space = self.process.space
        log_p = self.inner.x0_log_probs(x, t, at=at).double()
        positions = torch.arange(x.numel(), device=x.device).reshape(x.shape) if at is None else at
        sizes = space.sizes_on.on(x.device)[positions % space.length].unsqueeze(-1)
        inside = torch.arange(space.vocab_size, device=x.device) < sizes
        mixed = (1.0 - self.eps) * log_p.softmax(-1) + self.eps * inside / sizes
        masked = space.is_mask(x if at is None else x.flatten()[at]).unsqueeze(-1)
        return torch.where(masked, mixed.log(), log_p)

    def bind(self, **cond: Any) -> Floored:
        """The floored model of the bound one."""
        return Floored(self.inner.bind(**cond), self.eps)

    def rows(self, index: Tensor) -> Floored:
        """The floored model on some rows."""
        return Floored(self.inner.rows(index), self.eps)


def least_probability(model: Parameterization) -> float | None:
    """The floor of a model's x0-posterior where it has one (``Floored``, or a ``floor`` of its own), else None."""
    found = getattr(model, "floor", None)
    if found is None and type(model).__name__ == "Counted":
        return least_probability(model.inner)  # type: ignore[arg-type]
    return None if found is None else float(found)
