"""The learned reverse kernel as a matrix, and the sharpest certificate it gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, final

import torch
from torch import Tensor

from ddm_pyro.bounds.base import Question
from ddm_pyro.bounds.case import Case
from ddm_pyro.bounds.certificate import Certificate
from ddm_pyro.bounds.clock import FIRST_PANEL, NOISE_END
from ddm_pyro.bounds.continuous import ContinuousBound
from ddm_pyro.bounds.discrete.case import Run
from ddm_pyro.bounds.discrete.steps import dense, law_of
from ddm_pyro.bounds.facts import Facts, facts_of, half_l1
from ddm_pyro.bounds.tables import joint_kernel, position_kernels
from ddm_pyro.plugins.errors import NotApplicable
from ddm_pyro.sampling.loop import denoise_law

#: Largest number of states for which the learned reverse kernel is formed, N x N.
KERNEL_STATES = 256

#: Width of a step in log-noise to start with, and how often one may be halved.
STEP, HALVINGS = 1.0, 8

#: Distance at which two half steps agree with a whole one; for a sixth-order rule they are then so many times closer.
TOLERANCE, ORDER_GAIN = 1e-10, 32.0

#: Rates per log sigma, at the end of the first panel, that are not singular at 0.
VANISHING = 1e-6

#: Long enough for a chain with constant rates to end where it ends, after so many doublings: rates above ``VANISHING``.
LONG, DOUBLINGS = 4000.0, 20


@final
@dataclass(frozen=True)
class KernelTV(ContinuousBound):
    """TV <= TV(p_1 P^, prior P^) + E TV(p(x_delta | x_1), P^(x_1, .)), P^ the learned reverse kernel from 1 to delta.

    For a sampler in steps P^ is the product of its kernels, its final denoising included.

    The discrete adjoint identity (theory 9, D1) for one step over the whole of time. Where noise is strong, x_1 says
    little of x_0 and this is nearly the distance itself; it needs the exact posteriors and all of P^, so at most
    ``KERNEL_STATES`` states. Conditioned on all masks it would be the distance, so masked processes are refused.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.RandomTabular(num_states=3, length=2, seed=1)
        >>> forward = ddm.ForwardProcess(ddm.rates.Uniform(3), ddm.schedules.Constant(total=8.0), length=2)
        >>> KernelTV()(target=target, model=target.denoiser(forward)).value < 1e-3
        True
    """

    name: ClassVar[str] = "core/kernel-tv"

    def answer(self, question: Question) -> Certificate:
        """The certificate."""
        try:
            facts = facts_of(question, self.name)
        except NotApplicable:
            if question.sampler is None:
                raise
        else:
            return self.certify(facts)
        run = Run.of(question, self.name)
        facts = Facts(Case.of(question.target, question.model, None, self.name))
        self._check(facts)
        return self._compare(facts, float(run.grid[0]), 0.0, *sampler_kernel(run))

    def certify(self, facts: Facts) -> Certificate:
        """From the learned kernel and the exact one."""
        self._check(facts)
        if getattr(facts.case.process, "schedule", None) is None:
            raise NotApplicable(f"{self.name} integrates over a schedule's noise; {facts.case.process!r} has none.")
        return self._compare(facts, 1.0, facts.case.stop, *learned_kernel(facts.case))

    def _check(self, facts: Facts) -> None:
        if facts.is_masked:
            raise NotApplicable(f"{self.name} is about noise without masks; from all masks it would be the distance.")
        if len(facts.case.states) > KERNEL_STATES:
            raise NotApplicable(
                f"{self.name} forms the reverse kernel between all states, at most {KERNEL_STATES}; "
                f"{facts.case.process.space} has {len(facts.case.states)}."
            )

    def _compare(self, facts: Facts, first: float, last: float, learned: Tensor, error: float) -> Certificate:
        case = facts.case
        start, stop = (case.law(torch.tensor([t], dtype=torch.float64))[0] for t in (first, last))
        initial = half_l1(start @ learned, case.prior @ learned)
        exact = exact_kernel(case, start, stop, first, last)
        score = 0.5 * float(start @ (exact - learned).abs().sum(-1))
        return self._sum(initial, score + error, facts.stopping, {}, kernel_error=error)


def sampler_kernel(run: Run) -> tuple[Tensor, float]:
    """The kernel of all steps of a sampler and its final denoising, (N, N), without error."""
    states = run.space.enumerate()
    kernel = torch.eye(len(states), dtype=torch.float64)
    with torch.no_grad():
        for t, s in pairwise(run.grid.unbind()):
            for one in run.samplers:
                kernel = kernel @ dense(law_of(one, run, states, t, s), run.space, len(states))
        if run.denoises:
            kernel = kernel @ dense(denoise_law(run.model, states, run.grid[-1]), run.space, len(states))
    return kernel, 0.0


def exact_kernel(case: Case, start: Tensor, stop: Tensor, first: float, last: float) -> Tensor:
    """p(x_s = y | x_t = x) = p_s(y) P(x_t = x | x_s = y) / p_t(x) with t = ``first``, s = ``last``, (N, N)."""
    forward = joint_kernel(position_kernels(case.process, last, first))
    possible = (start > 0).unsqueeze(-1)
    joint = (stop.unsqueeze(-1) * forward).T
    return torch.where(possible, joint / torch.where(possible, start.unsqueeze(-1), 1.0), 0.0)


def learned_kernel(case: Case) -> tuple[Tensor, float]:
    """P^ from t = 1 to delta, (N, N), and its error as halved steps show it (half l1, the largest over rows)."""
    schedule = case.process.schedule  # type: ignore[attr-defined]
    low, high = (float(schedule.sigma(torch.tensor(t, dtype=torch.float64))) for t in (case.stop, 1.0))
    endless, high, low = high > NOISE_END, min(high, NOISE_END), max(low, FIRST_PANEL)
    kernel, error = torch.eye(len(case.states), dtype=torch.float64), 0.0
    if high > low:
        kernel, error = _flow(case, math.log(low), math.log(high))
    # At both ends rates are constant: per log sigma below the first panel, per sigma where noise is complete.
    if case.stop == 0.0:
        last = _generators(case, torch.tensor([low]).double())[0].fill_diagonal_(0.0)
        # Rates singular like 1/sigma are constant per log sigma; the others vanish, and all they still do is an error.
        error += float(torch.where(last < VANISHING, last, 0.0).sum(-1).max())
        last = torch.where(last < VANISHING, 0.0, last)
        kernel = kernel @ _ended(last - torch.diag(last.sum(-1)))
    if endless:
        kernel = _ended(_generators(case, torch.tensor([high]).double())[0]) @ kernel
    return kernel, error


def _ended(generator: Tensor) -> Tensor:
    """The kernel of a chain with constant rates after LONG 2^DOUBLINGS units of time."""
    kernel: Tensor = torch.linalg.matrix_exp(LONG * generator)
    for _ in range(DOUBLINGS):
        kernel = kernel @ kernel
        kernel = kernel / kernel.sum(-1, keepdim=True)
    return kernel


def _flow(case: Case, low: float, high: float) -> tuple[Tensor, float]:
    """The kernel from log-noise ``high`` to ``low``: Magnus steps, halved until two halves agree with the whole."""
    count = max(2, math.ceil((high - low) / STEP))
    open_ = [(low + (high - low) * k / count, low + (high - low) * (k + 1) / count) for k in range(count)]
    done: dict[float, Tensor] = {}
    error = 0.0
    wholes = _magnus(case, open_)
    for round_ in range(HALVINGS + 1):
        halves = [half for a, b in open_ for half in ((a, (a + b) / 2), ((a + b) / 2, b))]
        steps = _magnus(case, halves)
        lower, upper = steps[0::2], steps[1::2]
        gaps = 0.5 * (upper @ lower - wholes).abs().sum(-1).amax(-1)
        keep = []
        for k, gap in enumerate(gaps.tolist()):
            if gap <= TOLERANCE or round_ == HALVINGS:
                done[open_[k][0]] = upper[k] @ lower[k]
                error += gap / ORDER_GAIN
            else:
                keep.append(k)
        if not keep:
            break
        open_ = [half for k in keep for half in halves[2 * k : 2 * k + 2]]
        wholes = torch.stack([steps[2 * k + j] for k in keep for j in (0, 1)])
    total = torch.eye(len(case.states), dtype=torch.float64)
    for _, step in sorted(done.items(), reverse=True):
        total = total @ step
    return total, error


def _magnus(case: Case, spans: list[tuple[float, float]]) -> Tensor:
    """One sixth-order Magnus step for each span of log-noise, from its upper end to its lower, (K, N, N)."""
    ends = torch.tensor(spans, dtype=torch.float64)
    h, middle = (ends[:, 1] - ends[:, 0]), ends.mean(1)
    root = math.sqrt(15.0)
    # Time runs backwards: the first node of a step is the one of most noise.
    nodes = middle.unsqueeze(-1) + h.unsqueeze(-1) * torch.tensor([root / 10, 0.0, -root / 10], dtype=torch.float64)
    h = h[:, None, None]
    out = []
    size = max(1, 2**20 // len(case.states) ** 2)
    for some, width in zip(nodes.split(size), h.split(size), strict=True):
        first, middle_, last = _generators(case, some.exp().reshape(-1)).unflatten(0, (-1, 3)).unbind(1)
        one, two = width * middle_, root / 3 * width * (last - first)
        three = 10 / 3 * width * (last - 2 * middle_ + first)
        # The step acts as row vector times matrix: brackets have the order of (d/ds) P = P A.
        c1 = _bracket(two, one)
        c2 = -_bracket(2 * three + c1, one) / 60
        omega = one + three / 12 + _bracket(two + c2, -20 * one - three + c1) / 240
        out.append(torch.linalg.matrix_exp(omega))
    return torch.cat(out)


def _bracket(a: Tensor, b: Tensor) -> Tensor:
    return a @ b - b @ a


def _generators(case: Case, sigma: Tensor) -> Tensor:
    """Learned reverse generators per unit of log sigma, (T, N, N)."""
    schedule = case.process.schedule  # type: ignore[attr-defined]
    time = schedule.inverse(torch.exp(-sigma))
    states, moves = case.states, case.process.moves(case.states)
    number, space = len(states), case.process.space
    step = (moves - states.unsqueeze(-1)) * torch.tensor(space.strides).unsqueeze(-1)
    inside = (moves >= 0) & (moves < torch.tensor(space.radices).unsqueeze(-1))
    cell = torch.arange(number)[:, None, None] * (number + 1) + torch.where(inside, step, 0)
    rates = torch.where(inside & (step != 0), case.learned(time), 0.0)
    out = torch.zeros(len(sigma), number * number, dtype=torch.float64)
    out.index_add_(1, cell.reshape(-1), rates.flatten(1))
    out = out.unflatten(1, (number, number))
    out = out - torch.diag_embed(out.sum(-1))
    return out * (sigma / schedule.rate(time))[:, None, None]
