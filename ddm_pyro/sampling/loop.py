"""The one loop over time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import JumpLaw
from ddm_pyro.samplers.base import Sampler
from ddm_pyro.samplers.plans import is_host
from ddm_pyro.samplers.reveal import RevealAt
from ddm_pyro.sampling.arguments import (
    as_samplers,
    check_free,
    clamp,
    leaves_noise,
    resolve_observed,
    resolve_times,
)

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.processes import Process

#: Rows a network call works on unless ``batch_size`` says otherwise.
DEFAULT_BATCH = 256


def sample(
    sampler: Sampler | Sequence[Sampler],
    model: Parameterization,
    n: int,
    *,
    steps: int | None = None,
    times: Sequence[float] | Tensor | None = None,
    start: Any = None,
    observe: Any = None,
    seed: int | None = None,
    first_index: int = 0,
    batch_size: int | None = None,
    final_denoise: bool = True,
) -> Tensor:
    """Draw ``n`` sequences from the reverse process, (n, L) int64.

    Args:
        sampler: a Sampler, or a list: a predictor and correctors, each given the same (t, s) in turn.
        model: the parameterization of the reverse process.
        n: number of sequences.
        steps: number of steps of the sampler's own grid; or
        times: a decreasing grid in [0, 1]. Ending above 0 leaves noise for the final denoising.
        start: tokens (n, L) or (L,), or a distribution, at the first time; default the process's prior.
        observe: known tokens, (L,) or (n, L) with -1 (or the mask id) where unknown, or {position: token}. They are
            clamped, which is exact for masked processes; others are refused.
        seed: fixes the result, whatever batch_size and the number of workers: sample i is a function of
            (seed, first_index + i). None draws from torch's global generator.
        first_index: global index of the first sample.
        batch_size: rows a network call.
        final_denoise: draw what noise is left at the last time from the x0-posterior.

    Raises:
        ValueError: a grid that does not decrease in [0, 1], a sampler that does not fit the process, bad tokens.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=3, length=4, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=4)
        >>> x = sample(ddm.samplers.FirstHitting(), target.denoiser(forward), 5, seed=0)
        >>> x.shape, bool(((x >= 0) & (x < 3)).all())
        (torch.Size([5, 4]), True)
    """
    samplers, process = as_samplers(sampler), model.process
    if isinstance(n, bool) or n != int(n) or n < 0:
        raise ValueError(f"n={n!r} must be a whole number of samples.")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1.")
    device = start.device if isinstance(start, Tensor) else model.device
    grid, last = resolve_times(samplers, model, steps, times)
    grid = grid.to(device)
    known = resolve_observed(samplers, process, observe, n, device, has_start=start is not None)
    denoise = final_denoise and leaves_noise(samplers, process, last)
    out, size = [], batch_size or DEFAULT_BATCH
    with torch.no_grad():
        for low in range(0, n, size):
            rows = range(low, min(low + size, n))
            with random.indexed(seed, range(first_index + rows.start, first_index + rows.stop), device):
                here = None if known is None else known[rows.start : rows.stop]
                x = clamp(start_tokens(process, start, rows, n, device), here)
                if start is not None:
                    check_free(samplers, process.space, x)
                condition = torch.arange(rows.start, rows.stop, device=device) if model.cond else None
                bound = model if condition is None or not _row_conditioned(model, n) else model.rows(condition)
                out.append(_run(samplers, bound, x, grid, here, denoise))
    return torch.cat(out) if out else torch.zeros((0, process.space.length), dtype=torch.int64, device=device)


def _run(
    samplers: list[Sampler], model: Parameterization, x: Tensor, grid: Tensor, known: Tensor | None, denoise: bool
) -> Tensor:
    process, times = model.process, grid.unbind()
    # What the start drew must not be drawn again by the plan, nor by a step what the sampler before it drew.
    random.reseed(1)
    # A plan fixes which step draws each position; with a corrector at work masks may come back, so no plan then.
    alone = len(samplers) == 1 and process.is_masked and model.primary == "x0"
    law = samplers[0].plan(process, x, grid) if alone else None
    plan = None if law is None else law.sample()
    active = [sampler.prepare(process, x, grid, plan if alone else None) for sampler in samplers]
    for k, (t, s) in enumerate(pairwise(times)):
        for i, sampler in enumerate(active):
            random.reseed(2 + k * len(active) + i)
            law = sampler.step(model, x, t, s)
            y = clamp(law.sample(), known)
            active[i] = sampler.after(x, y, law)
            x = y
    if denoise:
        random.reseed(2 + (len(times) - 1) * len(active))
        if process.is_masked and is_host(x):
            law = RevealAt.of(model, x, times[-1], process.space.is_mask(x).reshape(-1).nonzero().squeeze(-1))
        else:
            law = denoise_law(model, x, times[-1])
        x = clamp(law.sample(), known)
    return x


def denoise_law(model: Parameterization, x: Tensor, t: Tensor) -> JumpLaw:
    """All noise left at time t is drawn from the x0-posterior: masks only, where noise is a mask."""
    space = model.process.space
    noisy = space.is_mask(x) if space.mask is not None else torch.ones_like(x, dtype=torch.bool)
    return JumpLaw(
        x, noisy.double(), model.x0_log_probs(x, t).exp(), num_symbols=space.num_symbols, validate_args=False
    )


def start_tokens(process: Process, start: Any, rows: range, n: int, device: torch.device) -> Tensor:
    """The rows of the start, (rows, L): the prior, a law, or given tokens."""
    if start is None:
        law = process.prior()
        return law.expand((len(rows),)).sample().to(device).long()
    if isinstance(start, torch.distributions.Distribution):
        return start.expand((len(rows),)).sample().to(device).long()
    x = process.space.check(torch.as_tensor(start), "start")
    if x.dim() > 2 or (x.dim() == 2 and len(x) not in (1, n)):
        raise ValueError(
            f"start has shape {tuple(x.shape)}; give ({process.space.length},) or ({n}, {process.space.length})."
        )
    return x.expand(n, -1)[rows.start : rows.stop].to(device)


def _row_conditioned(model: Parameterization, n: int) -> bool:
    return any(isinstance(value, Tensor) and value.dim() > 0 and len(value) == n for value in model.cond.values())
