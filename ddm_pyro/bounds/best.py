"""The smallest of all certificates that apply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

from ddm_pyro.bounds.adjoint_ipm import AdjointIPM
from ddm_pyro.bounds.base import Bound, NotApplicable, Question
from ddm_pyro.bounds.certificate import Certificate
from ddm_pyro.bounds.continuous import ContinuousBound
from ddm_pyro.bounds.discrete import Discretization, KernelKL, PlanKL
from ddm_pyro.bounds.facts import facts_of
from ddm_pyro.bounds.kernel_tv import KernelTV
from ddm_pyro.bounds.path_kl import ConditionedPathKL, PathKL
from ddm_pyro.bounds.rows import ExitRouting, GeneralizedPinsker, Local, Row

#: Certificates that read the data law through a loss and its entropy alone.
LOSS: tuple[ContinuousBound, ...] = (PathKL(), ConditionedPathKL())

#: Certificates that need the exact score as well.
SCORE: tuple[ContinuousBound, ...] = (*(AdjointIPM(), Row(), GeneralizedPinsker(), ExitRouting(), Local()),)


@final
@dataclass(frozen=True)
class Best(Bound):
    """The smallest valid certificate, at most 1; ``source`` names it, ``terms`` and ``hypotheses`` are its own.

    For another metric ``for_metric`` asks each of them again, because the order can change with the metric.
    Certificates that estimate share the confidence and the budget: there are at most two, each asked for half.

    Args:
        knowledge: "score" uses everything; "loss" only certificates that need a loss and the data entropy, not the
            exact score.

    Raises:
        ValueError: another word.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=3, length=3, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Constant(total=1.0), length=3)
        >>> best = Best()(target=target, model=target.denoiser(forward))
        >>> best.value < 1e-9, best.source
        (True, 'core/row')
    """

    knowledge: Literal["score", "loss"] = "score"
    name: ClassVar[str] = "core/best"

    def __post_init__(self) -> None:
        if self.knowledge not in ("score", "loss"):
            raise ValueError(f"knowledge={self.knowledge!r} must be 'score' or 'loss'.")

    def answer(self, question: Question) -> Certificate:
        """The smallest certificate.

        Raises:
            NotApplicable: none applies; the sentence says why for each.
        """
        found: list[Certificate] = []
        reasons: list[str] = []

        def attempt(make: Callable[[], Certificate]) -> bool:
            try:
                certificate = make()
            except NotApplicable as refusal:
                reasons.append(str(refusal))
                return False
            if not certificate.is_violated:
                found.append(certificate)
            return True

        # At most two certificates are estimated, a sum of row errors and a divergence: half the risk and cost for each.
        half = replace(question, confidence=(1.0 + question.confidence) / 2.0, budget=max(question.budget // 2, 1))
        sampler = question.sampler
        continuous = LOSS if self.knowledge == "loss" else (*SCORE, *LOSS)
        try:
            facts = facts_of(question, self.name)
        except NotApplicable as refusal:
            reasons.append(str(refusal))
            divergences: list[Bound] = [PathKL()]
        else:
            divergences = []
            for bound in continuous:
                attempt(lambda bound=bound: bound.certify(facts))  # type: ignore[misc]
        if self.knowledge == "score":
            attempt(lambda: KernelTV().answer(half))
        if sampler is not None and self.knowledge == "score" and question.model.process.is_masked:
            attempt(lambda: _certifying(Discretization().answer(half)))
        if sampler is not None:
            # With a plan the kernels' divergence only adds that of the reveal times; in continuous time it is path-kl.
            divergences = [PlanKL(), KernelKL(), *divergences]
        any(attempt(lambda bound=bound: bound.answer(half)) for bound in divergences)  # type: ignore[misc]
        return smallest(found, reasons)


def _certifying(found: Certificate) -> Certificate:
    """A discretization error certifies the sampler only when the score's own error is in it or is none."""
    if "exact score" in found.holds_if:
        raise NotApplicable("core/discretization alone says nothing of a score that is not known to be exact.")
    return found


def smallest(found: Sequence[Certificate], reasons: Sequence[str]) -> Certificate:
    """The certificate of least value, the others as its alternatives, capped at 1."""
    if not found:
        raise NotApplicable("No certificate applies: " + " ".join(dict.fromkeys(reasons)))
    order = sorted(found, key=lambda one: one.value)
    first = order[0]
    return replace(
        first,
        value=min(first.value, 1.0),
        ucb=None if first.ucb is None else min(first.ucb, 1.0),
        estimate=None if first.estimate is None else min(first.estimate, 1.0),
        alternatives=tuple(order[1:]),
    )
