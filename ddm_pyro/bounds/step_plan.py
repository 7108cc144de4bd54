"""How many steps are enough: the smallest number for which a certificate guarantees the accuracy asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddm_pyro.bounds.base import Bound, NotApplicable
from ddm_pyro.bounds.best import Best
from ddm_pyro.bounds.certificate import Certificate
from ddm_pyro.bounds.discrete.patterns import information_curve
from ddm_pyro.planning import information_grid, optimal_sizes
from ddm_pyro.samplers import Ancestral, KUnmask, Sampler

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization

#: Early-stopping times tried on geometric grids of processes without masks; what noise is left the final denoising
#: draws.
STOPS = (0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4)


@dataclass(frozen=True)
class StepPlan:
    """A sampler with its steps, and the certificate that guarantees the accuracy.

    Attributes:
        sampler: what to run.
        steps: how many steps.
        times: the grid, to be given to ``sample``; None where the sampler fixes its own.
        sizes: mask sizes in generation order, for k-unmask; else None.
        early_stopping: delta, the last time of the grid; what noise is left there is drawn at once.
        certificate: on the scale of the metric asked for.
        rests_on: hypotheses that are assumed, not verified; empty when the guarantee is unconditional.

    Example:
        ``ddm.sample(plan.sampler, model, n, times=plan.times)`` runs it.
    """

    sampler: Sampler
    steps: int
    times: tuple[float, ...] | None
    sizes: tuple[int, ...] | None
    early_stopping: float
    certificate: Certificate
    rests_on: tuple[str, ...]


@dataclass(frozen=True)
class _Candidate:
    sampler: Sampler
    times: tuple[float, ...] | None = None
    sizes: tuple[int, ...] | None = None


def plan_steps(
    target: Any,
    model: Parameterization,
    *,
    metric: Any,
    accuracy: float,
    sampler: Sampler | None = None,
    bound: Bound | None = None,
    max_steps: int = 1024,
    confidence: float = 0.95,
    budget: int = 64,
    seed: int | None = None,
) -> StepPlan:
    """The fewest steps for which a certificate puts the sampler's law within ``accuracy`` of the data law.

    Masked processes with a time-free model get k-unmask with the optimal mask sizes of the information curve (Li and
    Cai, arXiv 2505.21400), other masked ones even grids and grids of equal information; processes without masks even
    grids and geometric ones with early stopping.
    The number of steps is doubled until the accuracy is reached and then halved back; the certificate returned is that
    of the plan returned, so it holds whether or not errors fall at every step between.

    Args:
        target: the data law.
        model: what the sampler runs on.
        metric: an integral probability metric.
        accuracy: on its scale, positive.
        sampler: on which grids are planned; default k-unmask and ancestral.
        bound: default ``Best()``.
        max_steps: where to give up.
        confidence, budget, seed: as in ``Bound``; with an estimate each number of steps tried has its own limit, so
            the plan is planned on one seed and certified once more, on another.

    Raises:
        ValueError: an accuracy not positive, or one that ``max_steps`` steps do not reach; the sentence gives what
            they reach and how much of it is the score's own error, which no number of steps mends.
        NotApplicable: no certificate speaks of this case.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=4, length=32, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(4), ddm.schedules.Linear(), length=32)
        >>> plan = plan_steps(target, target.denoiser(forward), metric=ddm.metrics.TotalVariation(), accuracy=0.3)
        >>> plan.steps, plan.certificate.value <= 0.3, plan.rests_on
        (13, True, ())
    """
    if not 0.0 < accuracy < math.inf:
        raise ValueError(f"accuracy={accuracy!r} must be positive and finite, on the scale of {metric!r}.")
    space = model.process.space.data
    bound = Best() if bound is None else bound
    curve = information_curve(target) if model.process.is_masked else None

    def certify(candidate: _Candidate, seed: int | None) -> Certificate:
        steps = None if candidate.times is not None else len(candidate.sizes or ())
        certificate = bound(
            target=target,
            model=model,
            sampler=candidate.sampler,
            steps=steps,
            times=candidate.times,
            confidence=confidence,
            budget=budget,
            seed=seed,
        )
        return certificate.for_metric(metric, space)

    def best(steps: int) -> tuple[Certificate, _Candidate] | None:
        found, reasons = [], []
        for candidate in _candidates(model, curve, sampler, steps):
            try:
                found.append((certify(candidate, seed), candidate))
            except (NotApplicable, NotImplementedError) as refusal:
                reasons.append(str(refusal))
        if not found and reasons:
            raise NotApplicable(reasons[0])
        return min(found, key=lambda pair: pair[0].value, default=None)

    low, high, chosen = 0, 1, best(1)
    while chosen is None or chosen[0].value > accuracy:
        last = chosen
        if high >= max_steps or (chosen is not None and chosen[1].sizes is not None and max(chosen[1].sizes) == 1):
            raise ValueError(_unreached(accuracy, metric, high, last))
        low, high = high, min(2 * high, max_steps)
        chosen = best(high) or last
    while high - low > 1:
        middle = (low + high) // 2
        attempt = best(middle)
        if attempt is not None and attempt[0].value <= accuracy:
            high, chosen = middle, attempt
        else:
            low = middle
    certificate, candidate = chosen
    if certificate.confidence is not None:
        # The winner of many estimates looks better than it is.
        certificate = certify(candidate, None if seed is None else seed + 1)
        if certificate.value > accuracy:
            raise ValueError(
                f"A second estimate gives {certificate.value:.4g}, above accuracy={accuracy:.4g}; "
                "raise budget= or ask for a little less."
            )
    stop = 0.0 if candidate.times is None else candidate.times[-1]
    steps = len(candidate.sizes or ()) if candidate.times is None else len(candidate.times) - 1
    return StepPlan(candidate.sampler, steps, candidate.times, candidate.sizes, stop, certificate, certificate.holds_if)


def _candidates(
    model: Parameterization, curve: Tensor | None, sampler: Sampler | None, steps: int
) -> Iterator[_Candidate]:
    process = model.process
    length = process.space.length
    if process.is_masked and sampler is None and model.time_free:
        # One position a step leaves nothing to gain from more steps, nor from revealing a random number of them.
        blocks = min(steps, length)
        sizes = optimal_sizes(curve, blocks) if curve is not None else _even_sizes(length, blocks)
        yield _Candidate(KUnmask(sizes), sizes=sizes)
        return
    lead = Ancestral() if sampler is None else sampler
    even = tuple(torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64).tolist())
    yield _Candidate(lead, times=even)
    if process.is_masked and curve is not None and hasattr(process, "schedule"):
        yield _Candidate(lead, times=tuple(information_grid(curve, process, steps).tolist()))
    if not process.is_masked:
        for stop in STOPS:
            yield _Candidate(lead, times=tuple((stop ** torch.linspace(0, 1, steps + 1, dtype=torch.float64)).tolist()))


def _even_sizes(length: int, steps: int) -> tuple[int, ...]:
    return tuple(length // steps + (k < length % steps) for k in range(steps))


def _unreached(accuracy: float, metric: Any, steps: int, last: tuple[Certificate, _Candidate] | None) -> str:
    if last is None:
        return f"No plan of at most {steps} steps could be made for accuracy={accuracy:.4g}."
    certificate = last[0]
    score = certificate.terms.get("score")
    share = f", its score term alone is {score:.4g}: train longer" if score else f"; max_steps={steps} allows no more"
    return (
        f"accuracy={accuracy:.4g} in {metric!r} is not certified by {steps} steps: "
        f"{certificate.source} gives {certificate.value:.4g}{share}."
    )
