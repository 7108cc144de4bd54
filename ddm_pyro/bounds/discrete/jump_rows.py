"""A sampler whose positions jump at most once a step, as a jump process whose rates remember the start of the step.

Position l of a step from z = x_t to s leaves with probability Pi_l. It is a jump process with rates (theory 9, D3)

Q~(z; x, v) = g -log(1 - Pi_l) Pi_{l,v} / Pi_l 1[x^l = z^l], g constant in log alpha with integral 1 over the step,

so that TV(p_0, law) <= m + sum_k int E rowTV(exact rates(X_t) - Q~(X_{t_k}; X_t)) dt + E TV of the final denoising, the
pair drawn from the forward chain. All pairs of states are summed; time is integrated with Gauss's rule in two sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ddm_pyro.bounds.base import NotApplicable
from ddm_pyro.bounds.discrete.case import Run
from ddm_pyro.bounds.discrete.noise import Noise
from ddm_pyro.bounds.discrete.steps import dense, law_of, reverse_kernel, start_gap, unlazy
from ddm_pyro.bounds.tables import joint_kernel
from ddm_pyro.distributions import JumpLaw, SequenceLaw
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.sampling.loop import denoise_law

#: States up to which all pairs are summed.
JUMP_STATES = 2**7
#: Nodes of the two rules a step.
NODES = (8, 16)


@dataclass(frozen=True)
class JumpRows:
    """Parts of the certificate, on the scale of TV.

    Attributes:
        mismatch: TV(p_first, prior).
        rows: exact rates against the sampler's.
        discretization: the model's rates against the sampler's.
        score: exact rates against the model's.
        final: exact posterior against the final denoising.
        error: what the two rules differ by in ``rows``, which ``value`` adds.
    """

    mismatch: float
    rows: float
    discretization: float
    score: float
    final: float
    error: float

    @property
    def value(self) -> float:
        """The certificate."""
        return self.mismatch + self.rows + self.final + self.error


def jump_rows(run: Run, name: str) -> JumpRows:
    """The parts for a process without masks. Raises NotApplicable where rates or steps are not of this kind."""
    process, space = run.process, run.space
    schedule = getattr(process, "schedule", None)
    if space.mask is not None or schedule is None or run.sampler is None:
        raise NotApplicable(
            f"{name} speaks of masked samplers with a plan, and of one sampler of a process without masks; "
            "core/kernel-kl speaks of the others."
        )
    if space.num_states > JUMP_STATES:
        raise NotApplicable(
            f"{name} sums over pairs of at most {JUMP_STATES} states without masks; core/kernel-kl also estimates."
        )
    noise = Noise(process, run.grid[0])
    exact, totals = run.denoiser(), torch.zeros(2, 3, dtype=torch.float64)
    for t, s in pairwise(run.grid.unbind()):
        totals += _step(run, noise, exact, t, s, name)
    coarse, fine = totals
    mismatch, _ = start_gap(run, noise)
    rows, disc, score = fine.tolist()
    error = float((coarse - fine).abs()[0]) if np.isfinite(rows) else 0.0
    return JumpRows(mismatch, rows, disc, score, _final(run, noise), error)


def _step(run: Run, noise: Noise, exact: Parameterization, t: Tensor, s: Tensor, name: str) -> Tensor:
    """Integrals (2, 3) over a step, by both rules: rows, discretization, score."""
    space, schedule = run.space, run.process.schedule  # type: ignore[attr-defined]
    states = space.enumerate()
    law = unlazy(law_of(run.sampler, run, states, t, s))  # type: ignore[arg-type]
    low, high = float(schedule.sigma(s)), float(schedule.sigma(t))
    if not isinstance(law, (SequenceLaw, JumpLaw)) or not np.isfinite(high):
        raise NotApplicable(
            f"{name} needs steps that are products over positions, from a time with alpha > 0; core/kernel-kl does not."
        )
    own = torch.nn.functional.one_hot(states, space.num_symbols).bool()
    table = torch.where(own, 0.0, law.table())
    leave = table.sum(-1, keepdim=True).clamp(max=1.0)
    # -log(1 - Pi) / Pi, its limit 1 at 0; a position that leaves surely has no finite rate.
    hazard = torch.where(leave > 0, -torch.log1p(-leave) / torch.where(leave > 0, leave, 1.0), 1.0)
    rates = torch.where(table > 0, hazard * table, 0.0) / (high - low)
    out = torch.zeros(2, 3, dtype=torch.float64)
    pmf = run.target.tabular().pmf
    for rule, count in enumerate(NODES):
        u, w = np.polynomial.legendre.leggauss(count)
        for v, weight in zip((u + 1) / 2, w / 2, strict=True):
            sigma = low + (high - low) * v * v
            time = schedule.inverse(torch.tensor(-sigma, dtype=torch.float64).exp())
            scale = schedule.rate(time)
            truth, guess = (
                torch.where(own, 0.0, _by_symbol(model, states, time) / scale) for model in (exact, run.model)
            )
            here = noise.law(pmf, time)
            chance = here.unsqueeze(-1) * joint_kernel(noise.kernels(time, t))
            still = (states.unsqueeze(1) == states.unsqueeze(0)).unsqueeze(-1)
            sampler = torch.where(still, rates.unsqueeze(0), 0.0)
            parts = (
                _mean(chance, _row_distance(truth.unsqueeze(1), sampler)),
                _mean(chance, _row_distance(guess.unsqueeze(1), sampler)),
                _mean(here, _row_distance(truth, guess)),
            )
            out[rule] += weight * 2.0 * v * (high - low) * torch.stack(parts)
    return out


def _row_distance(a: Tensor, b: Tensor) -> Tensor:
    """max(sum (a - b)^+, sum (b - a)^+) over positions and symbols."""
    gap = a - b
    return torch.maximum(gap.clamp(min=0.0).sum((-2, -1)), (-gap).clamp(min=0.0).sum((-2, -1)))


def _by_symbol(model: Parameterization, states: Tensor, t: Tensor) -> Tensor:
    """Reverse rates of every position to every symbol, (N, L, A)."""
    rates = model.reverse_rate(states, t).double()
    if model.process.has_full_moves:
        return rates
    table = torch.zeros(*states.shape, model.process.space.num_symbols, dtype=torch.float64)
    moves = model.process.moves(states).expand(rates.shape)
    # Entries off a position's alphabet have rate 0; their index is of no matter.
    return table.scatter_add_(-1, moves.clamp(0, table.shape[-1] - 1), rates)


def _mean(chance: Tensor, values: Tensor) -> Tensor:
    return torch.where(chance > 0, chance * values, 0.0).sum()


def _final(run: Run, noise: Noise) -> float:
    """E TV(P(X_0 = . | X_last), the final denoising)."""
    last = run.grid[-1]
    if not run.denoises or float(last) == 0.0:
        return 0.0
    pmf, zero = run.target.tabular().pmf, torch.zeros_like(last)
    late = noise.law(pmf, last)
    support = late.nonzero().squeeze(-1)
    exact = reverse_kernel(noise.kernels(zero, last), late[support], noise.law(pmf, zero), support)
    kernel = dense(denoise_law(run.model, run.space.unindex(support), last), run.space, len(support))
    return 0.5 * float((late[support] * (exact - kernel).abs().sum(-1)).sum())
