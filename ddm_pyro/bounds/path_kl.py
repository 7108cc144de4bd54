"""Certificates from the divergence of the reverse paths (theory 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from ddm_pyro.bounds.base import NotApplicable
from ddm_pyro.bounds.certificate import Certificate, tv_of_kl
from ddm_pyro.bounds.continuous import ContinuousBound
from ddm_pyro.bounds.facts import Facts


@final
@dataclass(frozen=True)
class PathKL(ContinuousBound):
    """TV <= TV(p_1, prior) + min(sqrt(L_SE / 2), sqrt(1 - exp(-L_SE))): L_SE is the path-space KL (theory 6a).

    No alphabet size, no length, no cubic term, any support, any noise. Where states are too many to sum over, the bound
    on -log p(x_0) less the entropy of the data is estimated instead, prior included, with its upper limit.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.RandomTabular(num_states=3, length=2, seed=1)
        >>> forward = ddm.ForwardProcess(ddm.rates.Uniform(3), ddm.schedules.Constant(total=8.0), length=2)
        >>> PathKL()(target=target, model=target.denoiser(forward)).value < 1e-3
        True
    """

    name: ClassVar[str] = "core/path-kl"
    estimates: ClassVar[bool] = True

    def certify(self, facts: Facts) -> Certificate:
        """Mismatch plus the KL's distance."""
        loss = facts.plain.entropy
        return self._sum(facts.mismatch, tv_of_kl(loss), facts.stopping, {}, score_entropy=loss)


@final
@dataclass(frozen=True)
class ConditionedPathKL(ContinuousBound):
    """For masks: TV <= min(sqrt(L^c / 2), sqrt(1 - exp(-L^c))) without a boundary term, for every schedule (6b).

    L^c is L_SE under the law of x_t given that x_1 is all masks: x_0 is independent of that event, and the reverse
    chain started at all masks is what samplers run.
    """

    name: ClassVar[str] = "core/conditioned-path-kl"
    estimates: ClassVar[bool] = True

    def certify(self, facts: Facts) -> Certificate:
        """The KL's distance."""
        if not facts.is_masked:
            raise NotApplicable(f"{self.name} conditions on x_1 = all masks; {facts.case.process!r} is not masked.")
        loss = facts.conditioned.entropy
        return self._sum(0.0, tv_of_kl(loss), facts.conditioned_stopping, {}, score_entropy=loss)
