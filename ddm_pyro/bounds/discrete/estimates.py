"""Draws whose mean is the cross entropy, or the predictor's divergence, along a masked path."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.bounds.base import BATCH_ROWS
from ddm_pyro.bounds.discrete.case import Run
from ddm_pyro.bounds.discrete.contexts import Contexts, all_masks
from ddm_pyro.bounds.discrete.floor import least_probability
from ddm_pyro.bounds.discrete.patterns import log_simplex
from ddm_pyro.losses.divergence import divergence
from ddm_pyro.parameterizations import X0, Parameterization
from ddm_pyro.spaces import StateSpace

#: Logits of a batch that are worked on: at a large vocabulary a row's mean is taken over fewer masked positions.
BATCH_LOGITS = 2**25
#: Entries of an exact posterior of a batch up to which it is computed: a Markov chain takes V times as many steps.
POSTERIOR_ENTRIES = 2**20


class Draw(NamedTuple):
    """A batch of contexts: data, noised data, the model's time, and the masked positions to average over."""

    x0: Tensor
    xt: Tensor
    t: Tensor
    at: Tensor
    weight: Tensor


@contextmanager
def batch(seed: int | None, number: int) -> Iterator[None]:
    """Randomness of network batch ``number``."""
    with random.indexed(seed, range(number * BATCH_ROWS, (number + 1) * BATCH_ROWS)), torch.no_grad():
        yield


def draw_contexts(run: Run, contexts: Contexts) -> Draw:
    """One row: data, a plan, a uniform position, and what is known when the plan draws it.

    Among the positions still masked then, the drawn ones are a uniform subset if the plan treats positions alike, so
    the mean over all of them (or some, at random) has the same expectation and less variance.
    """
    rows, length = BATCH_ROWS, run.length
    x0 = run.target.sample((rows,)).long()
    masks = all_masks(run).expand(rows, -1)
    plan = contexts.plan.expand((rows,)).sample()
    clock = None
    if contexts.clocked and run.sampler is not None:
        clock = getattr(run.sampler.prepare(run.process, masks, run.grid, plan), "clock", None)
    chosen = (random.uniform((rows, 1)) * length).long()
    step = plan.gather(-1, chosen)
    t = contexts.times[step.squeeze(-1)]
    if clock is not None:
        t = clock.gather(-1, step.clamp(max=clock.shape[-1] - 1)).squeeze(-1)
    masked = plan >= step
    return averaged(run.space, x0, t, masked, masked if contexts.counts is not None else plan == step)


def averaged(space: StateSpace, x0: Tensor, t: Tensor, masked: Tensor, used: Tensor) -> Draw:
    """The draw whose value is L times the mean over the ``used`` positions, or over some of them at random."""
    rows, length = x0.shape
    most = max(1, BATCH_LOGITS // (rows * space.vocab_size))
    if most < length:
        # Ranks in a random order in which the used positions come first.
        order = torch.where(used, random.uniform((rows, length)), 2.0).argsort(-1).argsort(-1)
        used = used & (order < most)
    at = used.flatten().nonzero().squeeze(-1)
    xt = torch.where(masked, space.vocab_size, x0)
    return Draw(x0, xt, t, at, length / used.sum(-1).double())


def cross_entropies(run: Run, contexts: Contexts, *, budget: int, seed: int | None) -> tuple[Tensor, float | None]:
    """Draws (64 budget,) of L times -log p(x_0^i | context), and the largest value one can take if that is known."""
    values = []
    for number in range(batches(budget)):
        with batch(seed, number):
            draw = draw_contexts(run, contexts)
            losses = token_losses(run.model, draw)
            values.append(row_sums(draw, losses))
    least = least_probability(run.model)
    return torch.cat(values), None if least is None else -run.length * math.log(least)


def posterior_divergences(
    run: Run, contexts: Contexts, *, budget: int, seed: int | None
) -> tuple[Tensor, float | None]:
    """Draws (64 budget,) of L KL(p(x_i | context) || predictor), and the largest value one can take if known."""
    exact, values = run.denoiser(), []
    for number in range(batches(budget)):
        with batch(seed, number):
            draw = draw_contexts(run, contexts)
            truth = log_simplex(exact.x0_log_probs(draw.xt, draw.t, at=draw.at))
            guess = log_simplex(run.model.x0_log_probs(draw.xt, draw.t, at=draw.at))
            values.append(row_sums(draw, divergence(truth, guess).sum(-1)))
    least = least_probability(run.model)
    return torch.cat(values), None if least is None else -run.length * math.log(least)


def has_posterior(run: Run) -> bool:
    """Whether the target has an exact posterior, of a size that a batch of contexts can be asked for."""
    if BATCH_ROWS * run.length * run.space.vocab_size > POSTERIOR_ENTRIES:
        return False
    return hasattr(run.target, "posterior") and run.target.entropy() is not None


def token_losses(model: Parameterization, draw: Draw) -> Tensor:
    """-log p(x_0^i | x_t) at the positions ``draw.at``, (K,) float64."""
    tokens = draw.x0.flatten()[draw.at].unsqueeze(-1)
    plain = type(model).x0_log_probs is X0.x0_log_probs
    ask = model.logits if isinstance(model, X0) and plain else model.x0_log_probs
    table = ask(draw.xt, draw.t, at=draw.at)
    # In pieces: a float64 copy of all logits at once would double what the network needs.
    pieces = zip(table.split(256), tokens.split(256), strict=True)
    return torch.cat([-log_simplex(part).gather(-1, token).squeeze(-1) for part, token in pieces])


def row_sums(draw: Draw, values: Tensor) -> Tensor:
    """The value of each row from those of its positions ``draw.at``, (64,) float64."""
    rows = draw.at // draw.x0.shape[-1]
    total = torch.zeros(len(draw.x0), dtype=torch.float64).index_add_(0, rows, values.double())
    return draw.weight * total


def batches(budget: int) -> int:
    """The number of network batches. Raises ValueError unless it is whole and positive."""
    if isinstance(budget, bool) or budget != int(budget) or budget < 1:
        raise ValueError(f"budget={budget!r} must be a whole number of network batches, at least 1.")
    return int(budget)
