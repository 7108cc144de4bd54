"""The certificate of what parallel drawing adds, by total variation instead of divergence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ddm_pyro.bounds.base import Bound, NotApplicable, Question
from ddm_pyro.bounds.certificate import ASSUMED, VERIFIED, Certificate
from ddm_pyro.bounds.discrete.case import Run
from ddm_pyro.bounds.discrete.contexts import Contexts, sampler_contexts
from ddm_pyro.bounds.discrete.estimates import has_posterior
from ddm_pyro.bounds.discrete.jump_rows import jump_rows
from ddm_pyro.bounds.discrete.limits import upper_limit
from ddm_pyro.bounds.discrete.parallel import EXACT_PAIRS, estimated_parallel_error, exact_parallel_error


@dataclass(frozen=True)
class Discretization(Bound):
    """TV <= sum_i E TV(p(x_i | x_W), phat(. | x_W')) for masked samplers with a plan (theory 9: row, DISC).

    W' is what is known at the start of the step that draws i, W adds the step's earlier positions in a uniform order.
    ``terms``: "discretization" (DISC), the same sum of phat(. | x_W) against phat(. | x_W'), which needs the model
    alone; "score", of p(x_i | x_W) against phat(. | x_W); their sum bounds ``value``. No mismatch at the start and no
    reveal times: neither changes what is drawn.

    Without masks, on spaces of at most 128 states: rates of the step's jump process against the exact ones, integrated
    over time, with "prior_mismatch", "final" (denoising) and what the "quadrature" may be off. Loose, and infinite
    where a position leaves surely: ``core/kernel-kl`` is the sharper one there.

    Where the exact posterior is not known, ``value`` is "discretization" alone and the hypothesis "exact score" is
    assumed: it then certifies the discretization only, whatever the network got wrong. Estimates lie in [0, L], so
    that their limit holds at any number of draws.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=3, length=4, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=4)
        >>> given = {"target": target, "model": target.denoiser(forward), "sampler": ddm.samplers.Ancestral()}
        >>> found = Discretization()(**given, steps=16)
        >>> law = ddm.push(given["sampler"], given["model"], steps=16)
        >>> tv = ddm.create("metrics", "core/tv")(law, target.tabular()).value
        >>> round(tv, 4), round(found.value, 4), found.hypotheses
        (0.0226, 0.047, {'exact score': 'verified'})
    """

    name: ClassVar[str] = "core/discretization"

    def answer(self, question: Question) -> Certificate:
        """The certificate."""
        run = Run.of(question, self.name)
        with torch.no_grad():
            if run.space.mask is None:
                return self._without_masks(run)
            contexts = sampler_contexts(run, self.name)
            if _is_small(run, contexts):
                return self._exact(run, contexts)
            return self._estimated(run, contexts, question)

    def _exact(self, run: Run, contexts: Contexts) -> Certificate:
        found = exact_parallel_error(run, contexts)
        rows, score = found.rows, found.score
        terms = {"discretization": float(found.discretization)}
        if rows is None or score is None:
            return Certificate(terms["discretization"], terms, {"exact score": ASSUMED}, source=self.name)
        terms["score"] = float(score)
        known = {"exact score": VERIFIED} if run.has_exact_model else {"exact posterior": VERIFIED}
        return Certificate(float(rows), terms, known, source=self.name)

    def _without_masks(self, run: Run) -> Certificate:
        found = jump_rows(run, self.name)
        terms = {"discretization": found.discretization, "score": found.score, "prior_mismatch": found.mismatch}
        terms |= {"final": found.final, "quadrature": found.error}
        known = "exact score" if run.has_exact_model else "exact posterior"
        return Certificate(found.value, terms, {known: VERIFIED}, source=self.name)

    def _estimated(self, run: Run, contexts: Contexts, question: Question) -> Certificate:
        exact = run.denoiser() if has_posterior(run) and not run.has_exact_model else None
        found = estimated_parallel_error(run, contexts, exact, budget=question.budget, seed=question.seed)
        known = {"exact score": VERIFIED if run.has_exact_model else ASSUMED}
        values, terms = found.discretization, {"discretization": float(found.discretization.mean())}
        if found.rows is not None and found.score is not None:
            values, known = found.rows, {"exact posterior": VERIFIED}
            terms["score"] = float(found.score.mean())
        limit = upper_limit(values, question.confidence, float(run.length))
        return Certificate(
            limit.upper,
            {**terms, "stderr": limit.stderr},
            {**known, **limit.hypotheses},
            estimate=limit.mean,
            ucb=limit.upper,
            confidence=question.confidence,
            source=self.name,
        )


def discretization_error(question: Question) -> tuple[float, float]:
    """DISC of a masked sampler with a plan, and its upper confidence limit (the same where it is exact); scale of TV.

    To be added to a row certificate of the continuous-time process, never to sqrt(L_SE / 2) (theory 9).

    Raises:
        NotApplicable: other samplers and processes.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=3, length=4, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=4)
        >>> model, sampler = target.denoiser(forward), ddm.samplers.FirstHitting()
        >>> discretization_error(Question(target=target, model=model, sampler=sampler))
        (0.0, 0.0)
    """
    run = Run.of(question, "core/discretization")
    with torch.no_grad():
        contexts = sampler_contexts(run, "core/discretization")
        if _is_small(run, contexts):
            value = float(exact_parallel_error(run, contexts).discretization)
            return value, value
        found = estimated_parallel_error(run, contexts, None, budget=question.budget, seed=question.seed)
        limit = upper_limit(found.discretization, question.confidence, float(run.length))
    return limit.mean, limit.upper


def _is_small(run: Run, contexts: Contexts) -> bool:
    """Whether all pairs of patterns can be summed, for a law whose posteriors are known."""
    pairs = 1
    for size in run.space.position_sizes:
        pairs *= 2 * size + 1
    pairs *= 1 if run.model.time_free else len(contexts.times)
    if pairs > EXACT_PAIRS or contexts.counts is None or contexts.clocked:
        return False
    try:
        run.denoiser()
        run.target.tabular()
    except (NotApplicable, NotImplementedError, AttributeError):
        return False
    return True
