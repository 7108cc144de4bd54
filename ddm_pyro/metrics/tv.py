"""Total variation between laws of whole sequences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from ddm_pyro.distributions import Samples
from ddm_pyro.metrics.base import Estimate, Witness, check_confidence
from ddm_pyro.metrics.density import has_density
from ddm_pyro.metrics.ipm import IPM
from ddm_pyro.metrics.laws import DEFAULT_DRAWS, common_space, draw, known_pmf
from ddm_pyro.metrics.rows import Array, lookup, to_numpy
from ddm_pyro.spaces import StateSpace


@final
@dataclass(frozen=True)
class TotalVariation(IPM):
    """TV(p, q) = 1/2 sum_x |p(x) - q(x)|: the sup of E_p f - E_q f over functions with max f - min f <= 1.

    C_F = 1/2. Exact on pmfs in O(states). When both laws have a density but too many states to list,
    TV = E_p (1 - q/p)_+ is averaged over draws of p: unbiased, and in [0, 1]. On samples the plug-in value approaches 1
    as soon as states outnumber rows: read the bracket, or choose a metric that sees positions or distances.

    Example:
        >>> from ddm_pyro.distributions import Tabular
        >>> estimate = TotalVariation()(Tabular(torch.tensor([0.5, 0.5])), Tabular(torch.tensor([0.2, 0.8])))
        >>> round(estimate.value, 12), estimate.kind
        (0.3, 'exact')
    """

    name: ClassVar[str] = "core/tv"

    def constant(self, space: StateSpace) -> float:
        """1/2 (0 on a space of one state)."""
        return 0.5 if space.is_countable or space.num_states > 1 else 0.0

    def exact(self, space: StateSpace, atoms: Tensor, p: Tensor, q: Tensor) -> tuple[float, Witness]:
        """Half the l1 distance; the witness is the indicator of p > q."""
        difference = to_numpy(p - q)
        witness = Witness(lookup(to_numpy(atoms), (difference > 0).astype(np.float64)), osc=2.0 * self.constant(space))
        return 0.5 * float(np.abs(difference).sum()), witness

    def distances(self, space: StateSpace, atoms: Array, p: Array, q: Array) -> Array:
        """Half the l1 distances, (B,)."""
        values: Array = 0.5 * np.abs(p - q).sum(-1)
        return values

    def __call__(
        self, p: Any, q: Any, *, n: int | None = None, seed: int | None = None, confidence: float = 0.95
    ) -> Estimate:
        """TV(p, q); see ``Metric`` for the arguments."""
        check_confidence(confidence)
        space = common_space(p, q)
        listed = [isinstance(law, Samples) or known_pmf(law, space) is not None for law in (p, q)]
        if not any(listed) and has_density(p) and has_density(q):
            return self._from_densities(p, q, space, n or DEFAULT_DRAWS, seed, confidence)
        return super().__call__(p, q, n=n, seed=seed, confidence=confidence)

    def _from_densities(
        self, p: Any, q: Any, space: StateSpace, n: int, seed: int | None, confidence: float
    ) -> Estimate:
        x = draw(p, space, n, seed, "p").x
        with torch.no_grad():
            gain = (1.0 - (q.log_prob(x) - p.log_prob(x)).double().exp()).clamp(min=0.0)
        value = float(gain.mean())
        margin = math.sqrt(math.log(2.0 / (1.0 - confidence)) / (2.0 * n))
        return Estimate(
            value,
            "unbiased",
            max(0.0, value - margin),
            min(1.0, value + margin),
            float(gain.std(correction=1)) / math.sqrt(n) if n > 1 else None,
            null_mean=0.0,
            n=n,
            method="mean of (1 - q/p)+ over draws of p; limits Hoeffding",
            confidence=confidence,
        )
