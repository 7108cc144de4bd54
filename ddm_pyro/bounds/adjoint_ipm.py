"""Theorem 5.1: score losses in continuous time, masked and uniform (theory 3 to 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from ddm_pyro.bounds.base import NotApplicable
from ddm_pyro.bounds.certificate import VERIFIED, VIOLATED, Certificate
from ddm_pyro.bounds.continuous import ContinuousBound
from ddm_pyro.bounds.facts import Facts
from ddm_pyro.rates import Uniform


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
