"""Categorical ratio matching: every token predicted from the others, at the same time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ddm_pyro.arrays import has_data
from ddm_pyro.losses.base import Loss, aligned_time
from ddm_pyro.losses.divergence import log_or_minus_infinity
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.processes import Process


@dataclass(frozen=True)
class RatioMatching(Loss):
    """sum over positions of -log c_l(x_t^l), c_l = p(x_t^l = . | the other tokens), the model's ``conditionals``.

    A proper score of p_t's leave-one-out conditionals, which are its ratio score, p_t(y)/p_t(x) = c_l(y^l)/c_l(x^l)
    where y differs from x at l (Sun et al., arXiv:2211.16750; Hyvarinen, 2007, for two tokens). It needs x_t alone. At
    the truth its mean is sum_l H(X_t^l | the others), elsewhere larger by the mean of sum_l KL(true c_l || c_l).
    ``kind="squared"`` is 1/2 sum_v (1[v = x_t^l] - c_l(v))^2 instead: (1 - c_l(x_t^l))^2, Hyvarinen's loss, for two
    symbols. No bound on a likelihood.

    It says nothing of a model that sees the token it predicts. A hollow one, ``LeaveOneOut`` over
    ``networks.HollowTransformer`` or ``HollowMLP``, costs one network row. Any other is asked with the token replaced
    by each symbol that every data token can have become at time t (all of them for uniform noise, the mask for masked
    noise), and the losses are averaged: L A rows a sequence, or L, and waiting for the device to count them. Its
    minimiser then is the truth at every x.

    Args:
        kind: "log" or "squared".

    Raises:
        ValueError: another kind; in a call, a countable alphabet, or, for a model that is not hollow, a time without
            noise (t = 0), when no symbol can stand for every token.

    Example:
        >>> from ddm_pyro.targets import Product
        >>> from ddm_pyro import ForwardProcess, rates, schedules
        >>> forward = ForwardProcess(rates.Uniform(2), schedules.Linear(), length=1)
        >>> exact = Product(torch.tensor([[0.25, 0.75]])).denoiser(forward)  # at t = 1/2: 3/8 and 5/8
        >>> RatioMatching()(exact, torch.tensor([[1]]), torch.tensor([[0]]), torch.tensor([0.5])).neg().exp()
        tensor([0.3750], dtype=torch.float64)
    """

    kind: Literal["log", "squared"] = "log"

    minimizer = "the ratio score of the data, as the conditionals of noised tokens given the others"

    def __post_init__(self) -> None:
        if self.kind not in ("log", "squared"):
            raise ValueError(f"kind={self.kind!r} must be 'log' or 'squared'.")

    def __call__(self, model: Parameterization, x0: Tensor, xt: Tensor, t: Any) -> Tensor:
        """The integrand, (...,); ``x0`` is not used."""
        time = aligned_time(model, x0, xt, t)
        if model.process.space.is_countable:
            raise ValueError(f"RatioMatching sums over the alphabet, and {model.process!r} has a countable one.")
        if model.is_hollow:
            return self._score(model.conditionals(xt, time), xt).sum(-1)
        batch, length = xt.shape[:-1], xt.shape[-1]
        return self._blanked(model, xt.reshape(-1, length), time.reshape(-1)).reshape(batch)

    def _score(self, table: Tensor, x: Tensor) -> Tensor:
        """Of the conditionals (..., A) at the token x, (...,)."""
        if self.kind == "log":
            return -log_or_minus_infinity(table.double().gather(-1, x.unsqueeze(-1)).squeeze(-1))
        seen = torch.arange(table.shape[-1], device=x.device) == x.unsqueeze(-1)
        return 0.5 * (seen.double() - table.double()).square().sum(-1)

    def _blanked(self, model: Parameterization, x: Tensor, t: Tensor) -> Tensor:
        """Mean over the symbols that position l may be replaced by, summed over l, (B,)."""
        blanks = blank_symbols(model.process, x, t)
        number = blanks.sum(-1)
        if has_data(number) and bool((number == 0).any()):
            raise ValueError(
                "RatioMatching replaces a token by noise, and where noise has not touched every token (t = 0) there is "
                "none; draw t > 0, or use a hollow model such as LeaveOneOut(networks.HollowMLP(...), process)."
            )
        row, position, symbol = blanks.nonzero().unbind(-1)
        every = torch.arange(len(row), device=x.device)
        y = x[row].index_put((every, position), symbol)
        table = model.rows(row).conditionals(y, t[row])[every, position]
        values = self._score(table, x[row, position]) / number[row, position]
        return values.new_zeros(len(x)).index_add(0, row, values)


def blank_symbols(process: Process, x: Tensor, t: Tensor) -> Tensor:
    """Whether a symbol can have come from every token of its position's alphabet, (..., L, A) bool."""
    space = process.space
    sizes = space.sizes_on.on(x.device).unsqueeze(-1)
    symbols = torch.arange(space.num_symbols, device=x.device)
    known = (symbols < sizes) | space.is_mask(symbols)
    start = torch.zeros_like(t)
    found = [
        (process.likelihood(torch.where(known[:, symbol], symbol, 0).expand(x.shape), start, t) > 0)
        .logical_or(symbols >= sizes)
        .all(-1)
        .logical_and(known[:, symbol])
        for symbol in range(space.num_symbols)
    ]
    return torch.stack(found, -1)
