"""The certificate of any sampler whose steps have a density."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from ddm_pyro.bounds.base import Bound, Question
from ddm_pyro.bounds.certificate import VERIFIED, Certificate, tv_of_kl
from ddm_pyro.bounds.discrete.case import Run, data_entropy
from ddm_pyro.bounds.discrete.contexts import Contexts, all_masks, forward_contexts, read_plan, sampler_contexts
from ddm_pyro.bounds.discrete.limits import upper_limit
from ddm_pyro.bounds.discrete.noise import Noise
from ddm_pyro.bounds.discrete.path_kl import PathDivergence, masked_path_kl
from ddm_pyro.bounds.discrete.step_estimates import step_estimates
from ddm_pyro.bounds.discrete.steps import PAIR_STATES, TABLE_STATES, NotIndependent, start_gap, step_divergences
from ddm_pyro.samplers import Ancestral
from ddm_pyro.samplers.blocks import BlockSampler
from ddm_pyro.samplers.thinning import ThinningSampler


@dataclass(frozen=True)
class KernelKL(Bound):
    """TV <= m + min(sqrt(KL / 2), sqrt(1 - exp(-KL))), KL summed over the sampler's own steps (theory 9).

    KL = sum_k E KL(P(X_s = . | X_t) || K_k(X_t, .)) along the forward process, the final denoising a further kernel;
    m = TV(p_first, prior), or m = 0 and KL(p_first || prior) added, whichever is smaller. Masked processes are
    conditioned on all masks at the first time: m = 0. Discretization, score and reveal times in one number; the
    discrete-time bound on -log p(x_0) less the entropy of the data. ``core/plan-kl`` leaves the reveal times out.

    Exact where all states can be summed, and for the exact model of a target with an information curve under a masked
    sampler at any size; else estimated with ``budget`` network batches, ``value`` being the upper limit. ``terms`` in
    nats: "discretization", "score", "reveal_times" or "steps" and "start"; "prior_mismatch" on the scale of TV. A
    sampler of fixed blocks is compared along its own order (``core/plan-kl``). ``core/gillespie``, whose steps have no
    density, is compared on tiny spaces only.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.RandomTabular(num_states=3, length=2, seed=1)
        >>> forward = ddm.ForwardProcess(ddm.rates.Uniform(3), ddm.schedules.Constant(total=8.0), length=2)
        >>> model = target.denoiser(forward)
        >>> found = KernelKL()(target=target, model=model, sampler=ddm.samplers.Ancestral(), steps=16)
        >>> law = ddm.push(ddm.samplers.Ancestral(), model, steps=16)
        >>> ddm.create("metrics", "core/tv")(law, target.tabular()).value < found.value < 1
        True
    """

    name: ClassVar[str] = "core/kernel-kl"

    def answer(self, question: Question) -> Certificate:
        """The certificate."""
        run = Run.of(question, self.name)
        with torch.no_grad():
            if run.process.is_masked and isinstance(run.sampler, BlockSampler):
                contexts = sampler_contexts(run, self.name)
                found = masked_path_kl(run, contexts, question, self.name)
                return found.certificate(self.name)
            speed = _reveals(run)
            if speed is not None:
                contexts = forward_contexts(run)
                found = masked_path_kl(run, contexts, question, self.name)
                return found.plus(_reveal_times(run, speed), "reveal_times").certificate(self.name)
            entropy = data_entropy(run.target, self.name)
            small = run.space.num_states <= TABLE_STATES and run.is_enumerable
            if run.space.num_states <= PAIR_STATES:
                return self._exact(run)
            try:
                return self._exact(run) if small else self._estimated(run, entropy, question)
            except NotIndependent:
                # Too many states for pairs, and no table a position: what is left is to estimate.
                return self._estimated(run, entropy, question)

    def _exact(self, run: Run) -> Certificate:
        noise = Noise(run.process, run.grid[0])
        parts = step_divergences(run, noise)
        kl, (mismatch, start) = sum(parts), start_gap(run, noise)
        apart, together = mismatch + tv_of_kl(kl), tv_of_kl(kl + start)
        terms = {"kl": kl, "start": start, "prior_mismatch": mismatch}
        return Certificate(min(apart, together), terms, {"data entropy": VERIFIED}, source=self.name)

    def _estimated(self, run: Run, entropy: float, question: Question) -> Certificate:
        noise = Noise(run.process, run.grid[0])
        values, start = step_estimates(run, noise, budget=question.budget, seed=question.seed)
        limit = upper_limit(values, question.confidence)
        mean, upper = max(limit.mean + start - entropy, 0.0), max(limit.upper + start - entropy, 0.0)
        terms = {"steps": limit.mean, "start": start, "entropy": entropy, "stderr": limit.stderr}
        hypotheses = {"data entropy": VERIFIED, **limit.hypotheses}
        return PathDivergence(mean, upper, terms, hypotheses, question.confidence).certificate(self.name)


def _reveals(run: Run) -> Tensor | None:
    """P(a mask is revealed) in each step, (N,), of a sampler that reveals masks independently of the tokens."""
    sampler = run.sampler
    if sampler is None or not run.process.is_masked or (sampler.uses_rates and run.model.primary != "x0"):
        return None
    if isinstance(sampler, ThinningSampler):
        return sampler.reveal(run.process, run.grid[:-1], run.grid[1:])
    law = sampler.plan(run.process, all_masks(run), run.grid) if run.model.primary == "x0" else None
    contexts: Contexts | None = None if law is None else read_plan(law, run.grid, run.length)
    if contexts is None or contexts.hazards is None:
        return None
    left = 1.0 - torch.cat([contexts.hazards.new_zeros(1), contexts.hazards.cumsum(0)[:-2]])
    return torch.where(left > 0, contexts.hazards[:-1] / left, 1.0).clamp(0.0, 1.0)


def _reveal_times(run: Run, reveal: Tensor) -> float:
    """sum_k L P(masked at t_k) KL(Bernoulli(exact) || Bernoulli(the sampler's)) of being revealed in step k, nats."""
    noise, exact, total = Noise(run.process, run.grid[0]), Ancestral(), 0.0
    for (t, s), rho_hat in zip(pairwise(run.grid.unbind()), reveal.tolist(), strict=True):
        rho = float(exact.reveal(run.process, t, s))
        total += run.length * float(noise.masked(t)) * (_relative(rho, rho_hat) + _relative(1.0 - rho, 1.0 - rho_hat))
    return total


def _relative(p: float, q: float) -> float:
    """p log(p / q) - p + q."""
    if p <= 0.0:
        return max(q, 0.0)
    return p * math.log(p / q) - p + q if q > 0.0 else math.inf
