"""Network evaluations, counted rather than believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ddm_pyro.parameterizations.base import Parameterization


@dataclass
class Count:
    """Network rows and network calls so far."""

    rows: int = 0
    calls: int = 0

    def add(self, x: Tensor) -> None:
        """One call on the rows of ``x``, (..., L)."""
        self.rows += x.shape[:-1].numel()
        self.calls += 1


class Counted(Parameterization):
    """The same model, every evaluation of a view counted: one call, and a row for each sequence it was asked about.

    Selecting rows or binding conditions keeps the counter. A view that itself runs the network twice (guidance)
    counts once here; wrap the guided model's parts to see both.

    Attributes:
        count: the running ``Count``.

    Example:
        >>> import torch, ddm_pyro as ddm
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=4)
        >>> model = Counted(ddm.targets.PottsChain(num_states=3, length=4, coupling=1.0).denoiser(forward))
        >>> _ = ddm.sample(ddm.samplers.FirstHitting(), model, 10, seed=0)
        >>> model.count.rows, model.count.calls
        (40, 4)
    """

    def __init__(self, inner: Parameterization, count: Count | None = None) -> None:
        super().__init__(inner.process)
        self.inner, self.count = inner, Count() if count is None else count
        self.primary, self.time_free, self.cond = inner.primary, inner.time_free, inner.cond

    def x0_log_probs(self, x: Tensor, t: Tensor, *, at: Tensor | None = None) -> Tensor:
        """The inner model's, counted."""
        self.count.add(x)
        return self.inner.x0_log_probs(x, t, at=at)

    def log_score(self, x: Tensor, t: Tensor) -> Tensor:
        """The inner model's, counted."""
        self.count.add(x)
        return self.inner.log_score(x, t)

    def reverse_rate(self, x: Tensor, t: Tensor) -> Tensor:
        """The inner model's, counted."""
        self.count.add(x)
        return self.inner.reverse_rate(x, t)

    def bind(self, **cond: Any) -> Counted:
        """The bound inner model with the same counter."""
        return Counted(self.inner.bind(**cond), self.count)

    def rows(self, index: Tensor) -> Counted:
        """The inner model on some rows, with the same counter."""
        return Counted(self.inner.rows(index), self.count)
