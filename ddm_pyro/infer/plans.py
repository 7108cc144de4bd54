"""The two halves of a planned masked sampler: which step draws each position, and the tokens given that."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.distributions import TokenLaw
from ddm_pyro.infer.reverse import Reverse
from ddm_pyro.infer.rows import ROWS_PER_CALL, by_chunks, check_rows
from ddm_pyro.infer.stack import refuse_silent_enumeration
from ddm_pyro.samplers.blocks import BlockSampler
from ddm_pyro.samplers.plans import OrderPlan, is_host
from ddm_pyro.sampling.loop import denoise_law
from ddm_pyro.spaces import StateSpace

#: Most plans offered to Pyro's enumeration: all orders of seven positions.
MAX_PLANS = 5040
#: Most sequences offered to Pyro's enumeration, each of which costs network rows.
MAX_SEQUENCES = 2**16


class PlanLaw(TokenLaw):
    """The law of a masked sampler's plan: the step that draws each position, event (L,), any batch.

    Values 0 .. N; N stands for the final denoising. For first-hitting with ``refresh=1`` it is the order of revealing.

    Args:
        reverse: a planned reverse process.
        batch_shape: the batch shape.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=2, length=3, coupling=1.0)
        >>> model = target.denoiser(ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), length=3))
        >>> law = PlanLaw(Reverse.of(ddm.samplers.FirstHitting(), model))
        >>> law.enumerate_support().tolist()
        [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
        >>> round(law.log_prob(torch.tensor([2, 0, 1])).exp().item(), 6)
        0.166667
    """

    def __init__(self, reverse: Reverse, batch_shape: Sequence[int] = (), validate_args: bool | None = None) -> None:
        self.reverse, self.space = reverse, StateSpace(len(reverse.times), reverse.length)
        super().__init__(torch.Size(batch_shape), torch.Size((reverse.length,)), validate_args=validate_args)

    @property
    def _device(self) -> torch.device:
        return self.reverse.device

    def rows(self, count: int) -> TorchDistribution:
        """The sampler's own law of the plans of ``count`` masked sequences, (count, L)."""
        reverse = self.reverse
        law = reverse.sampler.plan(reverse.process, reverse.masks(count), reverse.times)
        if law is None:
            raise ValueError(f"{reverse.sampler} has no plan on {reverse.process!r}.")
        return law

    def __call__(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """A draw, as ``pyro.sample`` asks for it."""
        refuse_silent_enumeration(self)
        return self.sample(sample_shape)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws, (*sample_shape, *batch, L)."""
        shape = (*sample_shape, *self.batch_shape)
        return self.rows(math.prod(shape)).sample().reshape(*shape, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log-probability of plans, (..., L) -> (...,)."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        flat = value.long().reshape(-1, value.shape[-1])
        return self.rows(len(flat)).log_prob(flat).reshape(value.shape[:-1]).expand(shape)

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override, unused-ignore]
        """Whether there are few plans."""
        return self.count() <= MAX_PLANS

    def count(self) -> int:
        """Number of plans that have to be listed."""
        blocks = self.blocks()
        if blocks is None:
            return self.space.num_states
        sizes = [blocks.count(block) for block in set(blocks)]
        return math.factorial(self.space.length) // math.prod(math.factorial(size) for size in sizes)

    def blocks(self) -> list[int] | None:
        """The step of each rank in the order, where a plan is a uniform random order; None elsewhere."""
        if isinstance(self.reverse.sampler, BlockSampler):  # known on the host
            sizes = self.reverse.sampler.sizes_for(self.reverse.length)
            return [step for step, size in enumerate(sizes) for _ in range(size)]
        law = self.rows(1)
        return law.blocks.tolist() if isinstance(law, OrderPlan) else None

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All plans of positive probability, (plans, *batch, L); with ones for the batch unless ``expand``.

        Raises:
            ValueError: too many plans, with their number.
        """
        if not self.has_enumerate_support:
            raise ValueError(f"{self.reverse.sampler} has {self.count()} plans, more than {MAX_PLANS} to enumerate.")
        blocks = self.blocks()
        if blocks is not None:
            plans = torch.tensor(sorted(set(itertools.permutations(blocks))), device=self._device)
        else:
            plans = self.space.enumerate(self._device)
            plans = plans[self.rows(len(plans)).log_prob(plans) > -torch.inf]
        plans = plans.reshape(-1, *(1,) * len(self.batch_shape), plans.shape[-1])
        return plans.expand(-1, *self.batch_shape, -1) if expand else plans


class Unmasking(TokenLaw):
    """Tokens given a plan: P(x | plan) = prod_l p(x_l | what earlier steps drew, the time of the step of l).

    The other half of a planned sampler, exact and autoregressive over steps. Drawing runs the sampler's own steps;
    ``log_prob`` runs the network once, on all the contexts.

    Args:
        reverse: a planned reverse process.
        plan: (..., L) the step of each position; N for the final denoising.

    Raises:
        ValueError: conditions of the model that do not fit the batch.
    """

    def __init__(self, reverse: Reverse, plan: Tensor, validate_args: bool | None = None) -> None:
        self.reverse, self.plan, self.space = reverse, plan, reverse.space
        super().__init__(plan.shape[:-1], plan.shape[-1:], validate_args=validate_args)

    @property
    def _device(self) -> torch.device:
        return self.plan.device

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override, unused-ignore]
        """Whether there are few sequences."""
        return self.space.num_states <= MAX_SEQUENCES

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Unmasking:
        """The same law for a larger batch."""
        new = super().expand(batch_shape, _instance)
        new.plan = self.plan.expand(new.batch_shape + self.event_shape)
        return new

    def __call__(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """A draw, as ``pyro.sample`` asks for it."""
        refuse_silent_enumeration(self)
        return self.sample(sample_shape)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws, (*sample_shape, *batch, L)."""
        shape = torch.Size((*sample_shape, *self.batch_shape))
        check_rows(self.reverse.model, shape)
        plan = self.plan.expand(*shape, -1).reshape(-1, self.plan.shape[-1])
        with torch.no_grad():
            return follow(self.reverse, plan).reshape(*shape, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value | plan), (..., L) -> (...,) float64, differentiable in the network's parameters."""
        if self._validate_args:
            self._validate_sample(value)
        value, plan = torch.broadcast_tensors(value.long(), self.plan)
        check_rows(self.reverse.model, plan.shape[:-1])
        flat, plan_rows = value.reshape(-1, value.shape[-1]), plan.reshape(-1, plan.shape[-1])
        width = ROWS_PER_CALL // len(self.reverse.times)

        def run(part: Tensor) -> Tensor:
            return score(self.reverse.rows(part), flat[part], plan_rows[part])

        return by_chunks(run, len(flat), flat.device, width).reshape(value.shape[:-1])


def follow(reverse: Reverse, plan: Tensor) -> Tensor:
    """Run the sampler along the plans (n, L), the final denoising included, to (n, L) tokens."""
    return by_chunks(lambda part: _follow(reverse.rows(part), plan[part]), len(plan), plan.device)


def _follow(reverse: Reverse, plan: Tensor) -> Tensor:
    x, times, model = reverse.masks(len(plan)), reverse.times, reverse.model
    active = reverse.sampler.prepare(reverse.process, x, times, plan)
    for t, s in pairwise(times.unbind()):
        law = active.step(model, x, t, s)
        y = law.sample()
        active, x = active.after(x, y, law), y
    return denoise_law(model, x, times[-1]).sample() if reverse.denoise else x


def score(reverse: Reverse, x: Tensor, plan: Tensor) -> Tensor:
    """log P(x | plan) of rows (n, L): position (i, l) is scored in the context of row i before step plan[i, l]."""
    count, length = x.shape
    key = plan * count + torch.arange(count, device=x.device).unsqueeze(-1)
    if is_host(x):
        contexts, inverse = torch.unique(key, return_inverse=True)
    else:
        contexts, inverse = torch.arange(len(reverse.times) * count, device=x.device), key
    step, row = contexts // count, contexts % count
    masks = reverse.masks(1)
    seen = torch.where(plan[row] < step.unsqueeze(-1), x[row], masks)
    at = inverse * length + torch.arange(length, device=x.device)
    log_p = reverse.rows(row).model.x0_log_probs(seen, reverse.times[step], at=at.reshape(-1))
    log_p = torch.log_softmax(log_p.double(), -1)
    return log_p.gather(-1, x.reshape(-1, 1)).reshape(count, length).sum(-1)


def left_to_right(reverse: Reverse) -> Tensor:
    """The plan that reveals from left to right, (L,): the sampler's block sizes, or positions cut evenly over steps.

    Raises:
        ValueError: a reverse process without plans.
    """
    require_plan(reverse)
    blocks, length, steps = PlanLaw(reverse).blocks(), reverse.length, len(reverse.times) - 1
    if blocks is not None:
        return torch.tensor(blocks, device=reverse.device)
    return torch.arange(length, device=reverse.device) * steps // length


def checked_plan(reverse: Reverse, plan: Any) -> Tensor:
    """A plan given by the user, (L,) int64. Raises ValueError when the sampler never draws it."""
    require_plan(reverse)
    steps = torch.as_tensor(plan, device=reverse.device)
    if tuple(steps.shape) != (reverse.length,) or steps.is_floating_point():
        raise ValueError(f"plan={plan!r} must name the step of each of the {reverse.length} positions.")
    law = PlanLaw(reverse, validate_args=False)
    if not bool(law.space.contains(steps)) or not bool(law.log_prob(steps) > -torch.inf):
        raise ValueError(
            f"plan={steps.tolist()} is none that {reverse.sampler} draws in {len(reverse.times) - 1} steps."
        )
    return steps.long()


def require_plan(reverse: Reverse) -> None:
    """Raise ValueError, with what to do, unless the reverse process has plans."""
    if not reverse.planned:
        raise ValueError(
            f"{reverse.samplers[0]} has no plan on {reverse.process!r} with this model; use density='exact' or "
            "'pseudo', or diffusion_sample, which names the intermediate states."
        )
