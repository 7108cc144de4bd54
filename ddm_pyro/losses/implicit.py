"""Scores of the jumps that lead back: what the implicit losses need instead of the data's own scores.

With weights Q[y, x] a loss has a cross term E_x sum_y Q[y, x] r(x, y) f(s(x, y)), r(x, y) = p(y)/p(x) unknown. Summed
over pairs the other way round it is E_x sum_y Q[x, y] f(s(y, x)): the ratio is gone (summation by parts). Nothing is
lost at a boundary, masks included, because p_t(y) > 0 and Q[y, x] > 0 imply p_t(x) > 0 for t > 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ddm_pyro.losses.divergence import log_score, weighted_sum
from ddm_pyro.parameterizations import Parameterization


def backward_log_scores(model: Parameterization, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """R_t[x, y] and log s(y, x) along the moves y of x, (..., L, M) each; 0 where the rate is 0.

    One network row for every y with a positive rate: about L (V - 1) a sequence, and L at most for masked noise.
    """
    process = model.process
    batch, length = x.shape[:-1], x.shape[-1]
    x, t = x.reshape(-1, length), t.reshape(-1)
    rates, moves = process.out_rates(x, t), process.moves(x)
    row, position, move = (rates > 0).nonzero().unbind(-1)
    y = x[row].clone()
    y[torch.arange(len(row), device=x.device), position] = moves.expand(rates.shape)[row, position, move]
    here = log_score(model.rows(row), y, t[row]) if len(row) else rates.new_zeros(0, length, 1)
    here = here[torch.arange(len(row), device=x.device), position]
    target = x[row, position].unsqueeze(-1)
    if not process.has_full_moves and len(row):
        back = process.moves(y)[torch.arange(len(row), device=x.device), position]
        target = (back == target).to(torch.int64).argmax(-1, keepdim=True)
    values = here.gather(-1, target).squeeze(-1) if len(row) else here.reshape(0)
    scores = torch.zeros_like(rates).index_put((row, position, move), values)
    return rates.reshape(*batch, *rates.shape[1:]), scores.reshape(*batch, *rates.shape[1:])


def total_reverse_rate(model: Parameterization, x: Tensor, t: Tensor, power: int = 1) -> Tensor:
    """sum over moves of R_t[y, x] s(x, y)^power, (...,)."""
    if power == 1 and model.primary == "x0" and model.process.is_masked:
        return model.reverse_rate(x, t).sum((-2, -1))  # finite up to t = 1
    rates = model.process.in_rates(x, t)
    return weighted_sum(rates, (power * torch.where(rates > 0, log_score(model, x, t), 0.0)).exp())


def implicit_score_entropy(model: Parameterization, x: Tensor, t: Tensor) -> Tensor:
    """sum_y R_t[y, x] s(x, y) - R_t[x, y] log s(y, x), (...,)."""
    rates, back = backward_log_scores(model, x, t)
    return total_reverse_rate(model, x, t) - (rates * back).sum((-2, -1))


def implicit_score_matching(model: Parameterization, x: Tensor, t: Tensor) -> Tensor:
    """sum_y R_t[y, x] s(x, y)^2 - 2 R_t[x, y] s(y, x), (...,)."""
    rates, back = backward_log_scores(model, x, t)
    return total_reverse_rate(model, x, t, power=2) - 2.0 * (rates * back.exp()).sum((-2, -1))
