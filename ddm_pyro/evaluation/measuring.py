"""From a cell's law to its rows: values, floors, bounds."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddm_pyro.distributions import Samples
from ddm_pyro.evaluation.artifacts import read_json, write_json
from ddm_pyro.evaluation.build import make
from ddm_pyro.evaluation.calibration import keep_calibration
from ddm_pyro.evaluation.cells import Cell
from ddm_pyro.evaluation.certificates import Certified, certify, compare
from ddm_pyro.evaluation.guard import Failure, Stopped, stage
from ddm_pyro.evaluation.keys import SCHEMA_VERSION, Identity, digest, seed_of
from ddm_pyro.evaluation.laws import Drawn, draw, flawless, reference, reference_sample
from ddm_pyro.evaluation.learning import World, build_world
from ddm_pyro.evaluation.positions import keep_positions
from ddm_pyro.evaluation.rows import ROW_FIELDS
from ddm_pyro.metrics import Estimate

if TYPE_CHECKING:
    from ddm_pyro.plugins import Registry

Row = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """Everything the metrics of one cell share."""

    registry: Registry
    cell: Cell
    folder: Path
    world: World
    drawn: Drawn
    reference: Any

    def measure(self, identity: Identity) -> tuple[Estimate, float | None, Any]:
        """Value, floor and the metric itself. Raises Stopped."""
        cell, involved = self.cell, (self.cell.line.target, identity)
        with stage("metric", involved, self.registry, cell.timeout):
            metric = make(self.registry, identity)
            estimate = checked(
                metric(
                    self.drawn.law,
                    self.reference,
                    n=cell.samples,
                    seed=self._seed("metric"),
                    confidence=cell.confidence,
                )
            )
        try:
            with stage("metric", involved, self.registry, cell.timeout):
                return estimate, self._floor(metric, identity), metric
        except Stopped as stopped:
            if stopped.failure.status != "skipped":
                raise
            return estimate, None, metric

    def _floor(self, metric: Any, identity: Identity) -> float | None:
        """The metric between two samples (or twice the law) of the target itself, computed once for all cells.

        None where that is infinite, as ``core/nll`` is of training rows that lack one of those held out.
        """
        line, n, exact = self.cell.line, self.cell.samples, self.drawn.is_exact
        how = "training rows" if exact and isinstance(self.reference, Samples) else exact
        key = digest("floor", line.target.inputs, identity.inputs, n, how, line.seed, line.repetition)
        file = self.folder / "floors" / f"{key}.json"
        if (known := read_json(file)) is not None:
            return None if known["floor"] is None else float(known["floor"])
        # What the metric draws itself of a law known exactly is as many rows as for the value.
        target, seed = self.world.target, self._seed("reference")
        p = flawless(target, self.reference, n, seed) if exact else reference_sample(target, n, seed)
        estimate = checked(metric(p, self.reference, n=n, seed=self._seed("floor")))
        floor = estimate.value if math.isfinite(estimate.value) else None
        write_json(file, {"floor": floor, "n": estimate.n, "target": line.target.id, "metric": identity.id})
        return floor

    def _seed(self, use: str) -> int:
        # No metric in it: whatever is drawn of the target is the same for all of them.
        line = self.cell.line
        return seed_of(line.seed, use, line.repetition, line.target.axes)


def checked(estimate: Any) -> Estimate:
    """The estimate, or a TypeError or ValueError that says what a metric returned instead.

    Example:
        >>> checked(Estimate(0.5, "exact")).value
        0.5
    """
    if not isinstance(estimate, Estimate):
        raise TypeError(f"The metric returned {type(estimate).__name__}; an Estimate was asked for.")
    # Tensors and NumPy scalars of a plugin become plain numbers here, or fail here.
    estimate = replace(
        estimate,
        value=float(estimate.value),
        lcb=_number(estimate.lcb),
        ucb=_number(estimate.ucb),
        stderr=_number(estimate.stderr),
        null_mean=_number(estimate.null_mean),
        p_value=_number(estimate.p_value),
        extra={str(name): float(one) for name, one in estimate.extra.items()},
    )
    if math.isnan(estimate.value):
        raise ArithmeticError("The metric returned NaN.")
    return estimate


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def run_cell(registry: Registry, cell: Cell, folder: Path, wanted: frozenset[str]) -> list[Row]:
    """Rows of a cell, one for each metric whose key is wanted; whatever fails is a row, too."""
    metrics = [one for one in cell.metrics if cell.row_key(one) in wanted]
    try:
        world = build_world(registry, cell.line, folder)
        drawn = draw(registry, cell, world, folder)
        with stage("model", (cell.line.target,), registry, cell.timeout):
            bench = Bench(registry, cell, folder, world, drawn, reference(world.target))
    except Stopped as stopped:
        return [failed_row(cell, one, stopped.failure) for one in metrics]
    _look_closer(bench)
    certified = tuple(certify(registry, cell, world, one) for one in cell.bounds)
    return [_row(bench, one, certified) for one in metrics]


def _look_closer(bench: Bench) -> None:
    """Store what only the report shows. It has no row, so that what fails or takes too long here costs no more."""
    cell, world, involved = bench.cell, bench.world, (*bench.cell.line.identities, *bench.cell.sampler)
    with suppress(Stopped), stage("metric", involved, bench.registry, cell.timeout):
        keep_positions(bench.folder, cell, world.target, bench.reference, bench.drawn)
    with suppress(Stopped), stage("metric", involved, bench.registry, cell.timeout):
        keep_calibration(bench.folder, cell.line, world)


def _row(bench: Bench, identity: Identity, certified: tuple[Certified, ...]) -> Row:
    drawn, start = bench.drawn, time.perf_counter()
    known = {
        "steps": drawn.steps,
        "nfe": drawn.nfe,
        "calls": drawn.calls,
        "sample_seconds": drawn.seconds,
        "train_seconds": bench.world.train_seconds,
    }
    try:
        estimate, floor, metric = bench.measure(identity)
    except Stopped as stopped:
        seconds = time.perf_counter() - start
        return failed_row(bench.cell, identity, stopped.failure) | known | {"seconds": seconds}
    how = "exact law" if drawn.is_exact else f"{len(drawn.law.x)} samples"
    return {
        **blank_row(bench.cell, identity),
        **known,
        **{name: getattr(estimate, name) for name in ("value", "kind", "lcb", "ucb", "stderr", "null_mean", "n")},
        "method": f"{how}; {estimate.method}" if estimate.method else how,
        "extra": dict(estimate.extra) | ({} if estimate.p_value is None else {"p_value": estimate.p_value}),
        "floor": floor,
        **compare(estimate, metric, bench.world.target.space, certified),
        "status": "ok",
        "reason": drawn.note or None,
        "seconds": time.perf_counter() - start,
    }


def failed_row(cell: Cell, metric: Identity, failure: Failure) -> Row:
    """The row of a metric that has no value."""
    return blank_row(cell, metric) | {key: value or None for key, value in asdict(failure).items()}


def blank_row(cell: Cell, metric: Identity) -> Row:
    """A row with everything that is known before anything runs; the other keys are None."""
    line = cell.line
    row: Row = dict.fromkeys(ROW_FIELDS)
    parts: Mapping[str, Identity | None] = {
        "target": line.target,
        "rate": line.rate,
        "schedule": line.schedule,
        "parameterization": line.parameterization,
        "loss": line.loss,
        "sampler": cell.sampler[0] if len(cell.sampler) == 1 else None,
        "metric": metric,
    }
    for part, identity in parts.items():
        row |= _described(part, identity)
    if len(cell.sampler) > 1:
        row |= _composed(cell.sampler)
    return row | {
        "row_key": cell.row_key(metric),
        "sample_key": cell.sample_key,
        "train_key": line.train_key,
        "schema_version": SCHEMA_VERSION,
        "experiment": cell.experiment,
        "network": dict(line.network) or None,
        "train": dict(line.train) or None,
        "steps": cell.steps,
        "confidence": cell.confidence,
        "extra": {},
        "bounds": [],
        "seed": line.seed,
        "repetition": line.repetition,
    }


def _described(part: str, one: Identity | None) -> Row:
    if one is None:
        return {part: None, f"{part}_params": {}, f"{part}_version": None, f"{part}_dist": None}
    return {
        part: one.id,
        f"{part}_params": dict(one.params),
        f"{part}_version": one.version,
        f"{part}_dist": one.dist,
    }


def _composed(samplers: tuple[Identity, ...]) -> Row:
    return {
        "sampler": "+".join(one.id for one in samplers),
        "sampler_params": {one.id: dict(one.params) for one in samplers if one.params},
        "sampler_version": [one.version for one in samplers],
        "sampler_dist": ", ".join(dict.fromkeys(one.dist or "this process" for one in samplers)),
    }
