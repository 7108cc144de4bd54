"""What ``sample`` and ``push`` are given, checked once before the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddm_pyro.arrays import has_data
from ddm_pyro.samplers.base import Sampler

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.processes import Process
    from ddm_pyro.spaces import StateSpace

#: In ``observe``, a position that is not observed (the mask id says the same).
UNKNOWN = -1


def as_samplers(sampler: Sampler | Sequence[Sampler]) -> list[Sampler]:
    """A list of samplers from one or several. Raises TypeError or ValueError for anything else."""
    samplers = [sampler] if isinstance(sampler, Sampler) else list(sampler)
    for one in samplers:
        if not isinstance(one, Sampler):
            raise TypeError(f"{one!r} is no Sampler; give one, or a list of a predictor and correctors.")
    if not samplers:
        raise ValueError("The list of samplers is empty; give at least one.")
    return samplers


def resolve_times(
    samplers: Sequence[Sampler],
    model: Parameterization,
    steps: int | None,
    times: Sequence[float] | Tensor | None,
) -> tuple[Tensor, float]:
    """The grid (N + 1,) float64 and its last time. Raises ValueError for a bad grid, quoting it."""
    lead, process = samplers[0], model.process
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
        if len(values) < 2:
            raise ValueError(f"times={values} must hold at least two times.")
        lead.num_steps(process, len(values) - 1)
        if not all(0.0 <= time <= 1.0 for time in values) or not all(a > b for a, b in pairwise(values)):
            raise ValueError(
                f"times={_shorten(values)} must decrease strictly within [0, 1]; t = 1 is noise, t = 0 data."
            )
        grid, first, last = torch.tensor(values, dtype=torch.float64), values[0], values[-1]
    # A masked rate is finite where alpha = 0 when it comes from an x0 head, but not as rate times ratio.
    limited = process.is_masked and model.primary == "x0"
    if not limited and any(one.uses_rates for one in samplers) and _infinite_rate(process, first):
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


def _shorten(values: list[float]) -> str:
    head = ", ".join(f"{value:.4g}" for value in values[:6])
    return f"[{head}{', ...' if len(values) > 6 else ''}]"


def resolve_observed(
    samplers: Sequence[Sampler], process: Process, observe: Any, n: int, device: torch.device, has_start: bool
) -> Tensor | None:
    """Known tokens as (n, L) with -1 where unknown, or None. Raises ValueError where clamping is not exact."""
    space = process.space
    for one in samplers:
        if one.masked_only and not process.is_masked:
            raise ValueError(f"{one} reveals masks, but {process!r} has none; use core/ancestral or another sampler.")
    if observe is None:
        if not has_start:
            check_free(
                samplers, space, torch.full((space.length,), -1 if space.mask is None else space.mask, device="cpu")
            )
        return None
    if not process.is_masked:
        raise ValueError(
            "observe= clamps tokens, which is exact for masked processes only; condition this process by twisted SMC "
            "(ddm_pyro.infer), which weighs its steps by the likelihood of what is observed."
        )
    if isinstance(observe, Mapping):
        known = torch.full((space.length,), UNKNOWN, device="cpu")
        for position, token in observe.items():
            if not -space.length <= int(position) < space.length:
                raise ValueError(f"observe names position {position}; there are {space.length}.")
            known[int(position)] = int(token)
    else:
        known = observe.long() if isinstance(observe, Tensor) else torch.tensor(observe, device="cpu").long()
    known = torch.where(known == UNKNOWN, space.vocab_size, known)
    known = space.check(known, "observe")
    if known.dim() > 2 or (known.dim() == 2 and len(known) not in (1, n)):
        raise ValueError(f"observe has shape {tuple(known.shape)}; give ({space.length},) or ({n}, {space.length}).")
    if not has_start:
        check_free(samplers, space, known)
    return torch.where(space.is_mask(known), UNKNOWN, known).expand(n, space.length).to(device)


def check_free(samplers: Sequence[Sampler], space: StateSpace, x: Tensor) -> None:
    """Let the samplers that reveal a fixed number of masks refuse tokens (..., L) with another number."""
    for one in samplers:
        if hasattr(one, "check_free") and has_data(x):
            for count in space.is_mask(x).sum(-1).reshape(-1).unique().tolist():
                one.check_free(count)


def leaves_noise(samplers: Sequence[Sampler], process: Process, last: float) -> bool:
    """Whether noise is left at the last time, to be drawn by the final denoising."""
    return last > 0.0 or (process.space.mask is not None and any(one.leaves_noise for one in samplers))


def clamp(x: Tensor, known: Tensor | None) -> Tensor:
    """Known tokens put in place."""
    return x if known is None else torch.where(known == UNKNOWN, x, known)
