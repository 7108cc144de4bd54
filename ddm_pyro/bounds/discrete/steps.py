"""Divergence of the exact reverse kernels from a sampler's, summed over all states of a small space."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.bounds.base import NotApplicable
from ddm_pyro.bounds.discrete.case import Run
from ddm_pyro.bounds.discrete.noise import Noise
from ddm_pyro.bounds.tables import joint_kernel, own_symbols
from ddm_pyro.distributions import JumpLaw, LazyLaw, SequenceLaw
from ddm_pyro.losses.divergence import divergence, log_or_minus_infinity
from ddm_pyro.samplers import Ancestral, Gillespie, Sampler
from ddm_pyro.samplers.exact_push import push_step
from ddm_pyro.sampling.loop import denoise_law
from ddm_pyro.spaces import StateSpace

#: States up to which kernels are compared pair by pair.
PAIR_STATES = 2**9
#: States up to which the law of a step without a density is carried state by state instead.
PUSH_STATES = 2**7
#: States up to which they are compared position by position; the steps' laws must then be independent a position.
TABLE_STATES = 2**16
#: Relative rounding of the entropies of which total correlations are differences.
ROUNDING = 8 * torch.finfo(torch.float64).eps


def step_divergences(run: Run, noise: Noise) -> list[float]:
    """E KL(exact reverse kernel || sampler's kernel) of every step, and of the final denoising if there is one."""
    times = [*pairwise(run.grid.unbind())]
    out = [_one(run, noise, t, s, run.samplers) for t, s in times]
    if run.denoises and float(run.grid[-1]) > 0.0:
        out.append(_one(run, noise, run.grid[-1], torch.zeros_like(run.grid[-1]), None))
    return out


def start_gap(run: Run, noise: Noise) -> tuple[float, float]:
    """TV(p_first, prior) and KL(p_first || prior); none for masks."""
    if run.process.is_masked:
        return 0.0, 0.0
    space = run.space
    law = noise.law(_pmf(run), run.grid[0])
    prior = torch.zeros(space.num_states, dtype=torch.float64)
    prior[0] = 1.0
    prior = push_step(lambda x: run.process.prior().expand((len(x),)), prior, space)
    gap = divergence(log_or_minus_infinity(law), log_or_minus_infinity(prior)).sum()
    return 0.5 * float((law - prior).abs().sum()), float(gap)


def _one(run: Run, noise: Noise, t: Tensor, s: Tensor, samplers: Sequence[Sampler] | None) -> float:
    space, pmf = run.space, _pmf(run)
    late, early = noise.law(pmf, t), noise.law(pmf, s)
    support = late.nonzero().squeeze(-1)
    x = space.unindex(support)
    if space.num_states <= PAIR_STATES:
        kernel = _composed(run, x, t, s, samplers)
        exact = reverse_kernel(noise.kernels(s, t), late[support], early, support)
        parts = divergence(log_or_minus_infinity(exact), log_or_minus_infinity(kernel)).sum(-1)
        return float((late[support] * parts).sum())
    tables = _tables(run, x, t, s, samplers)
    truth = unlazy(Ancestral().step(run.denoiser(), x, t, s)).table()
    per_site = divergence(log_or_minus_infinity(truth), log_or_minus_infinity(tables)).sum((-2, -1))
    together = _conditional_entropy(noise, early, late, s, t, space)
    apart = float((late[support] * torch.special.entr(truth).sum((-2, -1))).sum())
    return float((late[support] * per_site).sum()) + max(apart - together, 0.0) + ROUNDING * apart


def _composed(run: Run, x: Tensor, t: Tensor, s: Tensor, samplers: Sequence[Sampler] | None) -> Tensor:
    """Kernel from the states ``x`` to all states, (n, N), of the samplers in turn or of the final denoising."""
    if samplers is None:
        return dense(denoise_law(run.model, x, t), run.space, len(x))
    kernel = _rows(samplers[0], run, x, t, s)
    for one in samplers[1:]:
        kernel = kernel @ _rows(one, run, run.space.enumerate(), t, s)
    return kernel


def _rows(sampler: Sampler, run: Run, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The kernel of one sampler from the states ``x``, (n, N); pushed state by state where it has no density."""
    if isinstance(sampler, Gillespie) and run.space.num_states <= PUSH_STATES:
        points = torch.eye(run.space.num_states, dtype=torch.float64)[run.space.index(x)]
        return torch.stack([sampler.push(run.model, point, t, s) for point in points])
    return dense(law_of(sampler, run, x, t, s), run.space, len(x))


class NotIndependent(NotApplicable):
    """The steps' laws are no products over positions, and the space is too large for pairs."""


def _tables(run: Run, x: Tensor, t: Tensor, s: Tensor, samplers: Sequence[Sampler] | None) -> Tensor:
    law = denoise_law(run.model, x, t) if samplers is None else unlazy(law_of(samplers[0], run, x, t, s))
    if not isinstance(law, (SequenceLaw, JumpLaw)) or (samplers is not None and len(samplers) > 1):
        raise NotIndependent(
            f"core/kernel-kl compares steps that are no product over positions pairwise, up to {PAIR_STATES} states; "
            f"this space has {run.space.num_states}."
        )
    table: Tensor = law.table()
    return table


def law_of(sampler: Sampler, run: Run, x: Tensor, t: Tensor, s: Tensor) -> TorchDistribution:
    """The law of one step."""
    return sampler.step(run.model, x, t, s)


def unlazy(law: TorchDistribution) -> TorchDistribution:
    """The law itself."""
    return law.law if isinstance(law, LazyLaw) else law


def dense(law: TorchDistribution, space: StateSpace, rows: int) -> Tensor:
    """P(y | x) for the rows of a law and all y, (n, N). Raises NotApplicable for a step without a density."""
    law = unlazy(law)
    if not isinstance(law, (SequenceLaw, JumpLaw)):
        states = space.enumerate().unsqueeze(1).expand(-1, rows, -1)
        try:
            return law.log_prob(states).double().exp().T
        except NotImplementedError as error:
            raise NotApplicable(f"core/kernel-kl needs the density of a step: {error}") from None
    out = torch.ones(rows, 1, dtype=torch.float64)
    table = law.table().expand(rows, -1, -1)
    for position, own in enumerate(own_symbols(space)):
        out = (out.unsqueeze(-1) * table[:, position, own].unsqueeze(-2)).flatten(1)
    return out


def reverse_kernel(kernels: list[Tensor], late: Tensor, early: Tensor, support: Tensor) -> Tensor:
    """P(X_s = y | X_t = x) = p_s(y) P(x | y) / p_t(x), x over the support: (n, N)."""
    return early * joint_kernel(kernels)[:, support].T / late.unsqueeze(-1)


def _conditional_entropy(noise: Noise, early: Tensor, late: Tensor, s: Tensor, t: Tensor, space: StateSpace) -> float:
    """H(X_s | X_t) = H(X_s) + H(X_t | X_s) - H(X_t)."""
    total = torch.special.entr(early).sum() - torch.special.entr(late).sum()
    table = early.reshape(space.radices)
    for position, kernel in enumerate(noise.kernels(s, t)):
        others = [axis for axis in range(space.length) if axis != position]
        marginal = table.sum(others) if others else table
        total = total + (marginal * torch.special.entr(kernel).sum(-1)).sum()
    return float(total)


def _pmf(run: Run) -> Tensor:
    pmf: Tensor = run.target.tabular().pmf
    return pmf.detach().cpu()
