"""What the certificates of the approximate reverse process in continuous time share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from ddm_pyro.bounds.base import Bound, NotApplicable, Question
from ddm_pyro.bounds.case import Case, check_spaces, is_small, stop_of
from ddm_pyro.bounds.certificate import VERIFIED, Certificate
from ddm_pyro.bounds.discrete import discretization_error
from ddm_pyro.bounds.discrete.monte_carlo import estimate_path_kl
from ddm_pyro.bounds.facts import Facts, continuous_times, facts_of
from ddm_pyro.bounds.integrals import Integrals

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization

EXACT = {"target's posteriors are exact": VERIFIED, "integrals over states and time are exact": VERIFIED}


class ContinuousBound(Bound):
    """A bound on the reverse process in continuous time, summed over all states.

    Attributes:
        splits: whether it bounds the row term, so that the discretization error of a masked sampler in steps may be
            added (theory 9, "split"); the KL forms do not.
        estimates: whether it can be estimated from a loss where states are too many.
    """

    splits: ClassVar[bool] = False
    estimates: ClassVar[bool] = False

    def answer(self, question: Question) -> Certificate:
        """The certificate."""
        try:
            times = continuous_times(question, self.name)
        except NotApplicable:
            if not self.splits or not _can_split(question.model):
                raise
            facts = Facts(Case.of(question.target, question.model, None, self.name))
            return self.split(facts, *discretization_error(question), question.confidence)
        if self.estimates and not is_small(question.model.process.space):
            return self._estimate(question, stop_of(times))
        return self.certify(facts_of(question, self.name))

    def _estimate(self, question: Question, stop: float) -> Certificate:
        """From a loss and the entropy of the data, where states are too many to sum over."""
        target, model = question.target, question.model
        check_spaces(target, model)
        if stop > 0.0:
            raise NotApplicable(f"{self.name} estimates where the process runs to t = 0, not to {stop:.4g}.")
        with torch.no_grad():
            found = estimate_path_kl(
                target,
                model,
                name=self.name,
                confidence=question.confidence,
                budget=question.budget,
                seed=question.seed,
            )
        return found.certificate(self.name)

    def split(self, facts: Facts, mean: float, upper: float, confidence: float) -> Certificate:
        """The certificate plus the discretization error of a sampler in steps, from its mean and upper limit."""
        base = self.certify(facts)
        if base.terms["initialization"] > 0.0:
            raise NotApplicable(f"{self.name} adds a discretization error where alpha(1) = 0 only; ask core/row.")
        exact = mean == upper
        value = base.value + upper
        return replace(
            base,
            value=value,
            terms={**base.terms, "discretization": mean},
            vacuous=value >= 1.0,
            estimate=None if exact else base.value + mean,
            ucb=None if exact else value,
            confidence=None if exact else confidence,
            by_masks=None,
        )

    @abstractmethod
    def certify(self, facts: Facts) -> Certificate:
        """The certificate from what is known of the case."""

    def _sum(self, start: float, score: float, stop: float, hypotheses: dict[str, str], **terms: float) -> Certificate:
        parts = {"initialization": start, "score": score, "early_stopping": stop, **terms}
        return Certificate(start + score + stop, parts, {**EXACT, **hypotheses}, source=self.name)

    def _smaller(self, facts: Facts, score: Any, **extra: Any) -> Certificate:
        """The better of the plain form and, for masks, the form conditioned on x_1 = all masks, without mismatch."""

        def terms(i: Integrals) -> dict[str, float]:
            return {name: f(i) for name, f in extra.items()}

        plain = self._sum(facts.mismatch, score(facts.plain), facts.stopping, {}, **terms(facts.plain))
        if not facts.is_masked:
            return plain
        i = facts.conditioned
        conditioned = self._sum(0.0, score(i), facts.conditioned_stopping, {}, **terms(i))
        return min(plain, conditioned, key=lambda c: c.value)


def _can_split(model: Parameterization) -> bool:
    """A masked predictor that ignores time: rows then depend on the order of revealing alone, whatever the grid."""
    return model.process.is_masked and model.time_free and model.primary == "x0"
