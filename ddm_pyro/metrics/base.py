"""What a metric returns, and the two things one can be: any comparison of laws, or an integral probability metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor

#: How ``Estimate.value`` relates to the truth; see ``Estimate``.
Kind = Literal["exact", "unbiased", "upper_biased", "lower"]


@dataclass(frozen=True)
class Estimate:
    """A measured value with what is known about its error.

    A bound of the theory may be compared with ``value`` only when ``kind`` is "exact"; otherwise compare it with
    ``lcb``: the plug-in distance between two samples is too large on average, whatever the law.

    Attributes:
        value: the number to print.
        kind: "exact"; "unbiased" (in mean, for the quantity ``method`` names); "upper_biased" (the mean is at least
            the truth, as for the plug-in value of a supremum); "lower" (the mean is at most the truth).
        lcb, ucb: limits that hold together with probability at least ``confidence``; without assumptions on the laws
            unless ``method`` says "asymptotic". None when there are none.
        stderr: estimated standard deviation of ``value`` over repeated samples, or None.
        null_mean: mean of ``value`` if both laws were equal, at these sample sizes: the noise floor.
        n, m: rows of p and of q that were used; None for a law known exactly.
        method: how it was computed, in words.
        confidence: the level of the limits (1.0 for exact values).
        p_value: of the permutation test of p = q, or None.
        extra: further numbers, by name.

    Example:
        >>> Estimate(0.25, "exact", 0.25, 0.25, method="sum over states").value
        0.25
    """

    value: float
    kind: Kind
    lcb: float | None = None
    ucb: float | None = None
    stderr: float | None = None
    null_mean: float | None = None
    n: int | None = None
    m: int | None = None
    method: str = ""
    confidence: float | None = None
    p_value: float | None = None
    extra: Mapping[str, float] = field(default_factory=dict)

    def __float__(self) -> float:
        return self.value


@dataclass(frozen=True)
class Witness:
    """A function of the class F of an IPM, and how much it varies.

    Attributes:
        fn: (n, L) int64 tokens of the space -> (n,) float64; defined on the whole space, not only where it was trained.
        osc: a number no smaller than max fn - min fn over the space. The limits on samples rest on it.

    Raises:
        ValueError: a negative or NaN oscillation.

    Example:
        >>> first_token = Witness(lambda x: (x[:, 0] == 0).double(), osc=1.0)
        >>> first_token.osc
        1.0
    """

    fn: Callable[[Tensor], Tensor]
    osc: float

    def __post_init__(self) -> None:
        if not self.osc >= 0.0:
            raise ValueError(
                f"Witness(osc={self.osc}) must be a number no smaller than max fn - min fn, so at least 0."
            )


class Metric(ABC):
    """A comparison of two laws of token sequences: ``metric(p, q)``, with p the sampler's law and q the target's.

    Attributes:
        name: the id it is registered under.
        higher_is_better: how to rank by it; None for a statistic that describes a law without ranking it.
    """

    name: ClassVar[str] = "local/metric"
    higher_is_better: ClassVar[bool | None] = False

    @abstractmethod
    def __call__(
        self, p: Any, q: Any, *, n: int | None = None, seed: int | None = None, confidence: float = 0.95
    ) -> Estimate:
        """Compare p with q.

        Args:
            p: law of the sampler: a Tabular, Samples, or a distribution.
            q: law of the target, likewise, on the same space.
            n: rows drawn from a law that is known neither by its pmf nor by given samples.
            seed: fixes draws, splits and permutations; the global generator is then left as found. Without it the draws
                come from the global generator, splits and permutations are those of seed 0.
            confidence: level of the two limits together, in (0, 1).

        Raises:
            ValueError: different spaces, or a law the metric can do nothing with.
        """


def check_confidence(confidence: float) -> float:
    """Return the level, or raise ValueError when it is not in (0, 1).

    Example:
        >>> check_confidence(0.95)
        0.95
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence={confidence} must lie strictly between 0 and 1, such as 0.95.")
    return confidence
