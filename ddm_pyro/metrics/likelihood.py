"""Comparisons through log-probabilities: Kullback-Leibler and negative log-likelihood. Neither is an IPM."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch

from ddm_pyro.distributions import Samples, Tabular
from ddm_pyro.metrics.base import Estimate, Metric, check_confidence
from ddm_pyro.metrics.density import has_density
from ddm_pyro.metrics.intervals import normal_margin
from ddm_pyro.metrics.laws import DEFAULT_DRAWS, Joint, common_space, draw, known_pmf, tail_mass
from ddm_pyro.metrics.rows import Array, to_numpy
from ddm_pyro.metrics.tv import TotalVariation
from ddm_pyro.spaces import StateSpace


@final
@dataclass(frozen=True)
class KL(Metric):
    """KL(q || p) = E_q log q/p in nats: **of the target q from the sampler p**, though called as ``metric(p, q)``.

    The arguments keep the order of every other metric here, ``kl(law, target)``, and the direction is that of maximum
    likelihood and of the path bounds: infinite as soon as the sampler never makes something the target does. It is

    - exact when q is a known pmf and p has a density;
    - the mean of log q - log p over draws of q when both have one but q has too many states: unbiased, limits
    asymptotic;
    - otherwise a lower limit only, from the lower limit of TV: KL >= 2 TV^2 (Pinsker) and KL >= -log(1 - TV^2)
      (Bretagnolle and Huber). No upper limit exists from samples of p: an unseen sequence may have probability 0.

    Example:
        >>> p, q = Tabular(torch.tensor([0.5, 0.5])), Tabular(torch.tensor([1.0, 0.0]))
        >>> round(KL()(p, q).value, 6), KL()(q, p).value
        (0.693147, inf)
    """

    name: ClassVar[str] = "core/kl"

    def __call__(
        self, p: Any, q: Any, *, n: int | None = None, seed: int | None = None, confidence: float = 0.95
    ) -> Estimate:
        """KL(q || p), nats; see ``Metric`` for the arguments."""
        check_confidence(confidence)
        space = common_space(p, q)
        known_p, known_q = known_pmf(p, space), known_pmf(q, space)
        if known_q is not None and known_p is not None:
            joint = Joint.of(known_p, known_q)
            return _exact(kl_divergence(joint.q, joint.p), tail_mass(known_p, known_q))
        if known_q is not None and has_density(p):
            atoms, mass = known_q.atoms[known_q.probs > 0], to_numpy(known_q.probs[known_q.probs > 0])
            return _exact(
                max(0.0, float(mass @ (np.log(mass) - log_density(p, atoms)))), tail_mass(known_q, known_q) / 2.0
            )
        if has_density(p if known_p is None else known_p) and has_density(q):
            return self._over_draws(p if known_p is None else known_p, q, space, n or DEFAULT_DRAWS, seed, confidence)
        return self._from_variation(TotalVariation()(p, q, n=n, seed=seed, confidence=confidence))

    def _over_draws(self, p: Any, q: Any, space: StateSpace, n: int, seed: int | None, confidence: float) -> Estimate:
        x = draw(q, space, n, seed, "q").x
        ratio = log_density(q, x) - log_density(p, x)
        return _mean(ratio, confidence, "mean of log q - log p over draws of q", floor=0.0)

    def _from_variation(self, variation: Estimate) -> Estimate:
        share = min(1.0, variation.lcb or 0.0)
        lower = max(2.0 * share**2, -math.log1p(-(share**2)) if share < 1.0 else math.inf)
        return Estimate(
            lower,
            "lower",
            lower,
            math.inf,
            null_mean=0.0,
            n=variation.n,
            m=variation.m,
            method="largest KL(q || p) that the lower limit of TV implies; samples give no upper limit",
            confidence=variation.confidence,
        )


@final
@dataclass(frozen=True)
class NLL(Metric):
    """-E_q log p in nats a sequence: the cross entropy of the target q under the sampler's law p.

    Exact when q is a known pmf; else the mean over its rows, unbiased, with asymptotic limits. Not 0 at p = q but the
    entropy of q. ``extra`` has ``nats_per_token``, ``bits_per_token`` and ``perplexity`` (a token). p needs an exact
    log-probability: a model whose likelihood is only bounded is scored by its loss's bound instead, which is another
    number.

    Raises:
        ValueError: p is Samples, or has no exact log_prob.

    Example:
        >>> uniform = Tabular(torch.full((2, 2), 0.25))
        >>> NLL()(uniform, uniform).extra["bits_per_token"]
        1.0
    """

    name: ClassVar[str] = "core/nll"

    def __call__(
        self, p: Any, q: Any, *, n: int | None = None, seed: int | None = None, confidence: float = 0.95
    ) -> Estimate:
        """-E_q log p, nats a sequence; see ``Metric`` for the arguments."""
        check_confidence(confidence)
        space = common_space(p, q)
        known_p, known_q = known_pmf(p, space), known_pmf(q, space)
        law = p if known_p is None else known_p
        if not has_density(law):
            raise ValueError(
                f"NLL needs log p exactly, and p ({type(p).__name__}) offers none; give its pmf (push gives a Tabular) "
                "or a distribution with an exact log_prob, or compare samples with TV, MMD or another IPM."
            )
        if known_q is not None:
            kept = known_q.probs > 0
            value = -float(to_numpy(known_q.probs[kept]) @ log_density(law, known_q.atoms[kept]))
            estimate = _exact(value, known_q.tail_mass)
        else:
            rows = q if isinstance(q, Samples) else draw(q, space, n or DEFAULT_DRAWS, seed, "q")
            estimate = _mean(-log_density(law, rows.x), confidence, "mean of -log p over rows of q", floor=None)
        return _per_token(estimate, space.length)


def kl_divergence(q: Array, p: Array) -> float:
    """sum_x q log(q/p), nats; infinite where q > 0 = p.

    Example:
        >>> round(kl_divergence(np.array([1.0, 0.0]), np.array([0.5, 0.5])), 6)
        0.693147
    """
    kept = q > 0
    if (p[kept] == 0).any():
        return math.inf
    return max(0.0, float((q[kept] * (np.log(q[kept]) - np.log(p[kept]))).sum()))


def log_density(law: Any, x: torch.Tensor) -> Array:
    """log P of rows as float64 on the CPU, (n,)."""
    if isinstance(law, Tabular):
        x = x.to(law.probs.device)
    with torch.no_grad():
        return to_numpy(law.log_prob(x).double())


def _exact(value: float, tail: float) -> Estimate:
    extra = {"tail_mass": tail} if tail else {}
    # Truncation can hide any amount of divergence, so there are no limits then.
    limit = None if tail else value
    return Estimate(value, "exact", limit, limit, 0.0, method="exact on pmfs", confidence=1.0, extra=extra)


def _mean(values: Array, confidence: float, method: str, floor: float | None) -> Estimate:
    mean, n = float(values.mean()), len(values)
    if n < 2 or not np.isfinite(values).all():
        return Estimate(mean, "unbiased", n=None, m=n, method=method, confidence=confidence)
    stderr = float(values.std(ddof=1)) / math.sqrt(n)
    margin = normal_margin(stderr, confidence)
    lower = mean - margin if floor is None else max(floor, mean - margin)
    method = f"{method}; limits asymptotic (normal)"
    return Estimate(mean, "unbiased", lower, mean + margin, stderr, m=n, method=method, confidence=confidence)


def _per_token(estimate: Estimate, length: int) -> Estimate:
    nats = estimate.value / length
    extra = {
        **estimate.extra,
        "nats_per_token": nats,
        "bits_per_token": nats / math.log(2.0),
        "perplexity": math.exp(nats) if nats < 700.0 else math.inf,
    }
    fields = {name: getattr(estimate, name) for name in estimate.__dataclass_fields__}
    return Estimate(**{**fields, "extra": extra})
