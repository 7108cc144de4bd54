"""Finding out whether a likelihood is a product over tokens, and its factors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.infer.twisted_smc_problem import Problem
from ddm_pyro.infer.twisted_smc_track import Track

#: Random sequences on which the factors found must give the likelihood back.
CHECKS = 6
#: Draws of the prior on which they must do so too.
PRIOR_DRAWS = 32
#: Share of the particles that follow the prior against a table's zeros, should those be wrong: weights stay unbiased.
DOUBT = 0.01
#: How far they may be off, relative to 1 + |log-likelihood|; a likelihood computed in float32 loses that much.
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
#: Rows of tokens scored by the program at once.
CHUNK_ROWS = 2**16


def factors(
    problem: Problem, tracks: Mapping[str, Track], latents: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], Tensor] | None:
    """Tables log g with log L(x) = log c + sum log g_l(x_l), and log c; None if unknown.

    Tables are one a site, (P or 1, d_M, ..., d_1, L, V), log c is (P or 1, g_M, ..., g_1).

    Each table is read off by changing one token at a time from a base of positive likelihood: exact when the
    likelihood is separable, which ``is_separable`` tries on sequences drawn elsewhere.
    """
    count = next(iter(tracks.values())).x.shape[0] if problem.latents else 1
    base = _base(problem, tracks, latents, count)
    if base is None:
        return None
    score = problem.log_likelihood(base, latents)
    return {n: _table(problem, n, track, base, score, latents) for n, track in tracks.items()}, score


def is_separable(
    problem: Problem, tracks: Mapping[str, Track], tables: Mapping[str, Tensor], latents: Mapping[str, Tensor]
) -> bool:
    """Whether sums of the tables give differences of the log-likelihood: on random sequences, and on the prior's.

    What neither of them shows, a coupling in sequences that are rare under the prior, is not found.
    """
    count = next(iter(tables.values())).shape[0]
    draws = [_draw(tracks, count) for _ in range(CHECKS)]
    best = {n: table.argmax(-1) for n, table in tables.items()}
    # Possible sequences only: the tables' own best tokens, a random part of them changed.
    mixed = [
        {n: torch.where(torch.rand_like(x, dtype=torch.float64) < 0.5, best[n], x) for n, x in draw.items()}
        for draw in draws
    ]

    def scores(x: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        parts = [problem.groups(_pick(tables[n], x[n]).sum(-1)) for n in tables]
        return torch.stack(parts).sum(0), problem.log_likelihood(x, latents)

    predicted, actual = scores(best)
    offset = (actual - predicted).nan_to_num(0.0)
    tolerance = TOLERANCE[torch.float32 if torch.get_default_dtype() == torch.float32 else torch.float64]

    def right(x: Mapping[str, Tensor]) -> bool:
        predicted, actual = scores(x)
        same = (predicted == -torch.inf) & (actual == -torch.inf)
        return bool((same | ((predicted + offset - actual).abs() <= tolerance * (1.0 + actual.abs()))).all())

    # With other latent sites the tables are those of the particles, one draw each.
    rows, times = (count, -(-PRIOR_DRAWS // count)) if count > 1 else (PRIOR_DRAWS, 1)
    return all(right(x) for x in (*draws, *mixed)) and all(right(_prior_draws(problem, rows)) for _ in range(times))


def forbids(track: Track, table: Tensor) -> bool:
    """Whether a table gives some token of a position's alphabet probability zero."""
    sizes = track.process.space.sizes_on.on(table.device).unsqueeze(-1)
    return bool(((table == -torch.inf) & (torch.arange(table.shape[-1], device=table.device) < sizes)).any())


def _prior_draws(problem: Problem, count: int) -> dict[str, Tensor]:
    tracks = problem.tracks(count)
    for track in tracks.values():
        while track.done < track.moves:
            track.predict()
            track.move(None, 0.0)
    return {name: track.x for name, track in tracks.items()}


def _draw(tracks: Mapping[str, Track], count: int) -> dict[str, Tensor]:
    out = {}
    for name, track in tracks.items():
        sizes = track.process.space.sizes_on.on(track.x.device)
        u = random.uniform((count, *track.x.shape[1:]), track.x.device)
        out[name] = (u * sizes).long()
    return out


def _base(
    problem: Problem, tracks: Mapping[str, Track], latents: Mapping[str, Tensor], count: int
) -> dict[str, Tensor] | None:
    """Tokens of positive likelihood in every group, or None when none was found."""
    best: dict[str, Tensor] | None = None
    score = torch.zeros(())
    for _ in range(CHECKS):
        x = _draw(tracks, count)
        found = problem.log_likelihood(x, latents)
        if best is None:
            best, score = x, found
        better = found > score
        best = {n: torch.where(better.unsqueeze(-1), x[n], best[n]) for n in x}
        score = torch.where(better, found, score)
    return best if bool((score > -torch.inf).all()) else None


def _table(
    problem: Problem,
    name: str,
    track: Track,
    base: Mapping[str, Tensor],
    score: Tensor,
    latents: Mapping[str, Tensor],
) -> Tensor:
    own, vocab = base[name], track.process.space.vocab_size
    sizes = track.process.space.position_sizes
    table = torch.full((*own.shape, vocab), -torch.inf, dtype=torch.float64, device=own.device)
    for element in _elements(problem, own.shape[1:-1]):
        tries = [(position, token) for position, size in enumerate(sizes) for token in range(size)]
        each = max(1, CHUNK_ROWS // own[..., 0].numel())
        for low in range(0, len(tries), each):
            part = tries[low : low + each]
            x = own.repeat(len(part), *(1,) * (own.dim() - 1)).unflatten(0, (len(part), -1))
            for i, (position, token) in enumerate(part):
                x[(i, slice(None), *element, position)] = token
            wide = {n: v.repeat(len(part), *(1,) * (v.dim() - 1)) for n, v in base.items()}
            scores = problem.log_likelihood({**wide, name: x.flatten(0, 1)}, latents).unflatten(0, (len(part), -1))
            for i, (position, token) in enumerate(part):
                gain = scores[i] - score
                table[(slice(None), *element, position, token)] = gain[(slice(None), *_inside(problem, element))]
    return table


def _elements(problem: Problem, batch: torch.Size) -> Iterator[tuple[int | slice, ...]]:
    """Indices into the plates, one for each element that shares its group with others."""
    axes: list[list[int | slice]] = [
        [slice(None)] if d - len(batch) in problem.shared else list(range(size)) for d, size in enumerate(batch)
    ]
    return product(*axes)


def _inside(problem: Problem, element: tuple[int | slice, ...]) -> tuple[int | slice, ...]:
    """The same index into an array of groups, whose other axes have length one."""
    return tuple(index if isinstance(index, slice) else 0 for index in element)


def _pick(table: Tensor, x: Tensor) -> Tensor:
    return table.expand(*x.shape, -1).gather(-1, x.unsqueeze(-1)).squeeze(-1)
