"""P(x) of a planned masked sampler as a sum over sets of revealed positions instead of over orders."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations

import torch
from torch import Tensor

from ddm_pyro.distributions import AtomMixture
from ddm_pyro.infer.plans import PlanLaw
from ddm_pyro.infer.reverse import Reverse
from ddm_pyro.infer.rows import ROWS_PER_CALL, by_chunks

#: Most pairs (revealed before, revealed after) of one step that are summed over: 10 positions on a grid, 14 in order.
MAX_PAIRS = 2**17


def revealed_log_prob(reverse: Reverse, x: Tensor) -> Tensor:
    """log P(x) of rows (n, L), (n,): f_{k+1}(S + D) = sum f_k(S) w_k(|S|, |D|) prod_{l in D} p(x_l | x_S, t_k).

    f_k(S) is the probability that after k steps the positions S are revealed, and hold x; w_k that step k reveals just
    the set D. Costs the network 2^L rows a sequence, and as many a step where the model depends on time.

    Raises:
        ValueError: too many sets, or a plan of an unknown kind.
    """
    stages = list(_stages(reverse))
    pairs = max(sum(_count(reverse.length, a, b) for a, b in stage) for stage in stages)
    if pairs > MAX_PAIRS:
        raise ValueError(
            f"The exact law of {reverse.sampler} on {reverse.length} positions sums over {pairs} pairs of revealed "
            f"sets a step, more than {MAX_PAIRS}; use density='pseudo', or diffusion_sample, whose joint is exact."
        )
    width = ROWS_PER_CALL // 2**reverse.length
    return by_chunks(lambda part: _run(reverse.rows(part), x[part], stages), len(x), x.device, width)


def _stages(reverse: Reverse) -> Iterator[dict[tuple[int, int], float]]:
    """For each step, w(a, b): the probability to reveal a given set of b positions when a are revealed."""
    plans, length = PlanLaw(reverse), reverse.length
    law, blocks, a = plans.rows(1), plans.blocks(), 0
    if blocks is not None:
        for k in sorted(set(blocks)):
            b = blocks.count(k)
            yield {(a, b): 1.0 / math.comb(length - a, b)}
            a += b
    elif isinstance(law, AtomMixture) and len(law.base) == 1:
        left = 1.0
        for p in law.base[0].tolist():
            rho = min(p / left, 1.0) if left > 0 else 1.0
            left -= p
            every = ((a, b) for a in range(length + 1) for b in range(length + 1 - a))
            weights = {(a, b): rho**b * (1.0 - rho) ** (length - a - b) for a, b in every}
            yield {ab: w for ab, w in weights.items() if w > 0}
    else:
        raise ValueError(f"The plan of {reverse.sampler} is of no known kind, so it cannot be summed out.")


def _run(reverse: Reverse, x: Tensor, stages: list[dict[tuple[int, int], float]]) -> Tensor:
    one = torch.ones((len(x), 1), dtype=torch.float64, device=x.device)
    mass: dict[int, Tensor] = {0: one}
    tables: dict[int, Tensor] = {}
    for k, stage in enumerate(stages):
        if not reverse.model.time_free:
            tables = {}
        after: dict[int, Tensor] = {}
        for (a, b), weight in stage.items():
            if a not in mass:
                continue
            if b > 0 and a not in tables:
                tables[a] = _table(reverse, x, a, k)
            start, end, drawn = (torch.tensor(one, device=x.device) for one in _moves(reverse.length, a, b))
            flow = mass[a][:, start] * weight
            if b > 0:
                flow = flow * tables[a][:, start.unsqueeze(-1), drawn].sum(-1).exp()
            here = torch.zeros((len(x), math.comb(reverse.length, a + b)), dtype=torch.float64, device=x.device)
            here = here.index_add(1, end, flow)
            after[a + b] = after[a + b] + here if a + b in after else here
        mass = after
    return mass[reverse.length].squeeze(-1).log()


def _table(reverse: Reverse, x: Tensor, a: int, k: int) -> Tensor:
    """log p(x_l | x_S) for all sets S of a positions, (n, sets, L)."""
    length = reverse.length
    sets = list(combinations(range(length), a))
    inside = torch.tensor([[position in one for position in range(length)] for one in sets], device=x.device)
    seen = torch.where(inside, x.unsqueeze(1), reverse.masks(1)).reshape(-1, length)
    row = torch.arange(len(x), device=x.device).repeat_interleave(len(sets), output_size=len(seen))
    log_p = reverse.rows(row).model.x0_log_probs(seen, reverse.times[k])
    log_p = torch.log_softmax(log_p.double(), -1).gather(-1, x[row].unsqueeze(-1))
    return log_p.reshape(len(x), len(sets), length)


@lru_cache(maxsize=256)
def _moves(length: int, a: int, b: int) -> tuple[list[int], list[int], list[tuple[int, ...]]]:
    """All disjoint (S, D) of sizes a and b: the ranks of S and of S + D among sets of their size, and D."""
    rank = {one: i for i, one in enumerate(combinations(range(length), a + b))}
    start, end, drawn = [], [], []
    for i, before in enumerate(combinations(range(length), a)):
        rest = [position for position in range(length) if position not in before]
        for new in combinations(rest, b):
            start.append(i)
            end.append(rank[tuple(sorted(before + new))])
            drawn.append(new)
    return start, end, drawn


def _count(length: int, a: int, b: int) -> int:
    return math.comb(length, a) * math.comb(length - a, b)
