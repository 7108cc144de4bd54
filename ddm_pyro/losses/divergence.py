"""D(a || b) = b - a + a log(a / b), the divergence between jump rates, and the ratios it is taken of.

Reverse rates are R_t[y, x] times a ratio. Rates enter as weights, ratios as logarithms, all float64: near the truth
D is quadratic in log(b / a), so that a difference of rates would lose what the difference of logarithms keeps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ddm_pyro.distributions.sequence import SequenceLaw
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.parameterizations.conversions import along_moves, ratio_table
from ddm_pyro.processes import Process

#: Where the rate is infinite (t = 1 with alpha(1) = 0), a divergence below this is rounding and counts as none.
NO_DIVERGENCE = 1e-10
#: A countable law is summed until this much of it is left, over at most so many symbols.
TAIL, LONGEST = 1e-10, 1 << 16


def divergence(log_a: Tensor, log_b: Tensor) -> Tensor:
    """b - a + a log(a / b), with D(0 || b) = b; a = exp(log_a), b = exp(log_b).

    Example:
        >>> one, none = torch.tensor(0.0), torch.tensor(-torch.inf)
        >>> divergence(one, one).item(), divergence(none, one).item(), divergence(one, none).item()
        (0.0, 1.0, inf)
    """
    possible = log_a > -torch.inf
    log_a = torch.where(possible, log_a, 0.0)
    # Dead branches are given finite arguments: their gradients, times zero, would be NaN.
    gap = torch.where(possible, log_b - log_a, 0.0)
    return torch.where(possible, log_a.exp() * (torch.expm1(gap) - gap), log_b.exp())


def weighted_sum(rates: Tensor, values: Tensor) -> Tensor:
    """sum over positions and moves of rates * values, (..., L, M) -> (...,); no jump, no contribution.

    Where a rate is infinite the product is read as its limit: 0 for values of 0 (up to rounding), else infinity.
    """
    endless = torch.isinf(rates)
    finite = torch.where(endless, 0.0, rates)
    product = torch.where(finite > 0, finite * values, 0.0)
    return torch.where(endless & (values > NO_DIVERGENCE), torch.inf, product).sum((-2, -1))


def log_or_minus_infinity(p: Tensor) -> Tensor:
    """log p, -inf where p <= 0 (rounding of a matrix exponential included), with a gradient of 0 there."""
    positive = p > 0
    return torch.where(positive, torch.where(positive, p, 1.0).log(), -torch.inf)


def log_score(model: Parameterization, x: Tensor, t: Tensor) -> Tensor:
    """log p_t(y)/p_t(x) along the moves, float64, safe to differentiate where it is -inf; (..., L, M)."""
    if model.primary == "score":
        return model.log_score(x, t).to(torch.float64)
    table = ratio_table(model.process, x, t, model.x0_log_probs(x, t))
    return log_or_minus_infinity(along_moves(model.process, x, table))


def log_denoising_ratio(process: Process, x0: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """log q(y | x_0)/q(x | x_0) along the moves, (..., L, M) float64: the ratio whose mean given x is the score."""
    zero = torch.zeros_like(t)
    if process.space.is_countable:
        log_q = _token_log_prob(process, x0, t, process.moves(x))
        return log_q - _token_log_prob(process, x0, t, x.unsqueeze(-1))
    log_q = log_or_minus_infinity(process.row(x0, zero, t))
    return along_moves(process, x, log_q) - log_q.gather(-1, x.unsqueeze(-1))


def _token_log_prob(process: Process, x0: Tensor, t: Tensor, symbols: Tensor) -> Tensor:
    law = process.transition(x0, torch.zeros_like(t), t, validate_args=False)
    token_log_prob = law.token_log_prob if isinstance(law, SequenceLaw) else law.base_dist.log_prob
    return token_log_prob(symbols.clamp(min=0).movedim(-1, 0)).movedim(0, -1)


def countable_prior_divergence(process: Process, x0: Tensor) -> Tensor:
    """KL(q(x_1 | x_0) || prior) of a countable alphabet, (..., L) -> (...,), summed over all but TAIL of q.

    Raises:
        NotImplementedError: more than LONGEST symbols would be needed.
    """
    one, size = torch.ones(x0.shape[:-1], dtype=torch.float64, device=x0.device), 64
    prior = process.prior().base_dist
    while size <= LONGEST:
        symbols = torch.arange(size, device=x0.device)
        log_q = _token_log_prob(process, x0, one, symbols.expand(*x0.shape, -1)).double()
        if bool((log_q.exp().sum(-1) > 1.0 - TAIL).all()):
            # As float64: torch takes lgamma of whole numbers in single precision.
            every = symbols.double().reshape(-1, *(1,) * x0.dim()).expand(-1, *x0.shape)
            return divergence(log_q, prior.log_prob(every).movedim(0, -1).double()).sum((-2, -1))
        size *= 4
    raise NotImplementedError(f"The law of x_1 needs more than {LONGEST} symbols to hold 1 - {TAIL:g} of its mass.")


def reverse_divergence(model: Parameterization, log_a: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """sum over moves of R_t[y, x] D(a || s), s the model's score, (...,)."""
    rates = model.process.in_rates(x, t)
    jumps = rates > 0
    log_b = torch.where(jumps, log_score(model, x, t), 0.0)
    return weighted_sum(rates, divergence(torch.where(jumps, log_a, 0.0), log_b))
