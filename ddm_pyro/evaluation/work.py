"""A unit of work, and the registry it needs, in whatever process it runs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ddm_pyro.evaluation.cells import Cell, Line
from ddm_pyro.evaluation.guard import Failure, Stopped
from ddm_pyro.evaluation.keys import Identity, namespace
from ddm_pyro.evaluation.learning import train
from ddm_pyro.evaluation.measuring import Row, failed_row, run_cell
from ddm_pyro.evaluation.threads import one_thread
from ddm_pyro.plugins import Manager, Registry

#: Registries by the token of the evaluation that uses them: the parent's own, or a worker's copy of it.
_registries: dict[str, Registry] = {}
#: Cells change the number of threads and seed the global generator, so threads of one process take turns.
_turn = threading.RLock()


@dataclass(frozen=True)
class Recipe:
    """How a worker makes the registry: plain data, so that it travels. A worker loads plugins by itself."""

    token: str
    arguments: dict[str, Any] = field(repr=False)
    paths: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path), repr=False)

    def registry(self) -> Registry:
        """The parent's registry in the parent, else one made here, once an evaluation."""
        if self.token not in _registries:
            _registries.clear()
            # A worker may be older than the parent's latest additions to its path.
            sys.path.extend(path for path in self.paths if path not in sys.path)
            _registries[self.token] = Registry(Manager(**self.arguments))
        return _registries[self.token]

    def share(self, registry: Registry) -> None:
        """Let work in this process use the registry itself."""
        _registries[self.token] = registry

    def forget(self) -> None:
        """End of the evaluation."""
        _registries.pop(self.token, None)


@dataclass(frozen=True)
class Task:
    """Training of a line, or a cell with the row keys that are missing.

    Example:
        >>> Task.__dataclass_fields__["wanted"].default
        frozenset()
    """

    line: Line
    cell: Cell | None = None
    wanted: frozenset[str] = frozenset()
    timeout: float | None = None

    @property
    def label(self) -> str:
        """For progress."""
        return self.cell.label if self.cell else f"training {self.line.target.id} {self.line.rate.id}"

    @property
    def key(self) -> tuple[str, ...]:
        """Which task of an evaluation this is, also after a journey to another process."""
        return (self.line.train_key, *(self.cell.row_keys if self.cell else ()))

    def failed_rows(self, failure: Failure) -> list[Row]:
        """The rows that are missing, all failed for one reason; none for a training."""
        if self.cell is None:
            return []
        return [
            failed_row(self.cell, one, failure) for one in self.cell.metrics if self.cell.row_key(one) in self.wanted
        ]

    @property
    def identities(self) -> tuple[Identity, ...]:
        """Components that take part."""
        cell = self.cell
        return (
            self.line.identities
            if cell is None
            else (*cell.line.identities, *cell.sampler, *cell.metrics, *cell.bounds)
        )

    @property
    def stays(self) -> bool:
        """Whether it must run in this process, because a component is registered in no other."""
        return any(namespace(one.id) == "local" for one in self.identities)


@dataclass(frozen=True)
class Outcome:
    """What a task leaves: rows of a cell, or the failure of a training."""

    task: Task
    rows: list[Row]
    failure: Failure | None = None


def run(task: Task, recipe: Recipe, folder: Path, report: Callable[[float], None] | None = None) -> Outcome:
    """Do one task; nothing a component raises comes out, except what interrupts the program."""
    with _turn, one_thread():
        registry = recipe.registry()
        if task.cell is not None:
            return Outcome(task, run_cell(registry, task.cell, folder, task.wanted))
        try:
            train(registry, task.line, folder, task.timeout, report)
        except Stopped as stopped:
            return Outcome(task, [], stopped.failure)
        return Outcome(task, [])
