"""Upper confidence limits of a mean: honest for bounded terms, asymptotic for others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ddm_pyro.bounds.certificate import ASSUMED, VERIFIED

#: Largest stake: below 1 the capital stays positive whatever comes.
STAKE = 0.9
#: Halvings in the search for the limit.
BISECTIONS = 60


@dataclass(frozen=True)
class Limit:
    """A mean and the limit it is below of with the confidence asked for.

    Attributes:
        mean: the estimate.
        upper: its upper confidence limit.
        stderr: its standard error.
        hypotheses: what the limit rests on.
    """

    mean: float
    upper: float
    stderr: float
    hypotheses: dict[str, str]


def upper_limit(values: Tensor, confidence: float, highest: float | None = None) -> Limit:
    """The upper limit of E[value] from independent draws that are not negative.

    With ``highest``, an upper end of their range, by betting (Waudby-Smith and Ramdas, arXiv 2010.09686): it covers
    whatever the law. Without it by Student's t, which covers as the number of draws grows.

    Args:
        values: (n,) draws, n at least 2.
        confidence: level, in (0, 1).
        highest: no draw can be larger; None when that is not known.

    Raises:
        ValueError: a confidence outside (0, 1), fewer than two draws, a draw outside [0, highest].

    Example:
        >>> limit = upper_limit(torch.tensor([1.0, 3.0, 2.0, 2.0]), 0.95)
        >>> round(limit.mean, 3), round(limit.upper, 3), limit.hypotheses
        (2.0, 2.961, {'asymptotic limit': 'assumed'})
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence={confidence!r} must lie strictly between 0 and 1.")
    values = values.detach().double().cpu()
    if len(values) < 2:
        raise ValueError(f"{len(values)} draws give no confidence limit; two are the least.")
    mean, stderr = float(values.mean()), float(values.std()) / math.sqrt(len(values))
    if highest is not None and math.isfinite(highest):
        if bool((values < -1e-9).any()) or bool((values > highest * (1 + 1e-9)).any()):
            raise ValueError(
                f"Draws reach from {float(values.min()):.6g} to {float(values.max()):.6g}, past {highest}."
            )
        upper = highest * betting_limit(values / highest, 1.0 - confidence) if highest > 0 else 0.0
        return Limit(mean, max(mean, upper), stderr, {"bounded terms": VERIFIED})
    if not math.isfinite(mean):
        return Limit(mean, mean, stderr, {"asymptotic limit": ASSUMED})
    from scipy.stats import t as student  # here: its import changes warning filters

    upper = mean + float(student.ppf(confidence, len(values) - 1)) * stderr
    return Limit(mean, upper, stderr, {"asymptotic limit": ASSUMED})


def betting_limit(values: Tensor, level: float) -> float:
    """The least m that a bet against "the mean is m or more" refutes at ``level``; values (n,) in [0, 1].

    The capital prod_i (1 + stake_i (m - x_i)) is a supermartingale when the mean is at least m, so that it reaches
    1 / level with probability at most level. Stakes are read off the draws before.

    Example:
        >>> round(betting_limit(torch.full((1000,), 0.25).double(), 0.05), 3)
        0.253
    """
    x = values.double().clamp(0.0, 1.0)
    n = len(x)
    count = torch.arange(1, n + 1, dtype=torch.float64)
    mean = (0.5 + x.cumsum(0)) / (1.0 + count)
    variance = (0.25 + (x - mean).square().cumsum(0)) / (1.0 + count)
    before = torch.cat([variance.new_tensor([0.25]), variance[:-1]])
    stake = (2.0 * math.log(1.0 / level) / (n * before)).sqrt()

    stake = stake.clamp(max=STAKE)

    def is_refuted(m: float) -> bool:
        return bool((torch.log1p(stake * (m - x)).cumsum(0) >= math.log(1.0 / level)).any())

    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if is_refuted(middle) else (middle, high)
    return high
