"""Certificates for the approximate reverse process in continuous time (theory: adjoint.md, sections 3 to 7)."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch

from ddm_pyro.bounds.base import Bound, NotApplicable
from ddm_pyro.bounds.case import Case, check_spaces, is_small, stop_of
from ddm_pyro.bounds.certificate import VERIFIED, VIOLATED, Certificate, tv_of_kl
from ddm_pyro.bounds.discrete import discretization_error
from ddm_pyro.bounds.discrete.monte_carlo import estimate_path_kl
from ddm_pyro.bounds.facts import Facts, continuous_times, facts_of
from ddm_pyro.bounds.integrals import Integrals

if TYPE_CHECKING:
    from torch import Tensor

    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.samplers import Sampler

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

    def __call__(
        self,
        *,
        target: Any,
        model: Parameterization,
        sampler: Sampler | Sequence[Sampler] | None = None,
        steps: int | None = None,
        times: Sequence[float] | Tensor | None = None,
        confidence: float = 0.95,
        budget: int = 64,
        seed: int | None = None,
    ) -> Certificate:
        """The certificate; see ``Bound``."""
        asked = {"confidence": confidence, "budget": budget, "seed": seed}
        try:
            when = continuous_times(model, sampler, steps, times, self.name)
        except NotApplicable:
            if not self.splits or not _can_split(model):
                raise
            error = discretization_error(target, model, sampler, steps=steps, times=times, **asked)  # type: ignore[arg-type]
            return self.split(Facts(Case.of(target, model, None, self.name)), *error, confidence)
        if self.estimates and not is_small(model.process.space):
            return self._estimate(target, model, stop_of(when), **asked)
        return self.certify(facts_of(target, model, sampler, steps, times, self.name))

    def _estimate(self, target: Any, model: Parameterization, stop: float, **asked: Any) -> Certificate:
        """From a loss and the entropy of the data, where states are too many to sum over."""
        check_spaces(target, model)
        if stop > 0.0:
            raise NotApplicable(f"{self.name} estimates where the process runs to t = 0, not to {stop:.4g}.")
        with torch.no_grad():
            return estimate_path_kl(target, model, name=self.name, **asked).certificate(self.name)

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


@final
@dataclass(frozen=True)
class AdjointIPM(ContinuousBound):
    """Theorem 5.1 of the adjoint paper (arXiv 2605.17232), as reconstructed and verified in the theory notes.

    Masked: TV <= 1 - (1 - e^-B)^L + sqrt(L sum_k (q_1^k - q_delta^k) / k) sqrt(2 L_SE + R); uniform:
    TV <= L e^-B + sqrt(L (B_1 - B_delta)) sqrt(L_WSM), with B = sigma(1), q_t = 1 - e^-sigma(t), losses summed over
    neighbors and integrated over time with weight Q_t(y, x). With early stopping TV(p_0, p_delta) is added. Where the
    data lack full support and delta > 0, the part of L_SE on impossible moves stands outside the root ("leak").

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=3, length=3, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Constant(total=4.0), length=3)
        >>> round(AdjointIPM()(target=target, model=target.denoiser(forward)).value, 4) # 1 - (1 - exp(-4))^3
        0.0539
    """

    name: ClassVar[str] = "core/adjoint-ipm"
    splits: ClassVar[bool] = True

    def certify(self, facts: Facts) -> Certificate:
        """Case 1 for masks, Case 2 for uniform noise."""
        if facts.is_masked:
            return self._masked(facts)
        from ddm_pyro.rates import Uniform

        process = facts.case.process
        rates = getattr(getattr(process, "joint", None), "rates", ())
        if not rates or not all(type(rate) is Uniform for rate in rates):
            raise NotApplicable(f"{self.name} speaks of masked and of uniform noise, not of {process!r}; see core/row.")
        first, last = facts.noise(facts.case.stop), facts.noise(1.0)
        loss = facts.plain.squares
        score = 0.0 if loss == 0.0 else math.sqrt(facts.length * (last - first)) * math.sqrt(loss)
        sharp = 0.0 if loss == 0.0 else score * math.sqrt(1.0 - 1.0 / facts.size)
        return self._sum(
            facts.length * math.exp(-last),
            score,
            facts.stopping,
            {},
            weighted_score_matching=loss,
            sharp=facts.mismatch + sharp + facts.stopping,
        )

    def _masked(self, facts: Facts) -> Certificate:
        i, length = facts.plain, facts.length
        q0, q1 = facts.masked_at(facts.case.stop), facts.masked_at(1.0)
        prefactor = length * sum((q1**k - q0**k) / k for k in range(1, length + 1))
        leak = i.leak if facts.case.stop > 0.0 else 0.0
        inside = 2.0 * (i.entropy - leak) + i.cubes if math.isfinite(i.entropy) else math.inf
        score = math.sqrt(prefactor) * math.sqrt(max(inside, 0.0)) + leak if inside else leak
        positive = VERIFIED if math.isfinite(i.entropy) else VIOLATED
        return self._sum(
            1.0 - q1**length,
            score,
            facts.stopping,
            {"learned scores are positive where exact ones are": positive},
            score_entropy=i.entropy,
            cubic=i.cubes,
            prefactor=prefactor,
            leak=i.leak,
        )


@final
@dataclass(frozen=True)
class Row(ContinuousBound):
    """TV <= m + int E rowTV(exact - learned rates at x_t) dt: no Cauchy-Schwarz, no loss (theory 7, ROW).

    rowTV of a row of differences is the larger of its positive and negative sums; m is the prior mismatch, 0 in the
    masked form conditioned on x_1 = all masks; the smaller form is returned. For a masked sampler in steps and a
    time-free model the discretization error is added ("discretization").

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=3, length=3, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=3)
        >>> Row()(target=target, model=target.denoiser(forward)).value < 1e-12
        True
    """

    name: ClassVar[str] = "core/row"
    splits: ClassVar[bool] = True

    def certify(self, facts: Facts) -> Certificate:
        """The smaller form."""
        return self._smaller(facts, lambda i: i.row)


@final
@dataclass(frozen=True)
class GeneralizedPinsker(ContinuousBound):
    """TV <= m + sqrt((2 A + 4 A^) / 3 * L_SE), A and A^ the mean numbers of exact and learned jumps (theory 7, GENP).

    From 3 (a - b)^2 <= (2 a + 4 b) D(a || b): no cubic term, any support, any noise.
    """

    name: ClassVar[str] = "core/generalized-pinsker"
    splits: ClassVar[bool] = True

    def certify(self, facts: Facts) -> Certificate:
        """The smaller form."""
        return self._smaller(facts, _pinsker, score_entropy=lambda i: i.entropy, jumps=lambda i: i.jumps)


@final
@dataclass(frozen=True)
class ExitRouting(ContinuousBound):
    """TV <= m + sqrt(A L_route / 2) + sqrt((2 A + 4 A^) / 3 * L_exit): when to jump and where to, apart (theory 7).

    L_SE = L_exit + L_route by position; a normalized masked model has L_exit = 0 and A at most L.
    """

    name: ClassVar[str] = "core/exit-routing"
    splits: ClassVar[bool] = True

    def certify(self, facts: Facts) -> Certificate:
        """The smaller form."""
        return self._smaller(facts, _exit_routing, exit=lambda i: i.exit, routing=lambda i: i.entropy - i.exit)


@final
@dataclass(frozen=True)
class Local(ContinuousBound):
    """For masks: a revealed token never changes, so an error at x can move f only by its range over completions of x.

    d_F <= int E rowTV(x_t) osc(F over completions of x_t) dt, conditioned on x_1 = all masks (theory 7, LOCAL). On the
    TV scale it is the conditioned row bound; ``for_metric`` asks the metric for ``local_constant(space, n)``, half the
    diameter when all but n positions agree.
    """

    name: ClassVar[str] = "core/local"

    def certify(self, facts: Facts) -> Certificate:
        """The conditioned row bound, kept apart by the number of masks."""
        if not facts.is_masked:
            raise NotApplicable(
                f"{self.name} rests on tokens that stay once revealed; in {facts.case.process!r} they move."
            )
        stop, rows = facts.conditioned_stopping, facts.conditioned.row_by_masks
        terms = {"initialization": 0.0, "score": sum(rows), "early_stopping": stop}
        if stop > 0.0:
            return Certificate(sum(rows) + stop, terms, EXACT, source=self.name)
        return Certificate(sum(rows), terms, EXACT, by_masks=rows, source=self.name)


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


def _can_split(model: Parameterization) -> bool:
    """A masked predictor that ignores time: rows then depend on the order of revealing alone, whatever the grid."""
    return model.process.is_masked and model.time_free and model.primary == "x0"


def _pinsker(i: Integrals) -> float:
    if i.entropy == 0.0:
        return 0.0
    return math.sqrt((2.0 * i.jumps + 4.0 * i.learned_jumps) / 3.0 * i.entropy)


def _exit_routing(i: Integrals) -> float:
    routing = max(i.entropy - i.exit, 0.0) if math.isfinite(i.entropy) else math.inf
    first = math.sqrt(i.jumps * routing / 2.0) if routing else 0.0
    second = math.sqrt((2.0 * i.jumps + 4.0 * i.learned_jumps) / 3.0 * i.exit) if i.exit else 0.0
    return first + second


CONTINUOUS: tuple[type[ContinuousBound], ...] = (
    *(AdjointIPM, Row, GeneralizedPinsker, ExitRouting, Local, PathKL, ConditionedPathKL),
)
