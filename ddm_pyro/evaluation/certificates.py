"""Bounds of the theory beside the measured values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddm_pyro.evaluation.build import make, make_samplers
from ddm_pyro.evaluation.cells import Cell
from ddm_pyro.evaluation.guard import Failure, Stopped, stage
from ddm_pyro.evaluation.keys import Identity, seed_of
from ddm_pyro.evaluation.learning import World

if TYPE_CHECKING:
    from ddm_pyro.metrics import Estimate
    from ddm_pyro.plugins import Registry
    from ddm_pyro.spaces import StateSpace

#: Room for rounding when a measured value is compared with a bound it may attain.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Certified:
    """A bound asked for one cell: the certificate on the TV scale, or why there is none."""

    identity: Identity
    certificate: Any = None
    failure: Failure | None = None


def certify(registry: Registry, cell: Cell, world: World, identity: Identity) -> Certified:
    """Ask a bound for its certificate."""
    involved = (*cell.line.identities, *cell.sampler, identity)
    try:
        with stage("bound", involved, registry, cell.timeout):
            bound = make(registry, identity)
            samplers = make_samplers(registry, cell, world.process)
            # The seed is offered to bounds that estimate.
            given = {"target": world.target, "model": world.model, "sampler": samplers[0], "steps": cell.steps}
            if len(samplers) > 1:
                given["sampler"] = samplers
            if _takes_seed(bound):
                given["seed"] = seed_of(cell.line.seed, "bound", cell.line.repetition, identity.axes)
            certificate = bound(**given)
            if not isinstance(certificate.value, int | float) or math.isnan(certificate.value):
                raise TypeError(f"The bound's value is {certificate.value!r}; a number was asked for.")
            return Certified(identity, certificate)
    except Stopped as stopped:
        return Certified(identity, failure=stopped.failure)


def _takes_seed(bound: Any) -> bool:
    import inspect

    try:
        parameters = inspect.signature(bound).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(one.name == "seed" or one.kind is one.VAR_KEYWORD for one in parameters)


def compare(estimate: Estimate, metric: Any, space: StateSpace, certified: tuple[Certified, ...]) -> dict[str, Any]:
    """Entries ``bound`` .. ``ratio`` of a row: the smallest certificate on the metric's scale, and whether it holds."""
    entries = [_entry(one, metric, space) for one in certified]
    found = [entry for entry in entries if entry["value"] is not None]
    # A certificate with a violated hypothesis proves nothing: it must not stand before one that does.
    best = min(found, key=lambda entry: (_is_violated(entry["hypotheses"]), entry["value"]), default=None)
    if best is None:
        return {"bounds": entries}
    bound, lcb = best["value"], estimate.lcb
    limit = bound * (1.0 + TOLERANCE) + TOLERANCE
    judged = lcb is not None and not _is_violated(best["hypotheses"])
    return {
        "bound": bound,
        "bound_id": best["source"],
        "bound_terms": best["terms"],
        "hypotheses": best["hypotheses"],
        "bounds": entries,
        "holds": bool(lcb <= limit) if judged and lcb is not None else None,
        "ratio": estimate.value / bound if 0.0 < bound < math.inf and math.isfinite(estimate.value) else None,
    }


def _is_violated(hypotheses: Any) -> bool:
    states = hypotheses.values() if isinstance(hypotheses, Mapping) else (hypotheses,)
    return "violated" in states


def _entry(one: Certified, metric: Any, space: StateSpace) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": one.identity.id, "version": one.identity.version, "value": None}
    if one.failure is not None:
        return {**entry, "status": one.failure.status, "reason": one.failure.reason}
    if not hasattr(metric, "constant"):
        return {**entry, "status": "skipped", "reason": "The metric is no integral probability metric."}
    try:
        certificate = on_scale(one.certificate, metric, space)
    except Exception as error:
        return {**entry, "status": "error", "reason": f"{type(error).__name__}: {error}"}
    return {
        **entry,
        "value": float(certificate.value),
        "terms": _plain(getattr(certificate, "terms", {})),
        "hypotheses": _plain(getattr(certificate, "hypotheses", None)),
        "vacuous": bool(getattr(certificate, "vacuous", False)),
        # Which certificate it is, of a bound that chooses among several.
        "source": getattr(certificate, "source", None) or one.identity.id,
        "ucb": _plain(getattr(certificate, "ucb", None)),
        "status": "ok",
        "reason": None,
    }


@dataclass(frozen=True)
class _Scaled:
    value: float
    terms: Any
    hypotheses: Any
    vacuous: bool


def on_scale(certificate: Any, metric: Any, space: StateSpace) -> Any:
    """A TV-scale certificate as a bound on an integral probability metric: 2 C_F times it, at most the diameter."""
    if hasattr(certificate, "for_metric"):
        return certificate.for_metric(metric, space)
    diameter = 2.0 * float(metric.constant(space))
    value = 0.0 if certificate.value == 0 else min(diameter, diameter * float(certificate.value))
    vacuous = certificate.value >= 1.0
    return _Scaled(value, getattr(certificate, "terms", {}), getattr(certificate, "hypotheses", None), vacuous)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return float(value) if hasattr(value, "__float__") else str(value)
