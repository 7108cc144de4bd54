"""One learned object, three views: the x0-posterior, the ratio score, the reverse rate."""

from __future__ import annotations

import copy
from abc import ABC
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ddm_pyro.parameterizations import conversions
from ddm_pyro.processes import Process


class Parameterization(nn.Module, ABC):
    """What a reverse process knows of the data, in three views that follow from each other.

    A subclass (and a wrapper: guidance, caching, counting) overrides the view named by ``primary``; the others are
    derived exactly. Shapes: ``x`` (..., L), ``t`` broadcasting against ``x.shape[:-1]``.

    Attributes:
        process: the forward process it reverses.
        primary: "x0" or "score", the view that is given rather than derived.
        time_free: whether the views do not depend on t, as with a masked process and an exact or time-free predictor.
    """

    primary: Literal["x0", "score"] = "x0"
    time_free: bool = False

    def __init__(self, process: Process) -> None:
        super().__init__()
        if not isinstance(process, Process):
            raise TypeError(f"process={process!r} must be a Process, such as ForwardProcess(rate, schedule, length).")
        self.process = process
        self.cond: dict[str, Any] = {}

    def x0_log_probs(self, x: Tensor, t: Tensor, *, at: Tensor | None = None) -> Tensor:
        """log p(x_0^l = v | x_t = x), (..., L, V); rows (K, V) at flat indices ``at`` = row * L + position.

        Raises:
            ValueError: a derived view that leaves the simplex (an inexact score has none), or a countable alphabet.
        """
        if self.primary == "x0":
            raise NotImplementedError(f"{type(self).__name__} must define x0_log_probs.")
        table = conversions.x0_from_score(self.process, x, t, self.log_score(x, t))
        return table if at is None else table.flatten(0, -2)[at]

    def log_score(self, x: Tensor, t: Tensor) -> Tensor:
        """log p_t(y) / p_t(x) for y = x with position l set to a move, (..., L, M) along ``process.moves(x)``."""
        if self.primary == "score":
            raise NotImplementedError(f"{type(self).__name__} must define log_score.")
        return conversions.score_from_x0(self.process, x, t, self.x0_log_probs(x, t))

    def reverse_rate(self, x: Tensor, t: Tensor) -> Tensor:
        """R_t[y, x] p_t(y) / p_t(x), the rate of the reverse jump x -> y, (..., L, M) along ``process.moves(x)``."""
        if self.primary == "x0" and self.process.is_masked:
            return conversions.masked_rate(self.process, x, t, self.x0_log_probs(x, t))
        return conversions.rate_from_score(self.process, x, t, self.log_score(x, t))

    def conditionals(self, x: Tensor, t: Tensor) -> Tensor:
        """p_t(x_l = . | the other tokens), (..., L, A) float64, read off the ratio score.

        A score derived from an x0 head gives ratio 0 to what the token seen excludes, as at t = 0 without noise: there
        a model that knows the token's own evidence apart (``Exact``, ``LeaveOneOut``) still answers.
        """
        if self.primary == "x0":  # without a logarithm in between, which has no gradient where a ratio is 0
            ratios = conversions.ratio_table(self.process, x, t, self.x0_log_probs(x, t))
        else:
            ratios = conversions.ratios_to_all(self.process, x, self.log_score(x, t))
        return ratios / ratios.sum(-1, keepdim=True)

    @property
    def is_hollow(self) -> bool:
        """Whether ``conditionals`` at a position never looks at the token there."""
        return False

    def bind(self, **cond: Any) -> Parameterization:
        """The same parameters, with conditioning passed to the network on every call."""
        bound = copy.copy(self)
        bound.cond = {**self.cond, **cond}
        return bound

    def rows(self, index: Tensor) -> Parameterization:
        """The same parameters, conditioning restricted to the given rows of the batch."""
        if not self.cond:
            return self
        selected = {k: v[index] if isinstance(v, Tensor) and v.dim() > 0 else v for k, v in self.cond.items()}
        return self.bind(**selected)

    @property
    def device(self) -> torch.device:
        """Where the parameters are; the default device when there are none."""
        return next((p.device for p in self.parameters()), torch.get_default_device())
