"""Draws whose mean is the divergence of a sampler's steps from the data's bridges, for any process."""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.bounds.base import BATCH_ROWS, NotApplicable
from ddm_pyro.bounds.discrete.case import Run
from ddm_pyro.bounds.discrete.estimates import batch, batches
from ddm_pyro.bounds.discrete.noise import Noise
from ddm_pyro.bounds.discrete.steps import unlazy
from ddm_pyro.distributions import JumpLaw, SequenceLaw
from ddm_pyro.losses.divergence import divergence, log_or_minus_infinity
from ddm_pyro.samplers import Sampler
from ddm_pyro.samplers.thinning import ThinningSampler
from ddm_pyro.sampling.loop import denoise_law

#: Entries of the tables of a batch up to which laws are compared by them rather than at a draw.
TABLE_ENTRIES = 2**25
#: Share of the draws that go to steps at random; the others go where alpha rises, and with it what is learned of x_0.
EVEN_SHARE = 0.5


def step_estimates(run: Run, noise: Noise, *, budget: int, seed: int | None) -> tuple[Tensor, float]:
    """Draws (64 budget,) with mean sum_k E KL(q(x_s | x_0, x_t) || K_k(x_t, .)), and the start's divergence in nats.

    Their sum less H(p_0) is KL(path of the data || path of the sampler); a final denoising counts as a step to t = 0.
    """
    if run.sampler is None:
        raise NotApplicable("core/kernel-kl estimates the steps of one sampler; correctors only on small spaces.")
    sampler = run.sampler
    grid = run.grid
    if run.denoises and float(grid[-1]) > 0.0:
        grid = torch.cat([grid, grid.new_zeros(1)])
    chance = _proposal(run, noise, grid)
    values = []
    for number in range(batches(budget)):
        with batch(seed, number):
            x0 = run.target.sample((BATCH_ROWS,)).long()
            step = torch.searchsorted(chance.cumsum(0), random.uniform((BATCH_ROWS,))).clamp(max=len(chance) - 1)
            t, s = grid[step], grid[step + 1]
            xt = _noised(run, noise, x0, t)
            last = step >= len(run.grid) - 1
            bridge = run.process.bridge(x0, xt, s, t, validate_args=False)
            here = torch.zeros(BATCH_ROWS, dtype=torch.float64)
            for index in _groups(sampler, step, last):
                if bool(last[index[0]]):
                    law: TorchDistribution = denoise_law(run.model, xt[index], t[index])
                elif isinstance(sampler, ThinningSampler):
                    law = sampler.step(run.model, xt[index], t[index], s[index])
                else:
                    law = sampler.step(run.model, xt[index], t[index[0]], s[index[0]])
                here[index] = _gap(run, bridge, law, index)
            values.append(here / chance[step])
    return torch.cat(values), noise.start_divergence()


def _groups(sampler: Sampler, step: Tensor, last: Tensor) -> list[Tensor]:
    """Rows whose laws are made together: all, where the sampler is known to take a time a row, else those of a step."""
    keys = last.long() if isinstance(sampler, ThinningSampler) else step
    return [(keys == key).nonzero().squeeze(-1) for key in keys.unique()]


def _proposal(run: Run, noise: Noise, grid: Tensor) -> Tensor:
    schedule = getattr(run.process, "schedule", None)
    even = torch.full((len(grid) - 1,), 1.0 / (len(grid) - 1), dtype=torch.float64)
    if schedule is None:
        return even
    rise = (schedule.alpha(grid[1:]) - schedule.alpha(grid[:-1])).clamp(min=0.0)
    return EVEN_SHARE * even + (1.0 - EVEN_SHARE) * rise / rise.sum()


def _noised(run: Run, noise: Noise, x0: Tensor, t: Tensor) -> Tensor:
    if run.process.is_masked:
        masked = random.uniform(x0.shape) < noise.masked(t).unsqueeze(-1)
        return torch.where(masked, run.space.vocab_size, x0)
    return run.process.marginal(x0, t, validate_args=False).sample().long()


def _gap(run: Run, bridge: TorchDistribution, law: TorchDistribution, rows: Tensor) -> Tensor:
    """KL(bridge || law) of the rows, by their tables or at one draw of the bridge."""
    law = unlazy(law)
    factorized = isinstance(law, (SequenceLaw, JumpLaw)) and isinstance(bridge, SequenceLaw)
    if factorized and BATCH_ROWS * run.length * run.space.num_symbols <= TABLE_ENTRIES:
        truth = bridge.table()[rows]
        return divergence(log_or_minus_infinity(truth), log_or_minus_infinity(law.table())).sum((-2, -1))
    drawn = bridge.sample()
    try:
        scored = law.log_prob(drawn[rows]).double()
    except NotImplementedError as error:
        raise NotApplicable(f"core/kernel-kl needs the density of a step: {error}") from None
    return bridge.log_prob(drawn)[rows].double() - scored
