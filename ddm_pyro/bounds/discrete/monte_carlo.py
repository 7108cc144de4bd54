"""Losses of the reverse process in continuous time, estimated with upper limits: what trained models are certified by.

Draws of t are made where the integrand lives. Noise s = 1 - alpha is s = s_1 v^2 with v uniform: the integrand, large
on the rare rows that have jumped by a small t, then has a finite variance. For masks a position is chosen and revealed
at a uniform level, so that no rate enters at all.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.bounds.base import BATCH_ROWS, NotApplicable
from ddm_pyro.bounds.discrete.case import data_entropy, exact_model
from ddm_pyro.bounds.discrete.estimates import Draw, averaged, batch, batches, row_sums, token_losses
from ddm_pyro.bounds.discrete.floor import least_probability
from ddm_pyro.bounds.discrete.limits import Limit, upper_limit
from ddm_pyro.bounds.discrete.noise import Noise
from ddm_pyro.bounds.discrete.path_kl import PathDivergence
from ddm_pyro.bounds.discrete.patterns import log_simplex
from ddm_pyro.losses import NELBO
from ddm_pyro.losses.divergence import divergence, log_score, reverse_divergence
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.processes import Process

#: Halvings of [0, 1] in the inverse of the masking law: past these a float64 does not change.
BISECTIONS = 60


def estimate_nelbo(
    target: Any,
    model: Parameterization,
    *,
    stop: float = 0.0,
    budget: int = 64,
    confidence: float = 0.95,
    seed: int | None = None,
) -> Limit:
    """The mean over data of the continuous-time bound on -log p(x_0), with its upper limit, nats.

    Less the entropy of the data it is KL(data path || the model's path), the start included: TV(p_0, law of the model)
    is at most ``tv_of_kl`` of that, with no mismatch to add. Masked processes are conditioned on all masks at t = 1
    (theory 6b), so that it holds whatever alpha(1) is; for a model that depends on time t is that of the schedule.

    Args:
        target: the data law, sampled.
        model: the Parameterization.
        stop: masked processes only: the time at which what is masked is drawn at once from the x0-posterior.
        budget: network batches of 64 rows.
        confidence: level of the upper limit: honest for a masked model with a floor (``Floored``), else asymptotic, and
            then blind to a loss that is infinite only at an end of [0, 1].
        seed: fixes the draws.

    Raises:
        NotApplicable: ``stop`` without masks.
        ValueError: a budget or confidence out of range.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=3, length=4, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=4)
        >>> found = estimate_nelbo(target, target.denoiser(forward), seed=0)
        >>> abs(found.mean - float(target.entropy())) < 5 * found.stderr
        True
    """
    process = model.process
    if not process.is_masked:
        if stop > 0.0:
            raise NotApplicable("A bound that stops early and then denoises is estimated by core/kernel-kl.")
        return _plus(
            _integral(target, model, NELBO(), budget=budget, confidence=confidence, seed=seed), _start(process)
        )
    values, normalized = [], model.primary == "x0"
    for number in range(batches(budget)):
        with batch(seed, number):
            draw = reveal_draw(target, process, stop)
            values.append(row_sums(draw, token_losses(model, draw) if normalized else _rate_losses(model, draw)))
    least = least_probability(model) if normalized else None
    highest = None if least is None else -process.space.length * math.log(least)
    return upper_limit(torch.cat(values), confidence, highest)


def estimate_path_kl(
    target: Any,
    model: Parameterization,
    *,
    stop: float = 0.0,
    budget: int = 64,
    confidence: float = 0.95,
    seed: int | None = None,
    name: str = "core/path-kl",
) -> PathDivergence:
    """``estimate_nelbo`` less the entropy of the data: KL of the paths in continuous time, with its upper limit.

    Raises:
        NotApplicable: a target whose entropy is not known.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=3, length=4, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=4)
        >>> model = ddm.bounds.Floored(target.denoiser(forward), eps=0.3)
        >>> estimate_path_kl(target, model, seed=0).certificate("core/path-kl").hypotheses
        {'data entropy': 'verified', 'bounded terms': 'verified'}
    """
    entropy = data_entropy(target, name)
    found = estimate_nelbo(target, model, stop=stop, budget=budget, confidence=confidence, seed=seed)
    terms = {"nelbo": found.mean, "entropy": entropy, "stderr": found.stderr}
    mean, upper = max(found.mean - entropy, 0.0), max(found.upper - entropy, 0.0)
    return PathDivergence(mean, upper, terms, {"data entropy": "verified", **found.hypotheses}, confidence)


def estimate_score_entropy(
    target: Any,
    model: Parameterization,
    *,
    budget: int = 64,
    confidence: float = 0.95,
    seed: int | None = None,
) -> Limit:
    """L_SE = int E sum_y D(exact rate || model's rate) dt over [0, 1], with its upper limit, nats (theory 0, 6a).

    For masked processes under the law of x_t given all masks at t = 1 (L_SE^c of theory 6b: no mismatch to add); for
    others under p_t, to which TV(p_1, prior) is added outside the root. Far less noisy than ``estimate_path_kl``, but
    the target must have an exact posterior.

    Raises:
        NotApplicable: a target without one.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=3, length=4, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Uniform(3), ddm.schedules.Constant(total=4.0), length=4)
        >>> estimate_score_entropy(target, target.denoiser(forward), budget=2, seed=0).upper
        0.0
    """
    process, exact = model.process, exact_model(target, model.process)
    if not process.is_masked:

        def loss(model: Parameterization, x0: Tensor, xt: Tensor, t: Tensor) -> Tensor:
            return reverse_divergence(model, log_score(exact, xt, t), xt, t)

        return _integral(target, model, loss, budget=budget, confidence=confidence, seed=seed)
    values = []
    for number in range(batches(budget)):
        with batch(seed, number):
            draw = reveal_draw(target, process, 0.0)
            truth = log_simplex(exact.x0_log_probs(draw.xt, draw.t, at=draw.at))
            guess = (
                log_simplex(model.x0_log_probs(draw.xt, draw.t, at=draw.at))
                if model.primary == "x0"
                else _log_shares(model, draw)
            )
            values.append(row_sums(draw, divergence(truth, guess).sum(-1)))
    least = least_probability(model) if model.primary == "x0" else None
    return upper_limit(
        torch.cat(values), confidence, None if least is None else -process.space.length * math.log(least)
    )


def reveal_draw(target: Any, process: Process, stop: float) -> Draw:
    """A context of the reverse process: data, a uniform position revealed at a uniform level, others by their own.

    L times the mean of a value over the masked positions has the mean int lambda_t E sum_masked value dt.
    """
    rows, length = BATCH_ROWS, process.space.length
    x0 = target.sample((rows,)).long()
    first = torch.ones((), dtype=torch.float64)
    noise = Noise(process, first)
    lowest = float(noise.masked(torch.tensor(stop, dtype=torch.float64))) if stop > 0.0 else 0.0
    level = random.uniform((rows, 1)).clamp(min=lowest)
    chosen = (random.uniform((rows, 1)) * length).long()
    masked = (random.uniform((rows, length)) < level) | (torch.arange(length) == chosen)
    return averaged(process.space, x0, _time_of(noise, level.squeeze(-1)), masked, masked)


def _time_of(noise: Noise, level: Tensor) -> Tensor:
    """The time at which a position is masked with the given probability, by bisection."""
    low, high = torch.zeros_like(level), torch.ones_like(level)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = noise.masked(middle) < level
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return high


def _log_shares(model: Parameterization, draw: Draw) -> Tensor:
    """log of the model's rates of revealing each token over the exact rate of revealing, at ``draw.at``: (K, V)."""
    process = model.process
    rates = model.reverse_rate(draw.xt, draw.t).double()
    table = torch.zeros(*draw.xt.shape, process.space.num_symbols, dtype=torch.float64)
    table.scatter_add_(-1, process.moves(draw.xt).expand(rates.shape), rates)
    speed = process.mask_decay(draw.t) / process.mask_probability(draw.t)
    shares = table[..., : process.space.vocab_size] / speed[:, None, None]
    return shares.flatten(0, -2)[draw.at].log()


def _rate_losses(model: Parameterization, draw: Draw) -> Tensor:
    """sum_v r_v - 1 - log r at x_0, r the model's rates over the exact one of revealing: a score need not sum to it."""
    shares = _log_shares(model, draw)
    tokens = draw.x0.flatten()[draw.at].unsqueeze(-1)
    return shares.exp().sum(-1) - 1.0 - shares.gather(-1, tokens).squeeze(-1)


def _integral(
    target: Any, model: Parameterization, loss: Any, *, budget: int, confidence: float, seed: int | None
) -> Limit:
    """int_0^1 E loss(model, x_0, x_t, t) dt for a process without masks."""
    process, values = model.process, []
    for number in range(batches(budget)):
        with batch(seed, number):
            x0 = target.sample((BATCH_ROWS,)).long()
            t, weight = _noise_times(process, random.uniform((BATCH_ROWS,)))
            xt = process.marginal(x0, t, validate_args=False).sample().long()
            values.append(weight * loss(model, x0, xt, t).double())
    return upper_limit(torch.cat(values), confidence)


def _noise_times(process: Process, v: Tensor) -> tuple[Tensor, Tensor]:
    """Times with 1 - alpha = (1 - alpha(1)) v^2, and dt / dv."""
    schedule = getattr(process, "schedule", None)
    if schedule is None:
        return v.square(), 2.0 * v
    top = 1.0 - float(schedule.alpha(torch.ones((), dtype=torch.float64)))
    # The ends have rates of 0 / 0; a uniform draw meets them with probability 0.
    v = v.clamp(1e-9, 1.0 - 1e-9)
    t = schedule.inverse(1.0 - top * v.square())
    return t, 2.0 * top * v / schedule.decay(t)


def _start(process: Process) -> float:
    return Noise(process, torch.ones((), dtype=torch.float64)).start_divergence()


def _plus(limit: Limit, nats: float) -> Limit:
    return Limit(limit.mean + nats, limit.upper + nats, limit.stderr, limit.hypotheses)
