"""The certificate of a masked sampler given its own plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ddm_pyro.bounds.base import Bound, Question
from ddm_pyro.bounds.certificate import Certificate
from ddm_pyro.bounds.discrete.case import Run
from ddm_pyro.bounds.discrete.contexts import sampler_contexts
from ddm_pyro.bounds.discrete.path_kl import masked_path_kl


@dataclass(frozen=True)
class PlanKL(Bound):
    """TV <= min(sqrt(KL / 2), sqrt(1 - exp(-KL))), KL given the step in which the sampler draws each position.

    A masked sampler's reveal times ignore tokens. Given them (arXiv 2505.21400, made exact)

    KL = E sum_i -log phat(x_0^i | what is known at the start of the step that draws i) - H(p_0),

    without the divergence of reveal times that ``core/kernel-kl`` has; what masks are left count as drawn by the final
    denoising. ``terms``: "discretization", the total correlation within blocks; "score", the predictor's divergence
    where the sampler asks it; their sum "kl"; nats. Exact where all patterns can be summed, and for the exact model of
    a target with an information curve at any size; else a Monte Carlo estimate with its upper confidence limit.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=4, length=32, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(4), ddm.schedules.Linear(), length=32)
        >>> found = PlanKL()(target=target, model=target.denoiser(forward), sampler=ddm.samplers.KUnmask([4] * 8))
        >>> round(found.terms["kl"], 6), round(found.value, 4)
        (0.338377, 0.4113)
    """

    name: ClassVar[str] = "core/plan-kl"

    def answer(self, question: Question) -> Certificate:
        """The certificate."""
        run = Run.of(question, self.name)
        with torch.no_grad():
            contexts = sampler_contexts(run, self.name)
            found = masked_path_kl(run, contexts, question, self.name)
        return found.certificate(self.name)
