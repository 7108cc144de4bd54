"""The likelihood of states seen now and then, with holes: what was not seen is summed out exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddm_pyro.arrays import float64

if TYPE_CHECKING:
    from ddm_pyro.processes import Process

#: Token that stands for "not observed".
MISSING = -1


def panel_log_prob(process: Process, x: Tensor, times: Any, initial: Any = None) -> Tensor:
    """log P(the observed tokens) of panels x (..., T, L) seen at ``times``, -1 where a token was not seen -> (...).

    Positions are independent, so the sum over all unseen tokens is one row vector carried from time to time by
    ``process.evolve`` at every position: O(T L A^2), exact, and differentiable with respect to the rates.

    Panels without a position at some time, or without a time at some position, are marginalised alike; stretches that
    were watched continuously multiply in as ``CTMCPath(process, x_s, s, t)`` from the state at their start.

    Args:
        process: a process on a finite alphabet.
        x: (..., T, L) int64.
        times: (T,) or (..., T) increasing in [0, 1].
        initial: (A,), (L, A) or (..., L, A) probabilities of each position's token at the first time; None conditions
            on the tokens seen then, so the first row must have none missing.

    Raises:
        ValueError: tokens outside the space, times out of order, a missing first token without ``initial``, an
            ``initial`` that is no law.

    Example:
        >>> from ddm_pyro import ForwardProcess
        >>> from ddm_pyro.rates import Uniform
        >>> from ddm_pyro.schedules import Constant
        >>> forward = ForwardProcess(Uniform(2), Constant(1.0), length=1)
        >>> seen = panel_log_prob(forward, torch.tensor([[0], [-1], [0]]), [0.0, 0.25, 1.0])
        >>> bool(torch.isclose(seen, forward.transition(torch.tensor([0]), 0.0, 1.0).log_prob(torch.tensor([0]))))
        True
    """
    space = process.space
    if space.is_countable:
        raise ValueError("panel_log_prob needs a finite alphabet; truncate the natural numbers with space.box(max).")
    times = float64(times, x.device)
    if x.dim() < 2 or x.shape[-1] != space.length or times.dim() == 0 or times.shape[-1] != x.shape[-2]:
        raise ValueError(
            f"Panels of shape {tuple(x.shape)} at times of shape {tuple(times.shape)} must be (..., T, L) and (T,) or "
            f"(..., T), with L = {space.length}."
        )
    inside = (times >= 0) & (times <= 1)
    if not bool(inside.all()) or not bool((times[..., 1:] > times[..., :-1]).all()):
        raise ValueError(f"times={times.tolist()} must increase and lie in [0, 1].")
    missing = x == MISSING
    # Token 0 is at every position, so this checks the tokens that were seen.
    space.check(torch.where(missing, 0, x), "x")
    symbols = torch.arange(space.num_symbols, device=x.device)
    seen = (symbols == x.unsqueeze(-1)).double()
    p = _start(process, seen[..., 0, :, :], missing[..., 0, :], initial)
    p = p.expand(*torch.broadcast_shapes(x.shape[:-2], times.shape[:-1], p.shape[:-2]), *p.shape[-2:])
    total = torch.zeros(p.shape[:-2], dtype=torch.float64, device=x.device)
    for k in range(x.shape[-2]):
        if k > 0:
            p = process.evolve(p, times[..., k - 1], times[..., k])
        # What cannot be is 0, and rounding of a matrix exponential may leave it at -1e-18.
        p = torch.where(missing[..., k, :, None], p, p.clamp(min=0.0) * seen[..., k, :, :])
        mass = p.sum(-1, keepdim=True)
        dead = mass <= 0
        total = total + torch.where(dead, -torch.inf, torch.where(dead, 1.0, mass).log()).sum((-1, -2))
        p = p / torch.where(dead, 1.0, mass)
    return total


def _start(process: Process, seen: Tensor, missing: Tensor, initial: Any) -> Tensor:
    if initial is None:
        if bool(missing.any()):
            raise ValueError(
                f"x misses the token at {missing.nonzero()[0].tolist()} of the first time; give initial=, the law of "
                "tokens then."
            )
        return seen
    law = float64(initial, seen.device)
    shape = (process.space.length, process.space.num_symbols)
    values = law.detach()
    if law.dim() == 0 or law.shape[-1] != shape[1] or (law.dim() > 1 and law.shape[-2] not in (1, shape[0])):
        raise ValueError(f"initial has shape {tuple(law.shape)}; it must end in ({shape[1]},) or {shape}.")
    if not bool((values >= 0).all()) or not torch.allclose(values.sum(-1), values.new_ones(()), rtol=0.0, atol=1e-6):
        raise ValueError("initial holds a row that is no law: entries must be >= 0 and sum to 1.")
    return law.expand(*law.shape[:-2], *shape) if law.dim() > 1 else law.expand(*shape)
