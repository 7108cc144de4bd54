"""The exact probability of a sequence under a sampler: by carrying the whole law, or by summing over revealed sets."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ddm_pyro.arrays import has_data
from ddm_pyro.infer.densities import Density
from ddm_pyro.infer.reverse import Reverse
from ddm_pyro.infer.rows import ROWS_PER_CALL, conditioned_rows
from ddm_pyro.infer.subsets import revealed_log_prob
from ddm_pyro.samplers import Gillespie, Uniformization
from ddm_pyro.samplers.exact_push import push_step
from ddm_pyro.sampling import sample
from ddm_pyro.sampling.exact import start_pmf
from ddm_pyro.sampling.loop import denoise_law
from ddm_pyro.spaces import describe_size

#: Largest space (masks included) whose whole law is carried.
MAX_PUSHED = 2**14


class Exact(Density):
    """P(x) of what ``ddm_pyro.sample`` draws: by ``push`` on a small space, else over the sets of revealed positions.

    Pushed laws are kept, with a copy of the model's parameters and buffers, until one of their values changes; not
    where gradients are asked for.
    """

    def __init__(self) -> None:
        self._pushed: tuple[list[Tensor], Tensor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_pushed": None}

    def sample(self, reverse: Reverse, count: int) -> Tensor:
        """Draws of the sampler."""
        return sample(
            list(reverse.samplers),
            reverse.model,
            count,
            times=None if reverse.own_grid else reverse.times,
            steps=len(reverse.times) - 1 if reverse.own_grid else None,
            batch_size=ROWS_PER_CALL,
        )

    def log_prob(self, reverse: Reverse, x: Tensor) -> Tensor:
        """log P(x). Raises ValueError where neither way is open."""
        space = reverse.process.space
        small = not space.is_countable and space.num_states <= MAX_PUSHED
        if small and conditioned_rows(reverse.model) is None:
            return self._law(reverse)[reverse.space.index(x)].log()
        if reverse.planned:
            return revealed_log_prob(reverse, x)
        raise ValueError(
            f"The exact law of {reverse.samplers[0]} needs a space of at most {MAX_PUSHED} states and a model without "
            f"conditions, or a masked sampler with a plan; this space has {describe_size(space)}. Use "
            "density='pseudo', or diffusion_sample, whose joint is exact."
        )

    def _law(self, reverse: Reverse) -> Tensor:
        state = [*reverse.model.parameters(), *reverse.model.buffers()]
        live = torch.is_grad_enabled() and any(one.requires_grad for one in state)
        if live and any(isinstance(sampler, Gillespie | Uniformization) for sampler in reverse.samplers):
            raise ValueError(
                f"The exact law of {reverse.samplers[0]} is solved without gradients, which the model's parameters ask "
                "for; freeze them, model.requires_grad_(False), or use another sampler."
            )
        if live or not all(has_data(one.detach()) for one in state):
            return pushed_pmf(reverse)
        # By value: what writes to ``.data``, as Pyro's ClippedAdam does, leaves no other trace.
        if self._pushed is None or not _equal(self._pushed[0], state):
            with torch.no_grad():
                self._pushed = [one.detach().clone() for one in state], pushed_pmf(reverse)
        return self._pushed[1]


def _equal(old: list[Tensor], new: list[Tensor]) -> bool:
    return len(old) == len(new) and all(
        a.dtype == b.dtype and a.device == b.device and torch.equal(a, b) for a, b in zip(old, new, strict=True)
    )


def pushed_pmf(reverse: Reverse) -> Tensor:
    """The flat pmf over the data that ``push`` gives, differentiable in the model's parameters."""
    model, space = reverse.model, reverse.process.space
    p = start_pmf(reverse.process, None).to(reverse.device)
    for t, s in pairwise(reverse.times.unbind()):
        for sampler in reverse.samplers:
            p = sampler.push(model, p, t, s)
    if reverse.denoise:
        p = push_step(lambda x: denoise_law(model, x, reverse.times[-1]), p, space)
    if space.mask is None:
        return p
    return p.reshape(space.radices)[tuple(slice(0, size) for size in space.position_sizes)].reshape(-1)
