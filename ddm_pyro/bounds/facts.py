"""What the continuous-time certificates know of a case, computed once and shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ddm_pyro.bounds.base import Question
from ddm_pyro.bounds.case import Case
from ddm_pyro.bounds.integrals import Integrals, integrals
from ddm_pyro.plugins.errors import NotApplicable
from ddm_pyro.samplers import FirstHitting, Uniformization
from ddm_pyro.samplers.exact_push import push_step
from ddm_pyro.sampling.loop import denoise_law


@dataclass(frozen=True, eq=False)
class Facts:
    """A case, and whether the last noise is drawn from the x0-posterior once the reverse process has stopped."""

    case: Case
    denoised: bool = False

    @cached_property
    def plain(self) -> Integrals:
        """Integrals under p_t."""
        return integrals(self.case)

    @cached_property
    def conditioned(self) -> Integrals:
        """Integrals under the law of x_t given that x_1 is all masks."""
        return integrals(self.case, conditioned=True) if self.masks_left_at_start > 0 else self.plain

    @property
    def is_masked(self) -> bool:
        """Whether the conditioned forms apply."""
        return self.case.process.is_masked

    @property
    def length(self) -> int:
        """L."""
        return self.case.states.shape[-1]

    @property
    def size(self) -> int:
        """S, the tokens of an alphabet without masks."""
        return self.case.process.space.vocab_size

    @cached_property
    def masks_left_at_start(self) -> float:
        """alpha(1) of a masked process: the share of tokens that noise has not reached at t = 1."""
        return 1.0 - self.masked_at(1.0)

    def masked_at(self, t: float) -> float:
        """The probability of a mask."""
        return float(self.case.process.mask_probability(torch.tensor(t, dtype=torch.float64)))

    def noise(self, t: float) -> float:
        """B_t = sigma(t)."""
        schedule = self.case.process.schedule  # type: ignore[attr-defined]
        return float(schedule.sigma(torch.tensor(t, dtype=torch.float64)))

    @cached_property
    def mismatch(self) -> float:
        """TV(p_1, prior)."""
        return half_l1(self._law(1.0), self.case.prior)

    @cached_property
    def stopping(self) -> float:
        """TV between the data and what x_delta ~ p_delta becomes: itself, or its final denoising."""
        return self._stopping(self._law(self.case.stop))

    @cached_property
    def conditioned_stopping(self) -> float:
        """The same for x_delta given that x_1 is all masks."""
        share = self.masked_at(self.case.stop) / self.masked_at(1.0)
        return self._stopping(self.case.masked_law(torch.tensor([share], dtype=torch.float64))[0])

    def _stopping(self, law: Tensor) -> float:
        case = self.case
        if case.stop == 0.0:
            return 0.0
        if self.denoised:
            stop = torch.tensor(case.stop, dtype=torch.float64)
            with torch.no_grad():
                law = push_step(lambda x: denoise_law(case.model, x, stop), law, case.process.space)
        return half_l1(law, case.padded.reshape(-1))

    def _law(self, t: float) -> Tensor:
        return self.case.law(torch.tensor([t], dtype=torch.float64))[0]


def half_l1(p: Tensor, q: Tensor) -> float:
    """TV = half the l1 distance."""
    return 0.5 * float((p - q).abs().sum())


def facts_of(question: Question, name: str) -> Facts:
    """The facts of a reverse process in continuous time, or of a sampler that draws from it exactly.

    Raises:
        NotApplicable: a sampler in discrete time, of which continuous-time theorems say nothing; a large space.
    """
    case = Case.of(question.target, question.model, continuous_times(question, name), name)
    return Facts(case, denoised=question.sampler is not None and case.stop > 0.0)


def continuous_times(question: Question, name: str) -> Sequence[float] | Tensor | None:
    """The times between which a sampler runs in continuous time; None from 1 to 0.

    Raises:
        NotApplicable: a sampler in steps.
    """
    sampler, model, times = question.sampler, question.model, question.times
    if sampler is None:
        return times
    if isinstance(sampler, FirstHitting) and sampler.refresh == 1:
        if model.process.is_masked and model.primary == "x0":
            return None
    elif isinstance(sampler, Uniformization):
        return sampler.grid(model.process, sampler.num_steps(model.process, question.steps)) if times is None else times
    raise NotApplicable(
        f"{name} is about the reverse process in continuous time, and {sampler!r} takes steps; "
        "core/kernel-kl, core/plan-kl and core/row speak of steps."
    )
