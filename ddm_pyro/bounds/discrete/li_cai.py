"""The certificates of Li and Cai for samplers that reveal blocks of fixed sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch

from ddm_pyro.bounds.base import Bound, NotApplicable, Question
from ddm_pyro.bounds.certificate import Certificate
from ddm_pyro.bounds.discrete.case import Run
from ddm_pyro.bounds.discrete.contexts import sampler_contexts
from ddm_pyro.bounds.discrete.path_kl import masked_path_kl
from ddm_pyro.bounds.discrete.patterns import information_curve
from ddm_pyro.planning import block_costs, check_curve, optimal_sizes, reveal_error

#: Constants of Theorem 2: the upper one as its proof has it, the lower one as quoted.
UPPER, LOWER = 1 / 2, 1 / 16


class Theorem2(NamedTuple):
    """What Theorem 2 says of sizes of at most s_max, nats.

    Attributes:
        upper: C2 s_max / L sum_i sum_{j>=0} 2^-j E I(X_i; X_W), |W| = L - s_max 2^-j, with C2 = 1/2 as printed. It can
            be too small: for one block of a Potts chain, or for codes whose tokens are known from L - 3 others and four
            are drawn at once.
        lower: the same with C3 = 1/16, below the mean error of ``random_schedule``.
        safe: s_max / L times the sum over j >= 1 alone, which halving the blocks proves (the step from s_max to
            s_max / 2 sees |W| = L - s_max / 2) and codes attain: above the error of every schedule.
    """

    upper: float
    lower: float
    safe: float


def total_mutual_information(curve: Any) -> float:
    """sum_i I(X_i; the others) = L (Hbar(0) - Hbar(L-1)), nats.

    Example:
        >>> total_mutual_information([2.0, 1.5, 1.0])
        3.0
    """
    curve = check_curve(curve)
    return len(curve) * max(float(curve[0] - curve[-1]), 0.0)


def theorem1(curve: Any, sizes: Sequence[int]) -> float:
    """(2^ceil(log2 s_max) - 1) / L times the total mutual information, nats.

    Example:
        >>> theorem1([2.0, 1.5, 1.0], [2, 1]), theorem1([2.0, 1.5, 1.0], [1, 1, 1])
        (1.0, 0.0)
    """
    doubled = 2 ** (max(sizes) - 1).bit_length()
    return (doubled - 1) / len(check_curve(curve)) * total_mutual_information(curve)


def theorem2(curve: Any, largest: int) -> Theorem2 | None:
    """The bounds of Theorem 2 for s_max = ``largest``; None unless it is a power of two that divides L, as they ask.

    Example:
        >>> theorem2([2.0, 1.5, 1.5, 1.0], 2)
        Theorem2(upper=1.0, lower=0.125, safe=1.0)
        >>> theorem2([2.0, 1.5, 1.0], 2) is None
        True
    """
    curve = check_curve(curve)
    length = len(curve)
    if largest < 1 or largest & (largest - 1) or length % largest:
        return None
    scales = [2.0**-j * float(curve[0] - curve[length - (largest >> j)]) for j in range(largest.bit_length())]
    information = largest * sum(scales)
    return Theorem2(UPPER * information, LOWER * information, largest * sum(scales[1:]))


def random_schedule(curve: Any, largest: int) -> float:
    """Mean reveal error of sizes drawn from {largest, largest / 2} with even odds, the last one cut to end at L; nats.

    Raises:
        ValueError: an odd ``largest``.

    Example:
        >>> random_schedule([2.0, 1.5], 2)
        0.25
    """
    if largest < 2 or largest % 2:
        raise ValueError(f"largest={largest!r} must be even, so that half of it is a size.")
    costs = block_costs(curve)
    length = len(costs)
    left = [0.0] * (length + 1)
    for known in reversed(range(length)):
        for size in (largest, largest // 2):
            drawn = min(size, length - known)
            left[known] += 0.5 * (float(costs[known, drawn]) + left[known + drawn])
    return left[0]


@dataclass(frozen=True)
class LiCai(Bound):
    """Theorems 1 and 2 of Li and Cai (arXiv 2505.21400) for blocks of fixed sizes, beside the exact divergence.

    ``value`` is that of the mask-conditional divergence E_M KL(p_0 || law given the blocks) itself, exact on the
    information curve but for eps_train, the predictor's part, which is estimated when it must be. ``terms``, nats:
    "kl" = "discretization" + "eps_train"; "theorem1" and "theorem2_safe", which bound "kl"; "theorem2_upper" with the
    constant printed, which need not; "theorem2_lower", below the mean error of random sizes s_max and s_max / 2 (those
    of Theorem 2 only where s_max is a power of two that divides L); "optimal", the least discretization that this
    number of blocks allows; "total_mutual_information".

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=4, length=32, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(4), ddm.schedules.Linear(), length=32)
        >>> found = LiCai()(target=target, model=target.denoiser(forward), sampler=ddm.samplers.KUnmask([4] * 8))
        >>> [round(found.terms[name], 6) for name in ("kl", "theorem2_upper", "theorem1", "theorem2_lower")]
        [0.338377, 0.719497, 0.653224, 0.089937]
    """

    name: ClassVar[str] = "core/li-cai"

    def answer(self, question: Question) -> Certificate:
        """The certificate."""
        run = Run.of(question, self.name)
        with torch.no_grad():
            contexts = sampler_contexts(run, self.name)
            if contexts.sizes is None:
                raise NotApplicable(
                    f"{self.name} speaks of blocks of fixed sizes, core/k-unmask and core/first-hitting; "
                    f"{run.sampler!r} draws a random number of positions: use core/plan-kl."
                )
            curve = information_curve(run.target)
            if curve is None:
                raise NotApplicable(
                    f"{self.name} needs the information curve of {run.target!r}; core/plan-kl does without."
                )
            found = masked_path_kl(run, contexts, question, self.name)
        sizes = [size for size in contexts.sizes if size]
        # The score's part, estimated or exact, is what is left of the divergence.
        known = reveal_error(curve, sizes)
        score = found.terms.get("score", found.mean - known)
        terms = {"discretization": known, "eps_train": score, "theorem1": theorem1(curve, sizes) + score}
        both = theorem2(curve, max(sizes))
        if both is not None:
            terms |= {
                "theorem2_upper": both.upper + score,
                "theorem2_safe": both.safe + score,
                "theorem2_lower": both.lower,
            }
        terms |= {
            "optimal": reveal_error(curve, optimal_sizes(curve, len(sizes))),
            "total_mutual_information": total_mutual_information(curve),
        }
        if "stderr" in found.terms and math.isfinite(found.terms["stderr"]):
            terms["stderr"] = found.terms["stderr"]
        return replace(found, terms=terms).certificate(self.name)
