"""Exact conversions between the x0-posterior p(x_0^l | x_t), the ratio score p_t(y)/p_t(x) and the reverse rate.

With K = P(x_t | x_0) a position, p_t(y)/p_t(x) = sum_u p(u | x) K(u, y) / K(u, x): divide the posterior by the
likelihood of the token seen, and carry the quotient forward. The inverse carries back and multiplies.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ddm_pyro.arrays import has_data
from ddm_pyro.processes import Process
from ddm_pyro.processes.base import time_on

#: How far a converted posterior may leave the simplex by rounding, by the dtype of the score.
SIMPLEX_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}


def score_from_x0(process: Process, x: Tensor, t: Tensor, log_p: Tensor) -> Tensor:
    """log p_t(y)/p_t(x) along ``process.moves(x)`` from log p(x_0 | x), (..., L, V) -> (..., L, M) float64."""
    return along_moves(process, x, ratio_table(process, x, t, log_p)).log()


def ratio_table(process: Process, x: Tensor, t: Tensor, log_p: Tensor) -> Tensor:
    """p_t(x with position l set to v) / p_t(x) for all symbols, (..., L, A) float64."""
    t = time_on(x, t)
    return process.evolve(over_likelihood(process, x, t, log_p), torch.zeros_like(t), t)


def over_likelihood(process: Process, x: Tensor, t: Tensor, log_p: Tensor) -> Tensor:
    """p(u | x) / P(x_t^l = x^l | x_0^l = u), 0 where the likelihood is 0; (..., L, A) float64."""
    t = time_on(x, t)
    likelihood = process.likelihood(x, torch.zeros_like(t), t)
    p = pad_symbols(process, log_p.to(torch.float64).exp())
    # Divided by 1 where impossible: the gradient of a quotient by 0, times 0, would be NaN.
    possible = likelihood > 0
    return torch.where(possible, p / torch.where(possible, likelihood, 1.0), 0.0)


def x0_from_score(process: Process, x: Tensor, t: Tensor, log_score: Tensor) -> Tensor:
    """log p(x_0 | x) from log p_t(y)/p_t(x) along ``process.moves(x)``, (..., L, M) -> (..., L, V).

    Raises:
        ValueError: the score belongs to no posterior (it is inexact), or alpha(t) = 0; nothing is clamped.
        NotImplementedError: moves that do not list all symbols.
    """
    t = time_on(x, t)
    ratio = ratios_to_all(process, x, log_score)
    p = process.likelihood(x, torch.zeros_like(t), t) * process.evolve(ratio, t, torch.zeros_like(t))
    tolerance = SIMPLEX_TOLERANCE.get(log_score.dtype, SIMPLEX_TOLERANCE[torch.float32])
    tokens = p[..., : process.space.vocab_size]
    off = torch.maximum(-p.amin(-1), (tokens.sum(-1) - 1.0).abs()).amax()
    if has_data(off) and bool(off.isnan()):
        raise ValueError(
            "The x0-posterior of this score is NaN: the score is, or alpha(t) = 0, where x_t says nothing of x_0. "
            "Start the grid below such a time with times=, or use a model with an x0 head."
        )
    if has_data(off) and not bool(off <= tolerance):
        raise ValueError(
            f"This score is the score of no law: its x0-posterior leaves the simplex by {float(off.detach()):.3g}. "
            "Use a sampler that runs on rates (euler, tau-leaping), or a model with an x0 head."
        )
    return (tokens.clamp(min=0.0) / tokens.clamp(min=0.0).sum(-1, keepdim=True)).log()


def ratios_to_all(process: Process, x: Tensor, log_score: Tensor) -> Tensor:
    """p_t(y)/p_t(x) for all symbols, (..., L, A) float64, from a score along moves that list every one of them."""
    if process.space.is_countable:
        raise NotImplementedError("The natural numbers have no table of x_0; use the score or rate view.")
    symbols = torch.arange(process.space.num_symbols, device=x.device)
    own, ratio = symbols == x.unsqueeze(-1), log_score.to(torch.float64).exp()
    if not process.has_full_moves:
        moves = process.moves(x).expand(ratio.shape)
        missing = torch.ones(own.shape, dtype=torch.bool, device=x.device).scatter(-1, moves, False)
        sizes = process.space.sizes_on.on(x.device).unsqueeze(-1)
        missing = missing & ~own & ((symbols < sizes) | process.space.is_mask(symbols))
        if has_data(missing) and bool(missing.any()):
            raise NotImplementedError(
                "The x0 view of a score needs moves that list every symbol; use the score or rate view."
            )
        ratio = torch.zeros(own.shape, dtype=torch.float64, device=x.device).scatter(-1, moves, ratio)
    return torch.where(own, 1.0, ratio)


def rate_from_score(process: Process, x: Tensor, t: Tensor, log_score: Tensor) -> Tensor:
    """R_t[y, x] p_t(y)/p_t(x), (..., L, M) float64; 0 where the forward rate is 0."""
    rates = process.in_rates(x, t)
    return torch.where(rates > 0, rates * log_score.to(torch.float64).exp(), 0.0)


def masked_rate(process: Process, x: Tensor, t: Tensor, log_p: Tensor) -> Tensor:
    """-alpha'/(1 - alpha) p(v | x) at masked positions: the same rate, finite also where alpha(t) = 0."""
    rate = (process.mask_decay(t) / process.mask_probability(t))[..., None, None]
    masked = process.space.is_mask(x).unsqueeze(-1)
    table = torch.where(masked, rate * log_p.to(torch.float64).exp(), 0.0)
    return along_moves(process, x, pad_symbols(process, table))


def pad_symbols(process: Process, table: Tensor) -> Tensor:
    """Append the mask's column (zero) to a table over tokens."""
    return torch.nn.functional.pad(table, (0, process.space.num_symbols - table.shape[-1]))


def along_moves(process: Process, x: Tensor, table: Tensor) -> Tensor:
    """Entries of a table over symbols at ``process.moves(x)``."""
    if process.has_full_moves:
        return table
    return table.gather(-1, process.moves(x).expand(*table.shape[:-1], -1))
