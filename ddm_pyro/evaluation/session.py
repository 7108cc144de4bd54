"""One evaluation under way: what is missing, who computes it, and the one process that writes rows."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddm_pyro.evaluation.artifacts import write_json
from ddm_pyro.evaluation.calibration import calibration_file
from ddm_pyro.evaluation.cells import Cell
from ddm_pyro.evaluation.environment import environment
from ddm_pyro.evaluation.errors import Halt
from ddm_pyro.evaluation.guard import Failure, plugins_of
from ddm_pyro.evaluation.keys import SCHEMA_VERSION, is_core
from ddm_pyro.evaluation.laws import sample_file
from ddm_pyro.evaluation.learning import is_trained, model_file
from ddm_pyro.evaluation.measuring import Row
from ddm_pyro.evaluation.plan import Plan
from ddm_pyro.evaluation.positions import positions_file
from ddm_pyro.evaluation.results import META, Results
from ddm_pyro.evaluation.rows import ROWS, RowLog, read_rows
from ddm_pyro.evaluation.work import Outcome, Recipe, Task, run
from ddm_pyro.plugins import Registry


@dataclass(frozen=True)
class Event:
    """Progress of an evaluation, handed to ``progress``.

    Attributes:
        stage: "train" or "cell".
        label: what is being, or has been, worked on.
        done, total: units of work; those of earlier runs count as done.
        part: share of the current unit, when it is known while it runs in this process.
        rows: of a cell that has just ended.

    Example:
        >>> Event("cell", "potts-chain masked euler x 4", done=3, total=10).part
        0.0
    """

    stage: str
    label: str
    done: int
    total: int
    part: float = 0.0
    rows: tuple[Row, ...] = ()


class Session:
    """One evaluation under way; this process alone writes rows."""

    def __init__(
        self,
        plan: Plan,
        registry: Registry,
        cells: Sequence[Cell],
        folder: Path,
        force: bool,
        progress: Callable[[Event], None] | None,
    ) -> None:
        self.plan, self.registry, self.cells, self.folder, self.progress = plan, registry, cells, folder, progress
        self.order = list(dict.fromkeys(key for cell in cells for key in cell.row_keys))
        self.labels = {key: cell.experiment for cell in cells for key in cell.row_keys}
        self.rows: dict[str, Row] = {}
        if (folder / ROWS).exists():
            known = {row["row_key"]: row for row in read_rows(folder)}
            self.rows = {} if force else {key: known[key] for key in self.order if key in known and final(known[key])}
        self.force = force
        self.recipe = Recipe(uuid.uuid4().hex, registry.manager.arguments)
        self.started = time.time()
        self.failed: dict[str, Failure] = {}
        self.done = self.total = 0

    def __enter__(self) -> Session:
        self.log = RowLog(self.folder / ROWS)
        self.recipe.share(self.registry)
        write_json(self.folder / "plan.json", self.plan.to_dict())
        self._write_meta(None)
        return self

    def __exit__(self, *exception: object) -> None:
        self.recipe.forget()
        self.log.close()
        self._write_meta(time.time() - self.started)

    def work(self, jobs: int) -> None:
        """Train and run what is missing."""
        pending = [task for cell in self.cells if (task := self._missing(cell)).wanted]
        lines = {task.line.train_key: task.line for task in pending if not any(i.problem for i in task.line.identities)}
        trainings = [
            Task(line, timeout=self.plan.timeout)
            for line in lines.values()
            if (self.force and line.is_trained) or not is_trained(self.folder, line)
        ]
        waiting = {task.line.train_key for task in trainings}
        self.total = len(self.cells) + len(trainings)
        self.done = len(self.cells) - len(pending)
        if self.force:
            self._discard(pending, trainings)
        self._through([*trainings, *(task for task in pending if task.line.train_key not in waiting)], jobs)
        later = [task for task in pending if task.line.train_key in waiting]
        for task in later:
            if task.line.train_key in self.failed:
                self._take(Outcome(task, task.failed_rows(self.failed[task.line.train_key])))
        self._through([task for task in later if task.line.train_key not in self.failed], jobs)

    def results(self) -> Results:
        """Rows in the plan's order, under the plan's labels."""
        rows = [{**self.rows[key], "experiment": self.labels[key]} for key in self.order if key in self.rows]
        return Results(rows, self.folder, self.meta)

    def _missing(self, cell: Cell) -> Task:
        return Task(cell.line, cell, frozenset(key for key in cell.row_keys if key not in self.rows), cell.timeout)

    def _discard(self, pending: Sequence[Task], trainings: Sequence[Task]) -> None:
        for task in trainings:
            model_file(self.folder, task.line).unlink(missing_ok=True)
            model_file(self.folder, task.line).with_suffix(".partial").unlink(missing_ok=True)
            calibration_file(self.folder, task.line).unlink(missing_ok=True)
        for task in pending:
            if task.cell is not None:
                sample_file(self.folder, task.cell).unlink(missing_ok=True)
                positions_file(self.folder, task.cell).unlink(missing_ok=True)
        for file in (self.folder / "floors").glob("*.json"):
            file.unlink()

    def _through(self, tasks: Sequence[Task], jobs: int) -> None:
        here = [task for task in tasks if jobs == 1 or task.stays]
        for outcome in self._serial(here):
            self._take(outcome)
        away = [task for task in tasks if not (jobs == 1 or task.stays)]
        if away:
            for outcome in parallel(away, self.recipe, self.folder, jobs):
                self._take(outcome)

    def _serial(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        for task in tasks:
            stage = "cell" if task.cell else "train"

            def report(part: float, label: str = task.label, stage: str = stage) -> None:
                try:
                    self._tell(Event(stage, label, self.done, self.total, part))
                except BaseException as cause:
                    raise Halt(cause) from cause

            self._tell(Event(stage, task.label, self.done, self.total))
            try:
                outcome = run(task, self.recipe, self.folder, report if self.progress else None)
            except Halt as halt:
                raise halt.cause from None
            yield outcome

    def _take(self, outcome: Outcome) -> None:
        if outcome.failure is not None:
            self.failed[outcome.task.line.train_key] = outcome.failure
        if outcome.rows:
            self.log.append(outcome.rows)
            self.rows |= {row["row_key"]: row for row in outcome.rows}
        self.done += 1
        stage = "cell" if outcome.task.cell else "train"
        self._tell(Event(stage, outcome.task.label, self.done, self.total, rows=tuple(outcome.rows)))

    def _tell(self, event: Event) -> None:
        if self.progress is not None:
            self.progress(event)

    def _write_meta(self, seconds: float | None) -> None:
        self.meta: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "name": self.plan.name,
            "plan": self.plan.to_dict(),
            "row_keys": self.order,
            "environment": environment(),
            "plugins": [record.as_dict() for record in self.registry.manager.records],
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
            "seconds": seconds,
            "counts": Results([self.rows[key] for key in self.order if key in self.rows]).counts,
            "complete": all(key in self.rows for key in self.order),
        }
        write_json(self.folder / META, self.meta)


def final(row: Row) -> bool:
    """Whether a row of an earlier run counts: a value, or a combination that does not exist.

    Example:
        >>> [final({"status": s, "stage": "sample"}) for s in ("ok", "skipped", "error", "timeout")]
        [True, True, False, False]
    """
    return row["status"] == "ok" or (row["status"] == "skipped" and row.get("stage") != "load")


def parallel(tasks: Sequence[Task], recipe: Recipe, folder: Path, jobs: int) -> Iterator[Outcome]:
    """Outcomes in the order in which workers finish; a task that kills its worker is an outcome as well."""
    from joblib import Parallel, delayed

    left = {task.key: task for task in tasks}
    try:
        for outcome in Parallel(n_jobs=jobs, return_as="generator_unordered")(
            delayed(run)(task, recipe, folder) for task in tasks
        ):
            del left[outcome.task.key]
            yield outcome
    except BrokenExecutor:
        # Whose fault it was cannot be seen, so what is left runs one at a time, each in a worker of its own.
        for task in left.values():
            try:
                (outcome,) = Parallel(n_jobs=2)([delayed(run)(task, recipe, folder)])
            except BrokenExecutor as error:
                yield died(task, error)
            else:
                yield outcome


def died(task: Task, error: BaseException) -> Outcome:
    """The outcome of a task whose worker did not come back."""
    stage = "train" if task.cell is None else "sample"
    names = ", ".join(dict.fromkeys(one.id for one in task.identities if not is_core(one))) or "core components only"
    reason = f"The worker process ended without an answer ({type(error).__name__}); at work: {names}."
    failure = Failure("error", stage, reason, type(error).__name__, plugin=plugins_of(task.identities))
    return Outcome(task, task.failed_rows(failure), None if task.cell else failure)
