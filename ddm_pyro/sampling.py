"""The one loop over time, and its exact twin: ``sample`` draws, ``push`` carries the whole law."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import JumpLaw, Tabular
from ddm_pyro.samplers.base import Sampler
from ddm_pyro.samplers.exact_push import push_step
from ddm_pyro.spaces import StateSpace

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.processes import Process

#: Rows a network call works on unless ``batch_size`` says otherwise.
DEFAULT_BATCH = 256
#: In ``observe``, a position that is not observed (the mask id says the same).
UNKNOWN = -1


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
        observe: known tokens, (L,) or (n, L) with -1 (or the mask id) where unknown, or {position: token}. Clamped, which is exact for masked
            processes; others are refused.
        seed: fixes the result, whatever batch_size and the number of workers: sample i is a function of
            (seed, first_index + i). None draws from torch's global generator.
        first_index: global index of the first sample.
        batch_size: rows a network call.
        final_denoise: draw what noise is left at the last time from the x0-posterior.

    Raises:
        ValueError: a grid that does not decrease in [0, 1], a sampler that does not fit the process, tokens out of range.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=3, length=4, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=4)
        >>> x = sample(ddm.samplers.FirstHitting(), target.denoiser(forward), 5, seed=0)
        >>> x.shape, bool(((x >= 0) & (x < 3)).all())
        (torch.Size([5, 4]), True)
    """
    samplers, process = _samplers(sampler), model.process
    if isinstance(n, bool) or n != int(n) or n < 0:
        raise ValueError(f"n={n!r} must be a whole number of samples.")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1.")
    device = start.device if isinstance(start, Tensor) else model.device
    grid, last = resolve_times(samplers, process, steps, times)
    grid = grid.to(device)
    known = resolve_observed(samplers, process, observe, n, device)
    denoise = final_denoise and _leaves_noise(samplers, process, last)
    out, size = [], batch_size or DEFAULT_BATCH
    with torch.no_grad():
        for low in range(0, n, size):
            rows = range(low, min(low + size, n))
            with random.indexed(seed, range(first_index + rows.start, first_index + rows.stop), device):
                here = None if known is None else known[rows.start : rows.stop]
                x = _start(process, start, rows, n, device)
                condition = torch.arange(rows.start, rows.stop, device=device) if model.cond else None
                bound = model if condition is None or not _row_conditioned(model, n) else model.rows(condition)
                out.append(_run(samplers, bound, x, grid, here, denoise))
    return torch.cat(out) if out else torch.zeros((0, process.space.length), dtype=torch.int64, device=device)


def _run(samplers: list[Sampler], model: Parameterization, x: Tensor, grid: Tensor, known: Tensor | None, denoise: bool) -> Tensor:
    process, times = model.process, grid.unbind()
    x = _clamp(x, known)
    random.reseed(0)
    # A plan fixes which step draws each position; with a corrector at work masks may come back, so no plan then.
    alone = len(samplers) == 1 and process.is_masked and model.primary == "x0"
    law = samplers[0].plan(process, x, grid) if alone else None
    plan = None if law is None else law.sample()
    active = [sampler.prepare(process, x, grid, plan if alone else None) for sampler in samplers]
    for k, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)):
        random.reseed(k + 1)
        for i, sampler in enumerate(active):
            law = sampler.step(model, x, t, s)
            y = _clamp(law.sample(), known)
            active[i] = sampler.after(x, y, law)
            x = y
    if denoise:
        random.reseed(len(times))
        x = _clamp(denoise_law(model, x, times[-1]).sample(), known)
    return x


def denoise_law(model: Parameterization, x: Tensor, t: Tensor) -> JumpLaw:
    """All noise left at time t is drawn from the x0-posterior: masks only, where noise is a mask."""
    space = model.process.space
    noisy = x == space.mask if space.mask is not None else torch.ones_like(x, dtype=torch.bool)
    return JumpLaw(x, noisy.double(), model.x0_log_probs(x, t).exp(), num_symbols=space.num_symbols, validate_args=False)


def push(
    sampler: Sampler | Sequence[Sampler],
    model: Parameterization,
    *,
    steps: int | None = None,
    times: Sequence[float] | Tensor | None = None,
    pmf: Any = None,
    observe: Any = None,
    final_denoise: bool = True,
) -> Tabular:
    """The exact law of what ``sample`` draws with the same arguments, as a Tabular in float64.

    Args:
        sampler, model, steps, times, observe, final_denoise: as in ``sample``.
        pmf: law at the first time over ``model.process.space`` (flat, in tensor shape, or a Tabular; a pmf over the
            data alone is read as having no masks); default the process's prior.

    Returns:
        The law over the data, or over data and masks when masks are left.

    Raises:
        ValueError: as ``sample``, and spaces too large to enumerate, with their size.
        NotImplementedError: a step whose density is not known.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=2, length=3, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), length=3)
        >>> law = push(ddm.samplers.FirstHitting(), target.denoiser(forward))
        >>> bool((law.pmf - target.tabular().pmf).abs().max() < 1e-15)
        True
    """
    samplers, process = _samplers(sampler), model.process
    space = process.space
    space.require_enumerable("push")
    grid, last = resolve_times(samplers, process, steps, times)
    known = resolve_observed(samplers, process, observe, 1, torch.device("cpu"))
    with torch.no_grad():
        p = _clamp_pmf(_start_pmf(process, pmf), space, known)
        for t, s in zip(grid[:-1], grid[1:], strict=True):
            for one in samplers:
                p = _clamp_pmf(one.push(model, p, t, s), space, known)
        if final_denoise and _leaves_noise(samplers, process, last):
            p = _clamp_pmf(push_step(lambda x: denoise_law(model, x, grid[-1]), p, space), space, known)
    return without_masks(p, space)


def without_masks(p: Tensor, space: StateSpace) -> Tabular:
    """The law over the data when no mass is on masks, else over the space with masks."""
    if space.mask is None:
        return Tabular(p, space=space)
    table = p.reshape(space.radices)[tuple(slice(0, size) for size in space.position_sizes)]
    data = table.reshape(-1)
    # Mass on masked states is a sum of exact zeros once every mask has been drawn.
    return Tabular(data, space=space.data) if bool((p.sum() - data.sum()).abs() <= 1e-14) else Tabular(p, space=space)


def resolve_times(
    samplers: Sequence[Sampler], process: Process, steps: int | None, times: Sequence[float] | Tensor | None
) -> tuple[Tensor, float]:
    """The grid (N + 1,) float64 and its last time. Raises ValueError for a bad grid, quoting it."""
    lead = samplers[0]
    if times is None:
        grid = lead.grid(process, lead.num_steps(process, steps))
        if type(lead).grid is Sampler.grid:
            first, last = 1.0, 0.0  # known without reading the tensor back
        else:
            first, last = float(grid[0]), float(grid[-1])
    else:
        if steps is not None and steps != len(times) - 1:
            raise ValueError(f"steps={steps} and times of {len(times) - 1} steps disagree; give one of them.")
        values = [float(time) for time in times]
        lead_fixed = lead.num_steps(process, len(values) - 1)
        if len(values) < 2 or lead_fixed != len(values) - 1:
            raise ValueError(f"times={values} must hold at least two times.")
        if not all(0.0 <= time <= 1.0 for time in values) or not all(a > b for a, b in zip(values, values[1:], strict=False)):
            raise ValueError(f"times={_shorten(values)} must decrease strictly within [0, 1]; t = 1 is noise, t = 0 data.")
        grid, first, last = torch.tensor(values, dtype=torch.float64), values[0], values[-1]
    if not process.is_masked and any(one.uses_rates for one in samplers) and _infinite_rate(process, first):
        name = next(type(one).__name__ for one in samplers if one.uses_rates)
        raise ValueError(
            f"The reverse rate of {process!r} is infinite at t={first:.4g}, so {name} cannot step from there; "
            "start the grid below 1 with times=, use a schedule with alpha(1) > 0, or core/ancestral."
        )
    return grid, last


def _infinite_rate(process: Process, t: float) -> bool:
    schedule = getattr(process, "schedule", None)
    if schedule is None:
        return False
    return bool(torch.isinf(schedule.rate(torch.tensor(t, dtype=torch.float64, device="cpu"))))


def resolve_observed(samplers: Sequence[Sampler], process: Process, observe: Any, n: int, device: torch.device) -> Tensor | None:
    """Known tokens as (n, L) with -1 where unknown, or None. Raises ValueError where clamping is not exact."""
    space = process.space
    for one in samplers:
        if one.masked_only and not process.is_masked:
            raise ValueError(f"{one} reveals masks, but {process!r} has none; use core/ancestral or another sampler.")
    if observe is None:
        for one in samplers:
            _check_free(one, [space.length])
        return None
    if not process.is_masked:
        raise ValueError(
            "observe= clamps tokens, which is exact for masked processes only; condition this process by twisted SMC "
            "(ddm_pyro.infer), which weighs its steps by the likelihood of what is observed."
        )
    if isinstance(observe, Mapping):
        known = torch.full((space.length,), UNKNOWN)
        for position, token in observe.items():
            if not -space.length <= int(position) < space.length:
                raise ValueError(f"observe names position {position}; there are {space.length}.")
            known[int(position)] = int(token)
    else:
        known = torch.as_tensor(observe).long()
    known = torch.where(known == UNKNOWN, space.vocab_size, known)
    known = space.check(known, "observe")
    if known.dim() > 2 or (known.dim() == 2 and len(known) not in (1, n)):
        raise ValueError(f"observe has shape {tuple(known.shape)}; give ({space.length},) or ({n}, {space.length}).")
    free = (known == space.mask).sum(-1).reshape(-1).unique().tolist()
    for one in samplers:
        _check_free(one, free)
    return torch.where(known == space.mask, UNKNOWN, known).expand(n, space.length).to(device)


def _check_free(sampler: Sampler, free: list[int]) -> None:
    for count in free:
        if hasattr(sampler, "check_free"):
            sampler.check_free(count)


def _samplers(sampler: Sampler | Sequence[Sampler]) -> list[Sampler]:
    samplers = [sampler] if isinstance(sampler, Sampler) else list(sampler)
    for one in samplers:
        if not isinstance(one, Sampler):
            raise TypeError(f"{one!r} is no Sampler; give one, or a list of a predictor and correctors.")
    if not samplers:
        raise ValueError("The list of samplers is empty; give at least one.")
    return samplers


def _leaves_noise(samplers: Sequence[Sampler], process: Process, last: float) -> bool:
    return last > 0.0 or (process.is_masked and any(one.leaves_noise for one in samplers))


def _start(process: Process, start: Any, rows: range, n: int, device: torch.device) -> Tensor:
    if start is None:
        law = process.prior()
        return law.expand((len(rows),)).sample().to(device)
    if isinstance(start, torch.distributions.Distribution):
        return start.expand((len(rows),)).sample().to(device)
    x = process.space.check(torch.as_tensor(start), "start")
    if x.dim() > 2 or (x.dim() == 2 and len(x) not in (1, n)):
        raise ValueError(f"start has shape {tuple(x.shape)}; give ({process.space.length},) or ({n}, {process.space.length}).")
    return x.expand(n, -1)[rows.start : rows.stop].to(device)


def _row_conditioned(model: Parameterization, n: int) -> bool:
    return any(isinstance(value, Tensor) and value.dim() > 0 and len(value) == n for value in model.cond.values())


def _clamp(x: Tensor, known: Tensor | None) -> Tensor:
    return x if known is None else torch.where(known == UNKNOWN, x, known)


def _start_pmf(process: Process, pmf: Any) -> Tensor:
    space = process.space
    if pmf is None:
        return push_step(lambda x: process.prior().expand((len(x),)), _point(space), space)
    if isinstance(pmf, Tabular):
        if pmf.space not in (space, space.data):
            raise ValueError(f"pmf lives on {pmf.space}; the process on {space}.")
        pmf = pmf.pmf
    pmf = torch.as_tensor(pmf).detach().double().reshape(-1)
    if space.mask is not None and pmf.numel() == space.data.num_states:
        padded = torch.zeros(space.radices, dtype=torch.float64)
        padded[tuple(slice(0, size) for size in space.position_sizes)] = pmf.reshape(space.position_sizes)
        pmf = padded.reshape(-1)
    return Tabular(pmf, space=space).pmf


def _point(space: StateSpace) -> Tensor:
    out = torch.zeros(space.num_states, dtype=torch.float64)
    out[0] = 1.0
    return out


def _clamp_pmf(p: Tensor, space: StateSpace, known: Tensor | None) -> Tensor:
    if known is None:
        return p
    clamped = space.index(torch.where(known == UNKNOWN, space.enumerate(), known))
    return torch.zeros_like(p).index_add_(0, clamped, p)


def _shorten(values: list[float]) -> str:
    head = ", ".join(f"{value:.4g}" for value in values[:6])
    return f"[{head}{', ...' if len(values) > 6 else ''}]"
