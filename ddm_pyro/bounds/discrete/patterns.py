"""Sums over everything a masked sampler can have seen: entropies of the data and errors of a predictor, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddm_pyro.bounds.discrete.case import EXACT_STATES, exact_model
from ddm_pyro.bounds.tables import pattern_mass
from ddm_pyro.losses.divergence import divergence
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.processes import ForwardProcess, Process
from ddm_pyro.rates import Masked
from ddm_pyro.schedules import Linear
from ddm_pyro.targets import Product

#: Table entries worked on at once.
CHUNK_ENTRIES = 2**22


@dataclass(frozen=True)
class Curves:
    """Means over a uniform position and a uniform set of n other, known, positions; n = 0 .. L-1.

    Attributes:
        entropy: (L,) Hbar(n) = E H(X_i | X_W), nats.
        error: (K, L) D(n) = E KL(p(x_i | x_W) || predictor) at each of the times; nats.
    """

    entropy: Tensor
    error: Tensor


def pattern_curves(target: Any, process: Process, model: Parameterization | None, times: Tensor) -> Curves:
    """The curves of a predictor at each of ``times`` (one row where it ignores time), by summing over all patterns."""
    space, exact = process.space, exact_model(target, process)
    mass = pattern_mass(target.tabular().pmf.detach().cpu(), space)
    support = mass.nonzero().squeeze(-1)
    asked = times if model is not None and not model.time_free else times[:1]
    length = space.length
    entropy = torch.zeros(length + 1, dtype=torch.float64)
    error = torch.zeros(len(asked), length + 1, dtype=torch.float64)
    for index in support.split(max(1, CHUNK_ENTRIES // (length * space.vocab_size))):
        x = space.unindex(index)
        masked, known = space.is_mask(x), (~space.is_mask(x)).sum(-1)
        log_p = log_simplex(exact.x0_log_probs(x, times[0]))
        here = torch.where(masked, torch.special.entr(log_p.exp()).sum(-1), 0.0).sum(-1)
        entropy.index_add_(0, known, mass[index] * here)
        if model is None:
            continue
        for k, time in enumerate(asked):
            gap = divergence(log_p, log_simplex(model.x0_log_probs(x, time))).sum(-1)
            error[k].index_add_(0, known, mass[index] * torch.where(masked, gap, 0.0).sum(-1))
    ways = torch.tensor([length * math.comb(length - 1, n) for n in range(length)], dtype=torch.float64)
    return Curves(entropy[:length] / ways, (error[:, :length] / ways).expand(len(times), -1))


def log_simplex(log_probs: Tensor) -> Tensor:
    """Log-probabilities made to sum to one in float64, as the samplers do before they draw."""
    return torch.log_softmax(log_probs.to(torch.float64), -1)


def information_curve(target: Any) -> Tensor | None:
    """Hbar(0 .. L-1): the target's own, or by summing over its states; None where neither can be had.

    Example:
        >>> import ddm_pyro as ddm
        >>> potts = ddm.targets.PottsChain(num_states=3, length=4, coupling=1.0)
        >>> listed = ddm.targets.Tabular(potts.tabular())
        >>> bool((information_curve(potts) - information_curve(listed)).abs().max() < 1e-12)
        True
    """
    if hasattr(target, "information_curve"):
        curve: Tensor = target.information_curve()
        return curve.detach().cpu()
    space = target.space
    if isinstance(target, Product):
        return (target.entropy() / space.length).detach().cpu().expand(space.length)
    if space.is_countable or space.masked.num_states > EXACT_STATES or target.entropy() is None:
        return None
    # Which process masks the tokens does not matter.
    process = ForwardProcess([Masked(size) for size in space.position_sizes], Linear())
    with torch.no_grad():
        return pattern_curves(target, process, None, torch.tensor([1.0], dtype=torch.float64)).entropy
