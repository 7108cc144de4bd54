"""What every training loss is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from ddm_pyro.distributions.sequence import SequenceLaw
from ddm_pyro.losses.divergence import countable_prior_divergence, divergence, log_or_minus_infinity
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.processes import Process
from ddm_pyro.processes.base import time_on


class Loss(ABC):
    """The integrand of a training objective for t ~ U(0, 1): ``loss(model, x0, xt, t) -> (B,)``, nats, unreduced.

    Its mean over t, x_0 and x_t ~ q(x_t | x_0) is the objective; it is summed over positions, never averaged.
    A subclass gives ``__call__`` and ``minimizer`` (a class attribute will do); a bound also sets ``is_bound = True``.
    """

    @property
    def is_bound(self) -> bool:
        """Whether E_t,xt[loss] + constant(process, x0) >= -log p(x_0) for the model's reverse process."""
        return False

    @property
    @abstractmethod
    def minimizer(self) -> str:
        """What the objective is minimised by, in words."""

    def noise_time(self, u: Tensor) -> Tensor:
        """The time at which x_t is drawn for u ~ U(0, 1): u itself, or a time of the loss's own grid, (...,)."""
        return u

    @abstractmethod
    def __call__(self, model: Parameterization, x0: Tensor, xt: Tensor, t: Any) -> Tensor:
        """The integrand at one time a row.

        Args:
            model: what is learned; gradients flow to its parameters.
            x0: (..., L) int64, data.
            xt: (..., L) int64, drawn from ``process.marginal(x0, t)``.
            t: (...,) times in [0, 1].

        Returns:
            (...,) float64.

        Raises:
            ValueError: shapes that disagree, or a model without the view the loss needs.
        """

    def constant(self, process: Process, x0: Tensor) -> Tensor:
        """KL(q(x_1 | x_0) || prior), (...,): what the integral lacks to be a bound on -log p(x_0).

        For a masked process it is 0 when alpha(1) = 0 and infinite otherwise, because sampling starts from masks
        only. ``nll_bound`` then noises towards masks, which has a finite bound.

        Raises:
            ValueError: a loss that is no bound has no such constant.
            NotImplementedError: a prior without token probabilities, or a countable one with a tail too long to sum.
        """
        if not self.is_bound:
            raise ValueError(f"{self!r} is no bound on -log p(x_0), so no constant completes it; use NELBO().")
        return prior_divergence(process, x0)


def prior_divergence(process: Process, x0: Tensor) -> Tensor:
    """KL(q(x_1 | x_0) || prior), (..., L) -> (...,) float64."""
    prior = process.prior()
    if process.space.is_countable:
        return countable_prior_divergence(process, x0)
    if not isinstance(prior, SequenceLaw) or prior.num_symbols is None:
        raise NotImplementedError(
            f"{process!r} starts from a prior without a finite table of token probabilities; its KL has no closed form."
        )
    zero = torch.zeros(x0.shape[:-1], dtype=torch.float64, device=x0.device)
    end = log_or_minus_infinity(process.row(x0, zero, zero + 1.0))
    return divergence(end, log_or_minus_infinity(prior.table().to(end))).sum((-2, -1))


def aligned_time(model: Parameterization, x0: Tensor, xt: Tensor, t: Any) -> Tensor:
    """``t`` as float64 (...,), after checking that the shapes agree (no value is read: no synchronisation)."""
    if not isinstance(model, Parameterization):
        raise TypeError(f"model={model!r} must be a Parameterization such as X0(network, process).")
    length = model.process.space.length
    if x0.shape != xt.shape or x0.dim() == 0 or x0.shape[-1] != length:
        raise ValueError(
            f"x0 has shape {tuple(x0.shape)} and xt {tuple(xt.shape)}; both must be (..., {length}), "
            f"{length} being the length of the process."
        )
    time = time_on(xt, t)
    if time.dim() > xt.dim() - 1 or any(
        size not in (1, batch) for size, batch in zip(time.shape[::-1], xt.shape[-2::-1], strict=False)
    ):
        raise ValueError(f"t has shape {tuple(time.shape)}; one time a row of x0 would be {tuple(x0.shape[:-1])}.")
    return time.expand(xt.shape[:-1])
