"""Rows as an evaluation writes them, made up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

SAMPLERS = ("core/ancestral", "core/euler", "core/tau-leaping", "core/gillespie")
METRICS = ("core/tv", "core/w1-hamming", "core/mmd-hamming", "core/nll")


def row(**changes: Any) -> dict[str, Any]:
    """One measured row."""
    base = {
        "target": "core/potts-chain",
        "target_params": {"num_states": 3, "length": 4, "coupling": 1.0},
        "rate": "core/masked",
        "schedule": "core/linear",
        "parameterization": "core/exact",
        "loss": None,
        "sampler": "core/ancestral",
        "steps": 8,
        "nfe": 8,
        "calls": 8,
        "metric": "core/tv",
        "value": 0.05,
        "kind": "exact",
        "lcb": 0.05,
        "ucb": 0.05,
        "floor": None,
        "bound": None,
        "holds": None,
        "status": "ok",
        "reason": "",
        "seconds": 0.1,
        "seed": 7,
    }
    merged = {**base, **changes}
    if merged["kind"] == "exact":
        merged.update(lcb=merged["value"], ucb=merged["value"])
    parts = [merged[key] for key in ("target", "rate", "parameterization", "sampler", "steps", "seed")]
    merged.setdefault("sample_key", hashlib.sha256(repr(parts).encode()).hexdigest()[:16])
    key = f"{merged['sample_key']}{merged['metric']}{merged.get('metric_params')}{merged.get('sampler_params')}"
    merged.setdefault("row_key", hashlib.sha256(key.encode()).hexdigest()[:16])
    return merged


def exact_rows() -> Iterator[dict[str, Any]]:
    """A small law judged exactly: a bound for each value, an exact sampler whose error is rounding."""
    for k, sampler in enumerate(SAMPLERS):
        for steps in (2, 4, 8, 16, 32):
            for j, metric in enumerate(METRICS):
                value = 0.4 * (k + 1) * (j + 1) / steps
                bound = {"bound": 4 * value, "holds": True, "bound_terms": {"discretization": 4 * value}}
                yield row(sampler=sampler, steps=steps, nfe=steps, metric=metric, value=value, **bound)
    for metric in METRICS:
        yield row(sampler="core/first-hitting", steps=4, nfe=4, metric=metric, value=1e-16)
        yield row(
            sampler="core/k-unmask", steps=4, metric=metric, value=None, status="skipped", reason="no plan for <this>"
        )
    yield row(sampler="core/uniformization", status="error", value=None, stage="sample", reason="ValueError: no bound")


def sampled_rows(target: str = "core/digits") -> Iterator[dict[str, Any]]:
    """Real data judged on samples: limits, a floor, no bound."""
    for rate in ("core/masked", "core/uniform"):
        for k, sampler in enumerate(SAMPLERS):
            for steps in (4, 16, 64):
                for j, metric in enumerate(METRICS[1:]):
                    value = (k + 1) * (j + 1) / steps + 0.05
                    yield row(
                        target=target,
                        target_params={},
                        rate=rate,
                        parameterization="core/x0",
                        loss="core/nelbo",
                        sampler=sampler,
                        steps=steps,
                        nfe=steps,
                        metric=metric,
                        value=value,
                        kind="upper_biased",
                        lcb=0.6 * value,
                        ucb=1.3 * value,
                        floor=0.08,
                    )
