"""Statistics of what a sampler makes, beside the target's: token entropy and duplicates. Neither is an IPM."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from ddm_pyro import random
from ddm_pyro.distributions import Samples, Tabular
from ddm_pyro.metrics.base import Estimate, Metric, check_confidence
from ddm_pyro.metrics.laws import DEFAULT_DRAWS, Law, as_laws, size_of, some_rows, weighted_rows
from ddm_pyro.metrics.rows import row_keys, to_numpy
from ddm_pyro.spaces import StateSpace


@final
@dataclass(frozen=True)
class UnigramEntropy(Metric):
    """Entropy, in nats, of one token of p drawn from a random position; ``extra`` has the target's and the gap p - q.

    Low entropy makes samples look likely under a language model, so this is read beside any generative perplexity.
    Exact on pmfs. From n rows the plug-in entropy is too small in mean; the limits hold at every size: one row moves
    it by at most 2 log(nL)/n, and the bias is at most log(1 + (V - 1)/n).

    Example:
        >>> import torch
        >>> law = Tabular(torch.tensor([[0.5, 0.0], [0.0, 0.5]]))
        >>> round(UnigramEntropy()(law, law).value, 6)
        0.693147
    """

    name: ClassVar[str] = "core/unigram-entropy"
    higher_is_better: ClassVar[bool | None] = None

    def __call__(
        self, p: Any, q: Any, *, n: int | None = None, seed: int | None = None, confidence: float = 0.95
    ) -> Estimate:
        """Unigram entropy of p, nats; see ``Metric`` for the arguments."""
        check_confidence(confidence)
        space, a, b = as_laws(p, q, n, seed)
        value, reference = unigram_entropy(a), unigram_entropy(b)
        extra = {"reference": reference, "gap": value - reference}
        if isinstance(a, Tabular):
            return Estimate(
                value,
                "exact",
                value,
                value,
                0.0,
                reference,
                m=size_of(b),
                method="exact on pmfs",
                confidence=1.0,
                extra=extra,
            )
        lower, upper = _entropy_limits(value, space, len(a), (1.0 - confidence) / 2.0)
        return Estimate(
            value,
            "lower",
            lower,
            upper,
            null_mean=reference,
            n=len(a),
            m=size_of(b),
            method="plug-in; limits McDiarmid and the largest bias",
            confidence=confidence,
            extra=extra,
        )


def unigram_entropy(law: Law) -> float:
    """-sum_v r_v log r_v, with r_v the share of token v over all positions, nats.

    Example:
        >>> import torch
        >>> unigram_entropy(Samples(torch.tensor([[0, 0], [0, 0]]), StateSpace(3, 2)))
        0.0
    """
    rows, weights = weighted_rows(law)
    _, group = np.unique(rows, return_inverse=True)
    share = np.bincount(group.ravel(), np.repeat(weights, rows.shape[1])) / rows.shape[1]
    share = share[share > 0]
    return max(0.0, -float(share @ np.log(share)))


def _entropy_limits(value: float, space: StateSpace, n: int, delta: float) -> tuple[float, float]:
    step = 2.0 * math.log(max(2, n * space.length)) / n
    eps = step * math.sqrt(n * math.log(1.0 / delta) / 2.0)
    if space.is_countable:
        return max(0.0, value - eps), math.inf
    symbols = space.num_symbols
    return max(0.0, value - eps), min(math.log(symbols), value + eps + math.log1p((symbols - 1) / n))


@final
@dataclass(frozen=True)
class Duplicates(Metric):
    """Share of the rows of p that repeat an earlier row; ``extra["copied"]`` is the share that stand in q's rows.

    A statistic of the rows given, and so an unbiased estimate of its own mean at that number of rows, with which it
    grows: compare equal n, and read it beside ``extra["reference"]``, the same share among as many rows of q (the
    number used is ``extra["rows"]``). Laws known by pmf are drawn from. Neither few nor many repeats are good in
    themselves, so it ranks nothing. ``extra["collision"]`` estimates P(X = X') for two independent draws of p without
    bias.

    Example:
        >>> import torch
        >>> x = Samples(torch.tensor([[0, 1], [0, 1], [1, 1], [1, 0]]), StateSpace(2, 2))
        >>> y = Samples(torch.tensor([[1, 1], [0, 0]]), StateSpace(2, 2))
        >>> Duplicates()(x, y).value, Duplicates()(x, y).extra["copied"]
        (0.25, 0.25)
    """

    name: ClassVar[str] = "core/duplicates"
    higher_is_better: ClassVar[bool | None] = None

    def __call__(
        self, p: Any, q: Any, *, n: int | None = None, seed: int | None = None, confidence: float = 0.95
    ) -> Estimate:
        """Share of repeated rows of p; see ``Metric`` for the arguments."""
        check_confidence(confidence)
        _, a, b = as_laws(p, q, n, seed)
        count = n or max([len(law) for law in (a, b) if isinstance(law, Samples)], default=DEFAULT_DRAWS)
        stream = random.derive_seed(0 if seed is None else seed, "duplicates")
        x, y = (to_numpy(some_rows(law, stream, label, count)) for law, label in ((a, "p"), (b, "q")))
        keys, others = row_keys(x, y)
        same = min(len(keys), len(others))
        sizes = np.unique(keys, return_counts=True)[1]
        collision = float((sizes * (sizes - 1)).sum()) / (len(keys) * (len(keys) - 1)) if len(keys) > 1 else 0.0
        extra = {
            "copied": float(np.isin(keys, others).mean()),
            "collision": collision,
            "reference": _repeated(others[:same]),
            "rows": float(same),
        }
        value = _repeated(keys)
        method = f"mean share of repeats among {len(keys)} rows"
        return Estimate(value, "unbiased", n=len(keys), m=len(others), method=method, extra=extra)


def _repeated(keys: np.ndarray) -> float:
    return 1.0 - len(np.unique(keys)) / len(keys)
