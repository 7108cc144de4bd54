"""The error of drawing positions at once: total variation between what a predictor says before and within a block.

Given the plan and a uniform order within blocks, a sampler draws position i from phat(. | x_W'), W' what is known at
the start of the block, where one position at a time would see W, W' and the earlier ones of the block. By the chain
rule

TV(p_0, law) <= sum_i E TV(p(x_i | x_W), phat(. | x_W')) <= score + discretization,
score = sum_i E TV(p(x_i | x_W), phat(. | x_W)), discretization = sum_i E TV(phat(. | x_W), phat(. | x_W')),

expectations under the data (theory 9, D3, for the schedule that has the sampler's own reveal times). phat is asked at
the time of the block.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.bounds.base import BATCH_ROWS
from ddm_pyro.bounds.discrete.case import Run
from ddm_pyro.bounds.discrete.contexts import Contexts, all_masks, binomial
from ddm_pyro.bounds.discrete.estimates import averaged, batch, batches, row_sums
from ddm_pyro.bounds.discrete.patterns import CHUNK_ENTRIES, log_simplex
from ddm_pyro.bounds.tables import pattern_mass
from ddm_pyro.parameterizations import Parameterization

#: Pairs of patterns, one inside the other, over which is summed.
EXACT_PAIRS = 2**20


@dataclass(frozen=True)
class ParallelError:
    """The three sums; ``rows`` and ``score`` are None where the exact posterior is not known.

    Attributes:
        discretization: of the model against itself.
        score: of the model against the truth, one position at a time.
        rows: of the sampler against the truth: the certificate.
    """

    discretization: Tensor
    score: Tensor | None = None
    rows: Tensor | None = None


def pair_counts(contexts: Contexts, length: int) -> Tensor:
    """Mean number of positions that step k draws with a known before it and b drawn before them in it: (N + 1, L, L).

    Example:
        >>> from ddm_pyro.bounds.discrete.contexts import hazard_counts
        >>> halves = torch.tensor([0.5, 0.5]).double()
        >>> counts = pair_counts(Contexts(None, halves, hazard_counts(halves, 2), hazards=halves), 2)
        >>> [[round(value, 6) for value in row] for row in counts[0].tolist()]
        [[0.75, 0.25], [0.0, 0.0]]
    """
    out = torch.zeros(len(contexts.times), length, length, dtype=torch.float64)
    if contexts.sizes is not None:
        known = 0
        for k, size in enumerate(contexts.sizes):
            out[k, known, :size] = 1.0
            known += size
        return out
    hazards, counts = contexts.hazards, contexts.counts
    if hazards is None or counts is None:
        raise ValueError("This plan does not treat positions alike.")
    before = 0.0
    for k, hazard in enumerate(hazards.tolist()):
        share = min(hazard / (1.0 - before), 1.0) if before < 1.0 else 1.0
        for a in range(length):
            # Others in the block are binomial; the rank of a position among them is uniform.
            others = binomial(length - 1 - a, share)
            ranked = others / torch.arange(1, len(others) + 1)
            out[k, a, : len(others)] = counts[k, a] * ranked.flip(0).cumsum(0).flip(0)
        before += hazard
    return out


def exact_parallel_error(run: Run, contexts: Contexts) -> ParallelError:
    """The sums over all patterns and all patterns inside them."""
    space, model, length = run.space, run.model, run.length
    counts = pair_counts(contexts, length)
    mass = pattern_mass(run.target.tabular().pmf.detach().cpu(), space)
    masked = space.is_mask(space.enumerate())
    index = ((mass > 0) & masked.any(-1)).nonzero().squeeze(-1)
    states, masked = space.unindex(index), masked[index]
    truth = _table(run.denoiser(), states, contexts.times[0])
    asked = [0] if model.time_free else range(len(contexts.times))
    totals = torch.zeros(3, dtype=torch.float64)
    known = (~masked).sum(-1)
    for k in asked:
        weights = counts.sum(0) if model.time_free else counts[k]
        guess = _table(model, space.enumerate(), contexts.times[k])
        own = guess[index]
        for hidden in range(2**length):
            hide = torch.tensor([bool(hidden >> position & 1) for position in range(length)])
            rows = (~(masked & hide)).all(-1).nonzero().squeeze(-1)
            before = known[rows] - int(hide.sum())
            # Each pair (W', W) of sizes (a, c) stands for 1 / (L C(L-1, c) C(c, a)) of the mean.
            weight = mass[index[rows]] * weights[before, known[rows] - before] / _ways(length, known[rows], before)
            rows, weight = rows[weight > 0], weight[weight > 0]
            if not len(rows):
                continue
            block = guess[space.index(torch.where(hide, space.vocab_size, states[rows]))]
            free = masked[rows]
            for j, (p, q) in enumerate(((own[rows], block), (truth[rows], own[rows]), (truth[rows], block))):
                gap = torch.where(free, 0.5 * (p - q).abs().sum(-1), 0.0).sum(-1)
                totals[j] += (weight * gap).sum()
    return ParallelError(totals[0], totals[1], totals[2])


def estimated_parallel_error(
    run: Run, contexts: Contexts, exact: Parameterization | None, *, budget: int, seed: int | None
) -> ParallelError:
    """Draws (32 budget,) of the sums; all lie in [0, L]. A network batch holds the two contexts of 32 draws."""
    parts: list[list[Tensor]] = [[], [], []]
    half = BATCH_ROWS // 2
    for number in range(batches(budget)):
        with batch(seed, number):
            x0 = run.target.sample((BATCH_ROWS,)).long()[:half]
            plan = contexts.plan.expand((BATCH_ROWS,)).sample()[:half]
            chosen = (random.uniform((BATCH_ROWS, 1))[:half] * run.length).long()
            order = random.uniform((BATCH_ROWS, run.length))[:half]
            step, turn = plan.gather(-1, chosen), order.gather(-1, chosen)
            late, inside = plan >= step, (plan > step) | ((plan == step) & (order >= turn))
            t = contexts.times[step.squeeze(-1)]
            if contexts.clocked and run.sampler is not None:
                sampler = run.sampler.prepare(run.process, all_masks(run).expand(half, -1), run.grid, plan)
                clock = getattr(sampler, "clock", None)
                t = t if clock is None else clock.gather(-1, step.clamp(max=clock.shape[-1] - 1)).squeeze(-1)
            alike = contexts.counts is not None
            now = averaged(run.space, x0, t, inside, inside if alike else _only(chosen, run.length))
            both = torch.cat([now.xt, torch.where(late, run.space.vocab_size, x0)])
            at = torch.cat([now.at, now.at + half * run.length])
            table = run.model.x0_log_probs(both, t.repeat(2), at=at)
            own, block = table.tensor_split(2)
            pairs: list[tuple[Tensor, Tensor]] = [(own, block)]
            if exact is not None:
                truth = exact.x0_log_probs(now.xt, t, at=now.at)
                pairs += [(truth, own), (truth, block)]
            for out, (p, q) in zip(parts, pairs, strict=False):
                out.append(row_sums(now, _distances(p, q)))
    discretization, *others = (torch.cat(part) if part else torch.empty(0) for part in parts)
    return ParallelError(discretization, *(others if exact is not None else ()))


def _table(model: Parameterization, x: Tensor, t: Tensor) -> Tensor:
    size = max(1, CHUNK_ENTRIES // (x.shape[-1] * model.process.space.vocab_size))
    return torch.cat([log_simplex(model.x0_log_probs(part, t)).exp() for part in x.split(size)])


def _ways(length: int, known: Tensor, before: Tensor) -> Tensor:
    """L C(L-1, c) C(c, a): positions, sets of c others that are known, and a of them before the block."""

    def log_ways(n: Tensor, k: Tensor) -> Tensor:
        return torch.lgamma(n + 1.0) - torch.lgamma(k + 1.0) - torch.lgamma(n - k + 1.0)

    known, before = known.double(), before.double()
    return length * (log_ways(torch.full_like(known, length - 1.0), known) + log_ways(known, before)).exp()


def _distances(log_p: Tensor, log_q: Tensor) -> Tensor:
    pieces = zip(log_p.split(256), log_q.split(256), strict=True)
    return torch.cat([0.5 * (log_simplex(p).exp() - log_simplex(q).exp()).abs().sum(-1) for p, q in pieces])


def _only(chosen: Tensor, length: int) -> Tensor:
    return torch.arange(length) == chosen
