"""From a plan to its cells: one sampling run with everything that is measured on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any

from ddm_pyro.evaluation.keys import Identity, canonical, digest, seed_of
from ddm_pyro.evaluation.plan import Experiment, Plan, Ref
from ddm_pyro.evaluation.validation import fixes_steps, learns
from ddm_pyro.plugins import Registry


@dataclass(frozen=True)
class Line:
    """What is learned: a target, its noising, and a model of the reverse process, with one seed.

    Attributes:
        target, rate, schedule, parameterization: components.
        loss: None for a model that is made from the target.
        network, train: settings of the training; empty without it.
    """

    target: Identity
    rate: Identity
    schedule: Identity
    parameterization: Identity
    loss: Identity | None
    network: Mapping[str, Any]
    train: Mapping[str, Any]
    seed: int
    repetition: int

    @property
    def identities(self) -> tuple[Identity, ...]:
        """The components of the model."""
        parts = (self.target, self.rate, self.schedule, self.parameterization, self.loss)
        return tuple(one for one in parts if one is not None)

    @property
    def is_trained(self) -> bool:
        """Whether there is anything to train."""
        return self.loss is not None

    @cached_property
    def axes(self) -> list[Any]:
        """What the training seed depends on."""
        return [*(one.axes for one in self.identities), dict(self.network), dict(self.train)]

    @cached_property
    def train_key(self) -> str:
        """Hash of everything the model depends on; an exact model depends on no seed."""
        seed = [self.seed, self.repetition] if self.is_trained else []
        settings = [dict(self.network), dict(self.train), seed] if self.is_trained else []
        return digest("train", *(one.inputs for one in self.identities), *settings)

    @property
    def train_seed(self) -> int:
        """Seed of the initial weights, the noise and the order of the data."""
        return seed_of(self.seed, "train", self.repetition, *self.axes)


@dataclass(frozen=True)
class Cell:
    """One law of sequences (a model, a sampler, a budget) and what is measured on it.

    Attributes:
        line: the model.
        sampler: a predictor and its correctors.
        steps: budget; None for a sampler that fixes its steps itself.
        samples: sequences to draw when the law is not computed exactly.
        metrics: identities; ``bounds`` likewise, for each of them.
        confidence, timeout: of the plan.
        experiment: label, no part of a key.
    """

    line: Line
    sampler: tuple[Identity, ...]
    steps: int | None
    samples: int
    metrics: tuple[Identity, ...]
    bounds: tuple[Identity, ...]
    confidence: float
    timeout: float | None = None
    experiment: str = field(default="", compare=False)

    @cached_property
    def sample_key(self) -> str:
        """Hash of everything the drawn law depends on."""
        line = self.line
        sampler = [one.inputs for one in self.sampler]
        return digest("sample", line.train_key, sampler, self.steps, self.samples, line.seed, line.repetition)

    @property
    def sample_seed(self) -> int:
        """Seed of the draws."""
        axes = [one.axes for one in self.sampler]
        return seed_of(self.line.seed, "sample", self.line.repetition, *self.line.axes, axes, self.steps)

    def row_key(self, metric: Identity) -> str:
        """Hash of everything a row depends on."""
        bounds = [one.inputs for one in self.bounds]
        return digest("row", self.sample_key, metric.inputs, self.confidence, bounds)

    @property
    def row_keys(self) -> tuple[str, ...]:
        """One a metric."""
        return tuple(self.row_key(one) for one in self.metrics)

    @property
    def label(self) -> str:
        """For progress."""
        budget = "" if self.steps is None else f" x {self.steps}"
        sampler = "+".join(short(one.id) for one in self.sampler)
        return f"{short(self.line.target.id)} {short(self.line.rate.id)} {sampler}{budget}"


def short(id: str) -> str:
    """An id without its namespace.

    Example:
        >>> short("core/euler")
        'euler'
    """
    return id.rpartition("/")[2]


def cells_of(plan: Plan, registry: Registry) -> tuple[Cell, ...]:
    """Every cell of a plan once, in the plan's order; metrics of equal cells are merged."""
    merged: dict[str, Cell] = {}
    for experiment in plan.experiments:
        for repetition in range(plan.repetitions):
            for cell in _cells(plan, experiment, repetition, registry):
                key = canonical([cell.sample_key, [one.inputs for one in cell.bounds]])
                merged[key] = _merge(merged[key], cell) if key in merged else cell
    return tuple(merged.values())


def _cells(plan: Plan, experiment: Experiment, repetition: int, registry: Registry) -> Iterator[Cell]:
    def known(kind: str, refs: tuple[Ref, ...]) -> tuple[Identity, ...]:
        return tuple(Identity.of(registry, kind, ref) for ref in refs)

    metrics, bounds = known("metrics", experiment.metrics), known("bounds", experiment.bounds)
    samplers = [
        (known("samplers", one), (None,) if fixes_steps(registry, one) else experiment.steps)
        for one in experiment.samplers
    ]
    for line in _lines(plan, experiment, repetition, registry):
        for sampler, budgets in samplers:
            for steps in dict.fromkeys(budgets):
                yield Cell(
                    line,
                    sampler,
                    steps,
                    experiment.samples,
                    tuple({canonical(one.inputs): one for one in metrics}.values()),
                    bounds,
                    plan.confidence,
                    plan.timeout,
                    experiment.name,
                )


def _lines(plan: Plan, experiment: Experiment, repetition: int, registry: Registry) -> Iterator[Line]:
    lists = (experiment.targets, experiment.rates, experiment.schedules, experiment.parameterizations)
    for target, rate, schedule, parameterization in product(*lists):
        trained = learns(registry, parameterization)
        for loss in experiment.losses if trained else (None,):
            yield Line(
                Identity.of(registry, "targets", target),
                Identity.of(registry, "rates", rate),
                Identity.of(registry, "schedules", schedule),
                Identity.of(registry, "parameterizations", parameterization),
                None if loss is None else Identity.of(registry, "losses", loss),
                dict(experiment.network or {}) if trained else {},
                dict(experiment.train) if trained else {},
                plan.seed,
                repetition,
            )


def _merge(first: Cell, second: Cell) -> Cell:
    metrics = {canonical(one.inputs): one for one in (*first.metrics, *second.metrics)}
    return replace(first, metrics=tuple(metrics.values()))
