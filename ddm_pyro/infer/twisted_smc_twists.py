"""Twists: what the likelihood of the data will be, guessed from a prediction of the tokens.

A twist only decides where particles go and which survive; weights use the likelihood itself, so a bad twist costs
effective particles and never biases the evidence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import inverse_cdf
from ddm_pyro.infer.resampling import log_mean_exp, take
from ddm_pyro.infer.twisted_smc_problem import Problem
from ddm_pyro.infer.twisted_smc_track import Track

#: Rows of tokens scored by the program at once.
CHUNK_ROWS = 2**16

#: Likelihoods that must count in a guess for it to weigh as much as no guess.
PATIENCE = 4.0

Tracks = Mapping[str, Track]


class Twist(ABC):
    """A guess of the likelihood ahead.

    Attributes:
        defensive: share of the untilted law in every proposal, so that nothing possible is excluded by a guess.
        caution: share of the population's mean in the guess of a particle.
    """

    defensive: float = 0.0
    caution: float = 0.01

    @abstractmethod
    def log_psi(self, tracks: Tracks) -> Tensor:
        """log of the guess for every particle, (P, g_M, ..., g_1)."""

    @abstractmethod
    def tilt(self, name: str, tracks: Tracks) -> Tensor | None:
        """What each token adds to the log-likelihood, broadcasting to (P, d_M, ..., d_1, L, V); None for nothing."""

    def resampled(self, ancestors: Tensor) -> Twist:
        """The twist of the particles ``ancestors``, (P, g_M, ..., g_1): itself where it does not know them apart."""
        return self


@dataclass(eq=False)
class Separable(Twist):
    """A likelihood that is a product over tokens, L(x) = c prod_l g_l(x_l): the guess is prod_l sum_v p_l(v) g_l(v).

    Attributes:
        problem: whose groups the guess is summed over.
        tables: site -> log g, broadcasting to (P, d_M, ..., d_1, L, V).
        constant: log c, broadcasting to (P, g_M, ..., g_1): particles differ in it where they differ in other sites.
        defensive: 0 where a wrong table only costs effective particles; more where its zeros might be wrong.
    """

    problem: Problem
    tables: Mapping[str, Tensor]
    constant: Tensor
    defensive: float = 0.0

    def log_psi(self, tracks: Tracks) -> Tensor:
        """log c and the sum over sites and tokens of log E_p g."""
        total = self.constant
        for name, track in tracks.items():
            total = total + self.problem.groups(torch.logsumexp(track.log_p + self.tables[name], -1).sum(-1))
        return total

    def tilt(self, name: str, tracks: Tracks) -> Tensor:
        """log g."""
        return self.tables[name]

    def resampled(self, ancestors: Tensor) -> Separable:
        """Tables and constants of the ancestors."""
        if len(self.constant) != len(ancestors):
            return self
        tables = {name: take(table, ancestors) for name, table in self.tables.items()}
        return replace(self, tables=tables, constant=take(self.constant, ancestors))


@dataclass(eq=False)
class Candidates(Twist):
    """Any likelihood: its mean over ``draws`` completions from the prediction; tilts by trying every token there.

    Attributes:
        problem: the likelihood.
        latents: other latent sites of each particle.
        known: site -> log-indicator of known tokens, (d_M, ..., d_1, L, V), for the sites that have any.
        draws: completions a particle.
        defensive: share of the untilted law in every proposal.
        caution: share of the population's mean; a few completions may all be bad luck.
    """

    problem: Problem
    latents: Mapping[str, Tensor]
    known: Mapping[str, Tensor]
    draws: int = 16
    defensive: float = 0.05
    caution: float = 0.3

    def log_psi(self, tracks: Tracks) -> Tensor:
        """log of the mean likelihood of fresh completions, and the probability of known tokens."""
        some = next(iter(tracks.values()))
        self._x: dict[str, Tensor] = {}
        out = torch.zeros((), dtype=torch.float64, device=some.x.device)
        for name, track in tracks.items():
            log_p = track.log_p
            if name in self.known:
                log_p = log_p + self.known[name]
                out = out + self.problem.groups(torch.logsumexp(log_p, -1).sum(-1))
            u = random.uniform((self.draws, *track.x.shape), track.x.device)
            self._x[name] = inverse_cdf(log_p.exp(), u)
        self._base = self._score(self._x)
        return out + log_mean_exp(self._base)

    def _score(self, x: Mapping[str, Tensor]) -> Tensor:
        """Likelihood of completions (C, P, d_M, ..., L) -> (C, P, g_M, ..., g_1)."""
        some = next(iter(x.values()))
        each = max(1, CHUNK_ROWS // max(1, some[0].shape[:-1].numel()))
        pieces = []
        for low in range(0, len(some), each):
            part = {n: value[low : low + each].flatten(0, 1) for n, value in x.items()}
            pieces.append(self.problem.log_likelihood(part, self.latents).unflatten(0, (-1, some.shape[1])))
        return torch.cat(pieces)

    def tilt(self, name: str, tracks: Tracks) -> Tensor:
        """log of the mean likelihood with a token set, relative to all; 0 at tokens the next move may not draw.

        A mean of few likelihoods that count is a bad guess, and bad guesses multiply over the steps: it is mixed with
        the mean over all tokens, in the ratio of ``PATIENCE`` to the effective number of completions it rests on.
        """
        track = tracks[name]
        vocab, length = track.process.space.vocab_size, track.x.shape[-1]
        log_p = track.log_p.flatten(0, -2)
        out = torch.zeros_like(log_p)
        out = out + self.known[name].expand(track.log_p.shape).flatten(0, -2) if name in self.known else out
        free = track.free()
        group = self._group_of_row(track)[free // length]
        tokens = torch.arange(vocab, device=track.x.device)
        sizes = track.process.space.sizes_on.on(track.x.device)
        each = max(1, CHUNK_ROWS // max(1, self.draws * track.rows))
        for turn in _turns(free, group, track, self._base[0].numel()):
            at = free[turn]
            # A token past a position's alphabet is never drawn; any other stands in for it.
            value = torch.minimum(tokens.unsqueeze(-1), sizes[at % length] - 1)
            parts = [self._try(name, track, at, value[low : low + each]) for low in range(0, vocab, each)]
            first, second = (torch.cat(moment).flatten(1)[:, group[turn]].T for moment in zip(*parts, strict=True))
            out[at] = out[at] + _trusted(first, second, log_p[at])
        return out.reshape(track.log_p.shape)

    def _try(self, name: str, track: Track, at: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """log-sums of the likelihood L and of L^2 over completions with the tokens ``at`` set to ``value`` (T, K).

        Both (T, P, g...).
        """
        count = len(value)
        tried = self._x[name].flatten(1).unsqueeze(0).repeat(count, 1, 1)  # (T, M, rows * L)
        tried[..., at] = value.unsqueeze(1).expand(count, self.draws, -1)
        tried = tried.reshape(count * self.draws, *track.x.shape)
        others = {n: x.repeat(count, *(1,) * (x.dim() - 1)) for n, x in self._x.items() if n != name}
        scores = self._score({**others, name: tried}).unflatten(0, (count, self.draws))
        return scores.logsumexp(1), (2.0 * scores).logsumexp(1)

    def _group_of_row(self, track: Track) -> Tensor:
        shape = self._base.shape[1:]
        index = torch.arange(shape.numel(), device=track.x.device).reshape(shape)
        return index.expand(track.batch).reshape(-1)


@dataclass(eq=False)
class Blind(Twist):
    """No guess: the reverse process as it is, weighed at the end; known tokens are put in place.

    Attributes:
        known: a ``Separable`` of the known tokens alone, or None.
    """

    known: Separable | None = None

    def log_psi(self, tracks: Tracks) -> Tensor:
        """0, or the probability of known tokens."""
        if self.known is not None:
            return self.known.log_psi(tracks)
        return torch.zeros((), dtype=torch.float64, device=next(iter(tracks.values())).x.device)

    def tilt(self, name: str, tracks: Tracks) -> Tensor | None:
        """Known tokens."""
        return None if self.known is None else self.known.tilt(name, tracks)


def _trusted(first: Tensor, second: Tensor, log_p: Tensor) -> Tensor:
    """log of (n r + k) / (n + k), all (K, V): r the likelihood of each token relative to their mean under p.

    n = (sum p L)^2 / sum p L^2 counts the likelihoods that matter, from their log-sums over completions.
    """
    total = (log_p + first).logsumexp(-1, keepdim=True)
    log_n = torch.where(total > -torch.inf, 2.0 * total - (log_p + second).logsumexp(-1, keepdim=True), -torch.inf)
    ratio = first - torch.where(total > -torch.inf, total, 0.0)
    doubt = torch.full_like(log_n, PATIENCE).log()
    return torch.logaddexp(log_n + ratio, doubt) - torch.logaddexp(log_n, doubt)


def _turns(free: Tensor, group: Tensor, track: Track, groups: int) -> list[Tensor]:
    """Indices into ``free``, at most one position a group in each turn: what one evaluation can tell apart."""
    length = track.x.shape[-1]
    if len(free) == track.x.numel() and groups == track.rows:
        rows = torch.arange(track.rows, device=free.device) * length
        return [rows + position for position in range(length)]
    order = torch.argsort(group, stable=True)
    grouped = group[order]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - torch.searchsorted(grouped, grouped)
    return [(rank == turn).nonzero().squeeze(-1) for turn in range(int(rank.max()) + 1 if len(rank) else 0)]
