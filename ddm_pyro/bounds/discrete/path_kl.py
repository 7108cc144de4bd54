"""The divergence of a masked path, exactly or by Monte Carlo, and the certificate it gives."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ddm_pyro.bounds.base import Question
from ddm_pyro.bounds.certificate import VERIFIED, Certificate, tv_of_kl
from ddm_pyro.bounds.discrete.case import Run, data_entropy
from ddm_pyro.bounds.discrete.contexts import Contexts
from ddm_pyro.bounds.discrete.estimates import cross_entropies, has_posterior, posterior_divergences
from ddm_pyro.bounds.discrete.limits import upper_limit
from ddm_pyro.bounds.discrete.patterns import information_curve, pattern_curves

#: Relative rounding of entropies, of which the divergence of nearly independent tokens is a difference.
ROUNDING = 8 * torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class PathDivergence:
    """KL(data path || sampler path), nats.

    Attributes:
        mean: exact, or estimated.
        upper: the same, or its upper confidence limit.
        terms: what it is made of.
        hypotheses: what it rests on.
        confidence: level of ``upper``; None where nothing was estimated.
    """

    mean: float
    upper: float
    terms: dict[str, float]
    hypotheses: dict[str, str] = field(default_factory=dict)
    confidence: float | None = None

    def plus(self, nats: float, name: str) -> PathDivergence:
        """With a further, known, term."""
        terms = {**self.terms, name: nats}
        return PathDivergence(self.mean + nats, self.upper + nats, terms, self.hypotheses, self.confidence)

    def certificate(self, source: str) -> Certificate:
        """min(sqrt(KL / 2), sqrt(1 - exp(-KL))) of the limit, with the divergence among the terms."""
        value = tv_of_kl(self.upper)
        terms = {**self.terms, "kl": self.mean}
        if self.confidence is None:
            return Certificate(value, terms, self.hypotheses, source=source)
        return Certificate(
            value,
            {**terms, "kl_limit": self.upper},
            self.hypotheses,
            estimate=tv_of_kl(self.mean),
            ucb=value,
            confidence=self.confidence,
            source=source,
        )


def reveal_divergence(contexts: Contexts, curve: Tensor) -> float:
    """sum over positions of H(X_i | known when drawn), less H(X): what an exact predictor loses by drawing at once.

    Written with the drops of the curve, so that drawing one by one costs exactly nothing.
    """
    ahead = (contexts.known - 1.0).cumsum(0)[:-1].clamp(min=0.0)
    drops = (curve[:-1] - curve[1:]).clamp(min=0.0)
    return float((ahead * (drops + ROUNDING * curve[0])).sum())


def masked_path_kl(run: Run, contexts: Contexts, question: Question, name: str) -> PathDivergence:
    """KL of the path that draws positions by ``contexts.plan``, given the plan.

    Exact where all patterns can be summed, or the model is exact and the information curve known. Otherwise the
    block cross-entropy is estimated less the known H(p_0); with a known curve and posterior, only the score's part is.

    Raises:
        NotApplicable: an estimate without the entropy of the data.
    """
    entropy = data_entropy(run.target, name)
    confidence, budget, seed = question.confidence, question.budget, question.seed
    if contexts.counts is not None:
        if run.has_exact_model:
            curve = information_curve(run.target)
            if curve is not None:
                return _exact(contexts, curve, torch.zeros_like(contexts.counts))
        if run.is_enumerable and not contexts.clocked:
            found = pattern_curves(run.target, run.process, run.model, contexts.times)
            return _exact(contexts, found.entropy, found.error)
        curve = information_curve(run.target) if has_posterior(run) else None
        if curve is not None:
            known = reveal_divergence(contexts, curve)
            values, highest = posterior_divergences(run, contexts, budget=budget, seed=seed)
            limit = upper_limit(values, confidence, highest)
            terms = {"discretization": known, "score": limit.mean, "stderr": limit.stderr}
            hypotheses = {"exact posterior": VERIFIED, **limit.hypotheses}
            return PathDivergence(known + limit.mean, known + limit.upper, terms, hypotheses, confidence)
    values, highest = cross_entropies(run, contexts, budget=budget, seed=seed)
    limit = upper_limit(values, confidence, highest)
    terms = {"cross_entropy": limit.mean, "entropy": entropy, "stderr": limit.stderr}
    # A divergence is not negative: an estimate below zero is noise.
    mean, upper = max(limit.mean - entropy, 0.0), max(limit.upper - entropy, 0.0)
    return PathDivergence(mean, upper, terms, {"data entropy": VERIFIED, **limit.hypotheses}, confidence)


def _exact(contexts: Contexts, curve: Tensor, error: Tensor) -> PathDivergence:
    known = reveal_divergence(contexts, curve)
    counts = contexts.counts if contexts.counts is not None else torch.zeros_like(error)
    # 0 * inf is no error: nothing is drawn there.
    score = float(torch.where(counts > 0, counts * error, 0.0).sum())
    total = known + score if math.isfinite(score) else math.inf
    return PathDivergence(total, total, {"discretization": known, "score": score}, {"data entropy": VERIFIED})
