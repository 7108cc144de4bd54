"""Paths conditioned on both ends, drawn exactly by uniformization."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import inverse_cdf
from ddm_pyro.distributions.program_type import in_program_type
from ddm_pyro.paths.capacity import OVERFLOW
from ddm_pyro.paths.chains import UniformizedChain, chain_of
from ddm_pyro.paths.ctmc import PathLaw
from ddm_pyro.paths.density import clocked
from ddm_pyro.paths.replay import replay
from ddm_pyro.paths.simulate import EventLog, clock_to_time
from ddm_pyro.rates import Masked

if TYPE_CHECKING:
    from ddm_pyro.processes import Process

#: Points at which the Chernoff bound on the number of jumps is minimised.
TILTS = (1.05, 1.1, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0)


class BridgePath(PathLaw):
    """The path of a forward process on [s, t] from x0, given that it ends in xt.

    On the clock sigma each position's number of events given both ends has weights Poisson(n; r T) P^n[x0, xt]
    (Hobolth and Stone, "Simulation from endpoint-conditioned, continuous-time Markov chains on a finite state space",
    Annals of Applied Statistics 2009); the events are uniform on the clock and their states follow from powers of P.
    A masked position jumps once, at a truncated exponential clock, also where alpha(t) = 0.

    The density is that of ``CTMCPath`` over the kernel from x0 to xt; paths that end elsewhere score -inf.

    Args:
        process: a process with rates schedule.rate(t) Q and a finite alphabet.
        x0, xt: (..., L) states at s and t.
        s, t: the interval.
        max_jumps: rows of a path; None takes one that overflows with probability below 1e-9.

    Raises:
        ValueError: as ``CTMCPath``; an xt that cannot follow x0; a process without a time change or with a countable
            alphabet; infinite noise, unless masked.

    Example:
        >>> from ddm_pyro import ForwardProcess
        >>> from ddm_pyro.rates import Masked
        >>> from ddm_pyro.schedules import Linear
        >>> forward = ForwardProcess(Masked(3), Linear(), length=2)
        >>> law = BridgePath(forward, torch.tensor([0, 2]), torch.tensor([3, 2]), 0.0, 0.5)
        >>> law.event_shape, round(law.log_prob(torch.tensor([[0.25, 0.0, 3.0]])).exp().item(), 12)
        (torch.Size([1, 3]), 2.0)
    """

    tensors: ClassVar[dict[str, int]] = {"x0": 1, "xt": 1, "s": 0, "t": 0}

    def __init__(
        self, process: Process, x0: Tensor, xt: Tensor, s: Any = 0.0, t: Any = 1.0, *, max_jumps: int | None = None
    ) -> None:
        if process.time_change is None:
            raise ValueError(f"BridgePath needs rates of the form schedule.rate(t) Q, which {process!r} has not.")
        self._change = process.time_change
        self._chains = [
            None if isinstance(rate, Masked) else chain_of(rate) for rate, _ in self._change.generator.groups
        ]
        x0, self.xt = torch.broadcast_tensors(process.space.check(x0, "x0"), process.space.check(xt, "xt"))
        super().__init__(process, x0, s, t, max_jumps)

    def _check(self) -> None:
        self.xt = self.xt.expand(self.x0.shape)
        noise = self._change.elapsed(self.s, self.t)
        for (rate, _), chain in zip(self._change.generator.groups, self._chains, strict=True):
            if chain is not None and not bool(noise.isfinite().all()):
                raise ValueError(
                    f"A bridge of {rate!r} needs finite noise, but alpha({float(self.t.max()):.6g}) = 0; "
                    "end the path earlier."
                )
        with torch.no_grad():
            impossible = self._log_kernels(self.x0, self.xt, noise).isneginf()
        if bool(impossible.any()):
            where = impossible.nonzero()[0].tolist()
            raise ValueError(
                f"xt cannot follow x0: the token at {where} has probability 0; draw xt from transition(x0, s, t)."
            )

    def _default_max_jumps(self) -> int:
        """Rows that suffice but for OVERFLOW, by Chernoff's bound on the number of events given the ends."""
        noise = self._change.elapsed(self.s, self.t)
        tilts = torch.tensor(TILTS, dtype=torch.float64, device=noise.device)
        once, cumulant = torch.zeros_like(noise), noise.new_zeros(*noise.shape, len(TILTS))
        with torch.no_grad():
            for (_, positions), chain in zip(self._change.generator.groups, self._chains, strict=True):
                x, y = self.x0[..., positions], self.xt[..., positions]
                if chain is None:
                    once = once + (x != y).sum(-1)
                    continue
                counts = chain.counts(
                    self._local(positions, x), self._local(positions, y), noise.unsqueeze(-1).expand(x.shape)
                )
                powers = tilts ** torch.arange(counts.shape[-1], dtype=torch.float64, device=x.device).unsqueeze(-1)
                cumulant = cumulant + ((counts / counts.sum(-1, keepdim=True)) @ powers).log().sum(-2)
        most = ((cumulant - math.log(OVERFLOW)) / tilts.log()).amin(-1).ceil()
        return int((once + torch.where(cumulant.amax(-1) > 0, most, 0.0)).max())

    def _local(self, positions: list[int], x: Tensor) -> Tensor:
        """Tokens in the symbols of the rate at ``positions``, whose mask is its own vocab_size."""
        rate = self._change.generator.rates[positions[0]]
        return torch.where(self.space.is_mask(x), rate.vocab_size or 0, x)

    def _log_kernels(self, x0: Tensor, xt: Tensor, noise: Tensor) -> Tensor:
        """log P(xt^l | x0^l) of each position, (..., L)."""
        out = torch.zeros(x0.shape, dtype=torch.float64, device=x0.device)
        for (_, positions), chain in zip(self._change.generator.groups, self._chains, strict=True):
            x, y = x0[..., positions], xt[..., positions]
            gone = noise.unsqueeze(-1).expand(x.shape)
            if chain is None:
                masked = self.space.is_mask(y)
                kept = torch.where(x == y, torch.where(masked, 0.0, -gone), -torch.inf)
                out[..., positions] = torch.where(masked & (x != y), torch.log(-torch.expm1(-gone)), kept)
            else:
                out[..., positions] = (
                    chain.counts(self._local(positions, x), self._local(positions, y), gone).sum(-1).log()
                )
        return out

    @in_program_type
    def log_prob(self, value: Tensor) -> Tensor:
        """log-density of paths (..., max_jumps, 3) -> (...), float64."""
        path, good, own = self._aligned(value)
        x0, xt, s, t = (own[name] for name in self.tensors)
        arrived = (replay(path.detach(), x0, s).final == xt).all(-1)
        free = clocked(self._change, path, x0, s, t) - self._log_kernels(x0, xt, self._change.elapsed(s, t))
        return torch.where(good & arrived, free.sum(-1), -torch.inf)

    def _draw(self, *, x0: Tensor, xt: Tensor, s: Tensor, t: Tensor) -> Tensor:  # type: ignore[override]
        log, change, walks = EventLog(self.max_jumps), self._change, []
        start, noise = change.clock(s).unsqueeze(-1), change.elapsed(s, t).unsqueeze(-1)
        u = random.uniform(x0.shape, x0.device)
        for (_, positions), chain in zip(change.generator.groups, self._chains, strict=True):
            x, y = x0[:, positions], xt[:, positions]
            if chain is None:
                at = torch.tensor(positions, device=x.device)
                log.add(start - torch.log1p(u[:, positions] * torch.expm1(-noise)), at, y, x != y)
            else:
                x, y = self._local(positions, x), self._local(positions, y)
                walks.append(Walk(chain, positions, x, y, noise.expand(x.shape), u[:, positions]))
        # Positions go together, so that a row's uniforms do not depend on how long the others of the batch take.
        while any(bool((walk.left > 0).any()) for walk in walks):
            wait, choice = random.uniform((*x0.shape, 2), x0.device).unbind(-1)
            for walk in walks:
                happened = walk.step(wait[:, walk.positions], choice[:, walk.positions])
                at = torch.tensor(walk.positions, device=x0.device)
                log.add(start + walk.passed, at, self._symbols(walk), happened)
        return clock_to_time(change, log.pack(len(x0), x0.device), s, t)

    def _symbols(self, walk: Walk) -> Tensor:
        rate = self._change.generator.rates[walk.positions[0]]
        return torch.where(walk.z.eq(rate.vocab_size or 0), self.space.vocab_size, walk.z) if rate.has_mask else walk.z

    def __repr__(self) -> str:
        return f"BridgePath({self.process!r}, batch_shape={tuple(self.batch_shape)}, max_jumps={self.max_jumps})"


class Walk:
    """Positions of one rate on their way from x to y, (n, w), event by event.

    Attributes:
        z: where they are.
        passed: how much of the clock's ``noise`` has passed.
        left: events still to come, given the ends.
    """

    def __init__(
        self, chain: UniformizedChain, positions: list[int], x: Tensor, y: Tensor, noise: Tensor, u: Tensor
    ) -> None:
        self.chain, self.positions, self.z, self.y, self.noise = chain, positions, x, y, noise
        self.passed = torch.zeros_like(noise)
        counts = chain.counts(x, y, noise)
        self.left = inverse_cdf(counts, u).clamp(max=counts.shape[-1] - 1)

    def step(self, wait: Tensor, choice: Tensor) -> Tensor:
        """Go to the next event where there is one; says which positions jumped."""
        active, after = self.left > 0, (self.left - 1).clamp(min=0)
        # The smallest of `left` uniform times on what remains of the interval.
        share = -torch.expm1(torch.log1p(-wait) / self.left.clamp(min=1))
        self.passed = torch.where(active, self.passed + (self.noise - self.passed) * share, self.passed)
        weights = self.chain.weights(self.z, self.y, after)
        target = inverse_cdf(weights, choice).clamp(max=weights.shape[-1] - 1)
        jumped = active & (target != self.z)
        self.z, self.left = torch.where(active, target, self.z), after
        return jumped
