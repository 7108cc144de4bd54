"""The exact twin of the loop: the whole law, carried step by step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddm_pyro.distributions import Tabular
from ddm_pyro.samplers.base import Sampler
from ddm_pyro.samplers.exact_push import push_step
from ddm_pyro.sampling.arguments import (
    UNKNOWN,
    as_samplers,
    check_free,
    leaves_noise,
    resolve_observed,
    resolve_times,
)
from ddm_pyro.sampling.loop import denoise_law
from ddm_pyro.spaces import StateSpace

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.processes import Process


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
    samplers, process = as_samplers(sampler), model.process
    space = process.space
    space.require_enumerable("push")
    grid, last = resolve_times(samplers, model, steps, times)
    known = resolve_observed(samplers, process, observe, 1, torch.device("cpu"), has_start=pmf is not None)
    with torch.no_grad():
        p = clamp_pmf(start_pmf(process, pmf), space, known)
        if pmf is not None:
            check_free(samplers, space, space.unindex(p.nonzero().squeeze(-1)))
        for t, s in pairwise(grid.unbind()):
            for one in samplers:
                p = clamp_pmf(one.push(model, p, t, s), space, known)
        if final_denoise and leaves_noise(samplers, process, last):
            p = clamp_pmf(push_step(lambda x: denoise_law(model, x, grid[-1]), p, space), space, known)
    return without_masks(p, space)


def without_masks(p: Tensor, space: StateSpace) -> Tabular:
    """The law over the data when no mass is on masks, else over the space with masks."""
    if space.mask is None:
        return Tabular(p, space=space)
    table = p.reshape(space.radices)[tuple(slice(0, size) for size in space.position_sizes)]
    data = table.reshape(-1)
    # Mass on masked states is a sum of exact zeros once every mask has been drawn.
    return Tabular(data, space=space.data) if bool((p.sum() - data.sum()).abs() <= 1e-14) else Tabular(p, space=space)


def start_pmf(process: Process, pmf: Any) -> Tensor:
    """The law at the first time as a flat pmf over the process's space."""
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


def clamp_pmf(p: Tensor, space: StateSpace, known: Tensor | None) -> Tensor:
    """The law of the clamped tokens."""
    if known is None:
        return p
    clamped = space.index(torch.where(known == UNKNOWN, space.enumerate(), known))
    return torch.zeros_like(p).index_add_(0, clamped, p)
