"""Posterior inference under a diffusion prior: sequential Monte Carlo, the likelihood steering each reverse step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ddm_pyro.infer.draws import SMCDiagnostics, WeightedPosterior
from ddm_pyro.infer.infilling import known_tables
from ddm_pyro.infer.resampling import effective_sample_size, log_mean_exp, normalized, systematic, take
from ddm_pyro.infer.twisted_smc_problem import Problem, check
from ddm_pyro.infer.twisted_smc_separable import DOUBT, factors, forbids, is_separable
from ddm_pyro.infer.twisted_smc_track import Track
from ddm_pyro.infer.twisted_smc_twists import Blind, Candidates, Separable, Twist
from ddm_pyro.progress import progress_bar
from ddm_pyro.targets.programs import Program

TwistName = Literal["auto", "separable", "candidates", "none"]


class TwistedSMC:
    """The posterior of the diffusion sites of a Pyro program, without training anything.

    Particles run the prior's reverse process. With K the law of a step and psi(x_t) a guess of the likelihood
    E[L(x_0) | x_t], a step is drawn from a q close to K(y | x) psi(y), and particles are weighed by K/q and resampled,
    per group, by their weights times psi when the effective sample size falls low (twisted SMC: Wu et al., arXiv
    2306.17775; for language models: Zhao et al., arXiv 2404.17546). In the end psi is replaced by L itself: the mean
    weight is an unbiased estimate of the evidence under the law *of the sampler*, whatever the guess.

    A likelihood that is a product over tokens is found out by asking, and steers exactly as far as the denoiser's
    tokens are independent; any other is tried token by token at completions drawn from the denoiser.

    Args:
        model: a Pyro program whose latent tokens come from ``diffusion_sample``, written so that it broadcasts over a
            plate on its left. Other latent sites must not depend on the tokens; they are drawn once a particle and
            never moved, so that much data leave few of their values: read ``stderr``, not ``ess`` alone.
        num_particles: P.
        tempering: exponent of the guess by the share of the way that is done, a number or a function [0, 1] -> (0, 1];
            default 1. It never touches the final weights.
        resample_below: resample a group when its effective sample size is below this share of P; 0 never, 1 always.
        twist: "separable", "candidates", "none" (plain importance weights), or "auto".
        candidates: completions a particle with "candidates".
        known: site -> known tokens, (*batch, L) or (L,), -1 or the mask id where unknown: infilling. They count as
            observed, so they are part of the evidence.
        progress: whether a terminal sees a bar.

    Raises:
        TypeError: ``known`` that is no mapping.
        ValueError: settings out of range; on ``run``, programs that cannot be run so, with the reason.

    Example:
        >>> import pyro, pyro.distributions as dist, ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=2, length=3, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), length=3)
        >>> prior = ddm.infer.DiffusionPrior(ddm.samplers.FirstHitting(), target.denoiser(forward))
        >>> noise = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
        >>> def model(y):
        ...     x = ddm.infer.diffusion_sample("x", prior)
        ...     pyro.sample("y", dist.Categorical(noise[x]).to_event(1), obs=y)
        >>> posterior = TwistedSMC(model, num_particles=64).run(torch.tensor([1, 1, 0]))
        >>> posterior.samples["x"].shape, posterior.log_evidence.shape, bool(posterior.ess > 20)
        (torch.Size([64, 3]), torch.Size([]), True)
    """

    def __init__(
        self,
        model: Callable[..., Any],
        num_particles: int = 256,
        *,
        tempering: float | Callable[[float], float] | None = None,
        resample_below: float = 0.5,
        twist: TwistName = "auto",
        candidates: int = 16,
        known: Mapping[str, Tensor] | None = None,
        progress: bool = True,
    ) -> None:
        if isinstance(num_particles, bool) or num_particles != int(num_particles) or num_particles < 1:
            raise ValueError(f"num_particles={num_particles!r} must be a whole number of at least 1.")
        if not 0.0 <= resample_below <= 1.0:
            raise ValueError(f"resample_below={resample_below!r} is a share of the particles, between 0 and 1.")
        if twist not in get_args(TwistName):
            raise ValueError(f"twist={twist!r} must be one of {', '.join(get_args(TwistName))}.")
        if candidates < 1:
            raise ValueError(f"candidates={candidates!r} must be at least 1.")
        if known is not None and not isinstance(known, Mapping):
            raise TypeError(f"known={known!r} must map the name of a site to its known tokens, as {{'x': tokens}}.")
        self.model, self.num_particles, self.resample_below = model, int(num_particles), float(resample_below)
        self.tempering, self.twist, self.candidates, self.known = tempering, twist, int(candidates), dict(known or {})
        self.progress = progress

    def run(self, *args: Any, **kwargs: Any) -> WeightedPosterior:
        """Run ``model(*args, **kwargs)`` under the particles and return their weighted final state."""
        with torch.no_grad():
            problem = Problem.of(Program(self.model, args, kwargs))
            tracks = problem.tracks(self.num_particles)
            known = known_tables(self.known, tracks)
            latents = problem.draw_latents(self.num_particles)
            check(problem, tracks, latents)
            twist = self._choose(problem, tracks, latents, known)
            return _Run(problem, tracks, latents, known, twist, self.exponent, self.resample_below).finish(
                self.progress
            )

    def exponent(self, progress: float) -> float:
        """The power of the guess after a share ``progress`` of the way. Raises ValueError outside (0, 1]."""
        if self.tempering is None:
            return 1.0
        value = float(self.tempering(progress) if callable(self.tempering) else self.tempering)
        if not 0.0 < value <= 1.0:
            raise ValueError(f"tempering gave {value!r} at {progress:.3g} of the way; it must lie in (0, 1].")
        return value

    def _choose(
        self,
        problem: Problem,
        tracks: Mapping[str, Track],
        latents: dict[str, Tensor],
        known: dict[str, Tensor],
    ) -> Twist:
        some = {n: known[n].unsqueeze(0) if n in known else _nothing(track) for n, track in tracks.items()}
        if self.twist == "none" or not problem.likelihood:
            device = next(iter(tracks.values())).x.device
            nothing = torch.zeros((1,) * (problem.program.nesting + 1), dtype=torch.float64, device=device)
            return Blind(Separable(problem, some, nothing) if known else None)
        if self.twist != "candidates":
            found = factors(problem, tracks, latents)
            if found is not None:
                tables, constant = found
                sure = is_separable(problem, tracks, tables, latents)
                if sure or self.twist == "separable":
                    zeros = any(forbids(tracks[n], table) for n, table in tables.items())
                    doubt = DOUBT / max(track.moves for track in tracks.values()) if zeros else 0.0
                    tables = {n: table + some[n] for n, table in tables.items()}
                    return Separable(problem, tables, constant, doubt if sure else Candidates.defensive)
            elif self.twist == "separable":
                raise ValueError("No tokens of positive likelihood were found to read factors off; use 'candidates'.")
        return Candidates(problem, latents, known, self.candidates)


class _Run:
    """One run: predict, weigh, resample, move, for every site in turn until all are at their data."""

    def __init__(
        self,
        problem: Problem,
        tracks: Mapping[str, Track],
        latents: dict[str, Tensor],
        known: Mapping[str, Tensor],
        twist: Twist,
        exponent: Callable[[float], float],
        resample_below: float,
    ) -> None:
        self.problem, self.tracks, self.latents, self.known = problem, dict(tracks), latents, known
        self.twist, self.exponent, self.resample_below = twist, exponent, resample_below
        first = next(iter(tracks.values()))
        self.count, device = len(first.x), first.x.device
        shape = problem.groups(torch.zeros(first.batch, device=device)).shape
        self.log_w = torch.zeros(shape, dtype=torch.float64, device=device)
        index = torch.arange(self.count, device=device)
        self.roots = index.reshape(-1, *(1,) * (len(shape) - 1)).expand(shape)
        self.history: list[tuple[Tensor, Tensor]] = []

    def finish(self, progress: bool = False) -> WeightedPosterior:
        """All moves, and the final weights."""
        for track in self.tracks.values():
            track.predict()
        moves = sum(track.moves for track in self.tracks.values())
        with progress_bar(progress, moves, what="twisted SMC", value="ESS") as report:
            for move in range(moves):
                left = (n for n, track in self.tracks.items() if track.done < track.moves)
                name = min(left, key=lambda n: self.tracks[n].progress)
                if move > 0:
                    self.tracks[name].predict()
                self._move(name, self.tracks[name])
                report(move + 1, self.history[-1][0].mean())
        x = {n: track.x for n, track in self.tracks.items()}
        self.log_w = self.log_w + self.problem.log_likelihood(x, self.latents)
        for n, table in self.known.items():
            right = table.expand(*x[n].shape, table.shape[-1]).gather(-1, x[n].unsqueeze(-1)).squeeze(-1).sum(-1)
            self.log_w = self.log_w + self.problem.groups(right)
        return self._posterior()

    def _move(self, name: str, track: Track) -> None:
        power = self.exponent(track.done / track.moves)
        psi = self._cautious((power * self.twist.log_psi(self.tracks)).expand(self.log_w.shape))
        tilt = self.twist.tilt(name, self.tracks)
        self._resample(psi, tilt)
        tilt = self._tilt if self._tilt is None else power * self._tilt
        self.log_w = self.log_w + self.problem.groups(track.move(tilt, self.twist.defensive))

    def _cautious(self, psi: Tensor) -> Tensor:
        """The guess mixed with its mean over the population, so that no particle is given up on a guess alone.

        Weights after resampling are then at most 1 / caution times their mean. Any positive numbers would do here.
        """
        mean = (normalized(self.log_w).log() + psi).logsumexp(0, keepdim=True)
        mean = torch.where(mean > -torch.inf, mean, 0.0)
        share = self.twist.caution
        return torch.logaddexp(psi + math.log1p(-share), mean + math.log(share))

    def _resample(self, psi: Tensor, tilt: Tensor | None) -> None:
        guided = self.log_w + psi
        ess = effective_sample_size(guided)
        low = ess < self.resample_below * self.count
        low = low & (guided > -torch.inf).any(0)
        keep = torch.arange(self.count, device=psi.device).reshape(-1, *(1,) * (psi.dim() - 1))
        ancestors = torch.where(low, systematic(guided), keep)
        self.history.append((ess, low))
        equal = log_mean_exp(guided) - take(psi, ancestors)
        self.log_w = torch.where(low, equal, self.log_w)
        self.roots = take(self.roots, ancestors)
        self.latents.update({n: take(v, ancestors) for n, v in self.latents.items()})
        for track in self.tracks.values():
            track.resample(ancestors)
        self._tilt = tilt if tilt is None or tilt.shape[:1] != psi.shape[:1] else take(tilt, ancestors)
        self.twist = self.twist.resampled(ancestors)

    def _posterior(self) -> WeightedPosterior:
        program, shape = self.problem.program, self.problem.group_shape
        samples, spread = {}, {}
        for n in (*self.tracks, *self.problem.latents):
            node = program.sites[n]["fn"]
            value = self.tracks[n].x if n in self.tracks else self.latents[n]
            samples[n] = value.reshape(self.count, *node.batch_shape, *node.event_shape)
            full = tuple(self.log_w.shape[1:])
            spread[n] = (self.count, *full[len(full) - len(node.batch_shape) :])
        ess, resampled = (torch.stack(each).reshape(-1, *shape) for each in zip(*self.history, strict=True))
        diagnostics = SMCDiagnostics(
            ess, resampled, self.roots.reshape(self.count, *shape), type(self.twist).__name__.lower()
        )
        return WeightedPosterior(samples, self.log_w.reshape(self.count, *shape), spread, diagnostics)


def _nothing(track: Track) -> Tensor:
    return torch.zeros((1,) * (track.x.dim() + 1), dtype=torch.float64, device=track.x.device)
