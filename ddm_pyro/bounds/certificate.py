"""What a bound returns: a number, what it is made of, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddm_pyro.spaces import StateSpace

#: What is known of a hypothesis: checked on this case, taken for granted, or checked and false.
VERIFIED, ASSUMED, VIOLATED = "verified", "assumed", "violated"


@dataclass(frozen=True)
class Certificate:
    """An upper bound on the distance between the sampler's law and the data law.

    Attributes:
        value: on the scale of total variation (half l1), or of a metric after ``for_metric``; for a certificate that
            is estimated it is the upper confidence limit, never the bare estimate.
        terms: what it is made of, by name, in the units its bound documents (nats for divergences).
        hypotheses: each with "verified", "assumed" or "violated"; a certificate with a violated one proves nothing.
        vacuous: whether it says no more than the diameter does.
        estimate: the value with its Monte Carlo parts at their means; None when nothing was estimated.
        ucb: the upper confidence limit that ``value`` is; None when nothing was estimated.
        confidence: its level; None when nothing was estimated.
        source: the bound that gave it (``core/best`` names the winner).
        by_masks: ``value`` split by the number 0 .. L of masked positions at the time of the error, where a bound
            knows that an error cannot reach the others; ``for_metric`` then weighs each by how far those can move f.
        alternatives: further certificates for the same laws, of which another may be the smallest for a metric.

    Raises:
        ValueError: a value that is negative or no number.

    Example:
        >>> Certificate(0.25, {"score": 0.25}, {"exact posteriors": "verified"}).vacuous
        False
    """

    value: float
    terms: Mapping[str, float] = field(default_factory=dict)
    hypotheses: Mapping[str, str] = field(default_factory=dict)
    vacuous: bool | None = None
    estimate: float | None = None
    ucb: float | None = None
    confidence: float | None = None
    source: str = ""
    by_masks: tuple[float, ...] | None = None
    alternatives: tuple[Certificate, ...] = ()

    def __post_init__(self) -> None:
        if not self.value >= 0.0:
            raise ValueError(f"Certificate(value={self.value!r}) must be a number that is not negative.")
        if self.vacuous is None:
            object.__setattr__(self, "vacuous", self.value >= 1.0)

    @property
    def holds_if(self) -> tuple[str, ...]:
        """The hypotheses that are assumed rather than verified."""
        return tuple(name for name, state in self.hypotheses.items() if state == ASSUMED)

    @property
    def is_violated(self) -> bool:
        """Whether a hypothesis was checked and found false."""
        return VIOLATED in self.hypotheses.values()

    def for_metric(self, metric: Any, space: StateSpace) -> Certificate:
        """The bound on an integral probability metric: 2 C_F times this one, at most the diameter 2 C_F.

        Args:
            metric: an IPM with ``constant(space)`` = C_F, half the diameter.
            space: where the laws live.

        Raises:
            ValueError: a metric without ``constant``, to which no certificate speaks.

        Example:
            >>> from ddm_pyro import StateSpace
            >>> from ddm_pyro.metrics import HammingWasserstein
            >>> Certificate(0.25).for_metric(HammingWasserstein(), StateSpace(2, 4)).value
            1.0
        """
        if not hasattr(metric, "constant"):
            raise ValueError(f"{metric!r} is no integral probability metric: it has no constant(space).")
        if self.alternatives:
            candidates = [replace(self, alternatives=()), *self.alternatives]
            return min((one.for_metric(metric, space) for one in candidates), key=lambda one: one.value)
        diameter = 2.0 * float(metric.constant(space))
        if self.by_masks is not None and hasattr(metric, "local_constant"):
            local = [2.0 * metric.local_constant(space, n) for n in range(len(self.by_masks))]
            value = sum(w * d for w, d in zip(self.by_masks, local, strict=True) if w > 0.0)
            return replace(self, value=min(value, diameter), vacuous=value >= diameter)

        def scaled(value: float | None) -> float | None:
            return None if value is None else 0.0 if value == 0.0 else min(diameter, diameter * value)

        return replace(
            self,
            value=scaled(self.value) or 0.0,
            vacuous=bool(self.vacuous) or self.value >= 1.0,
            estimate=scaled(self.estimate),
            ucb=scaled(self.ucb),
        )


def tv_of_kl(kl: float) -> float:
    """The smaller of Pinsker's sqrt(KL/2) and Bretagnolle and Huber's sqrt(1 - exp(-KL)), each above TV.

    Example:
        >>> round(tv_of_kl(0.02), 3), tv_of_kl(math.inf)
        (0.1, 1.0)
    """
    kl = max(kl, 0.0)
    return min(math.sqrt(kl / 2.0), math.sqrt(-math.expm1(-kl)))
