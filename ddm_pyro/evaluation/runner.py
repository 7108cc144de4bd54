"""``evaluate``: the cells of a plan, each once, whatever the order, the number of jobs or an interruption."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ddm_pyro.evaluation.artifacts import write_json
from ddm_pyro.evaluation.cells import Cell, cells_of
from ddm_pyro.evaluation.environment import environment
from ddm_pyro.evaluation.errors import Halt, PlanError
from ddm_pyro.evaluation.guard import Failure
from ddm_pyro.evaluation.keys import SCHEMA_VERSION, namespace
from ddm_pyro.evaluation.learning import is_trained
from ddm_pyro.evaluation.measuring import Row, failed_row
from ddm_pyro.evaluation.plan import Plan
from ddm_pyro.evaluation.results import META, Results
from ddm_pyro.evaluation.rows import ROWS, RowLog, read_rows
from ddm_pyro.evaluation.validation import check_plan
from ddm_pyro.evaluation.work import Outcome, Recipe, Task, run
from ddm_pyro.plugins import LoadOptions, Manager, Registry, default_registry


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


def evaluate(
    plan: Plan,
    *,
    out: str | Path | None = None,
    jobs: int = 1,
    progress: Callable[[Event], None] | None = None,
    registry: Registry | None = None,
    force: bool = False,
    allow_errors: bool = True,
) -> Results:
    """Run a plan: train what is to be trained, sample or compute each law, measure.

    With ``out`` everything is kept there (rows.jsonl, meta.json, plan.json, models/, samples/, floors/) and a second
    run computes only what is missing: other plans may share the directory. Rows with status error or timeout are tried
    again. Values depend on the plan alone: not on the order, on ``jobs``, or on interruptions.

    Args:
        plan: what to evaluate.
        out: directory of the run; None keeps nothing but the rows returned. Workers on other machines must see it.
        jobs: processes; 1 works in this one, others go through joblib, so that ``joblib.parallel_config`` chooses the
            backend. Cells with components registered in this process only (``local/``) stay here.
        progress: called with an ``Event`` when a unit of work starts, goes on, and ends.
        registry: where components come from; default the process's own.
        force: compute everything anew.
        allow_errors: False raises once everything has run and any row has status error or timeout.

    Raises:
        PlanError: before anything runs.
        RowsError: ``out`` holds a corrupt file of rows, or another evaluation is writing there.
        RuntimeError: failed rows, under ``allow_errors=False``; they are in ``out`` like all others.

    Example:
        >>> plan = Plan.from_dict({"experiments": [{
        ...     "target": {"id": "core/potts-chain", "num_states": 2, "length": 3, "coupling": 1.0},
        ...     "rate": "core/masked", "schedule": "core/linear", "parameterization": "core/exact",
        ...     "samplers": ["core/first-hitting"], "metrics": ["core/tv"]}]})
        >>> (row,) = evaluate(plan).rows
        >>> row["kind"], row["value"] < 1e-12, row["nfe"]
        ('exact', True, 3.0)
    """
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs == 0:
        raise PlanError(f"jobs = {jobs!r} must be a whole number other than 0; -1 stands for all processors.")
    registry = registry_for(plan, registry)
    check_plan(plan, registry)
    cells = cells_of(plan, registry)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()) if out is None else out)
        run_ = _Run(plan, registry, cells, prepared(folder), force, progress)
        with run_:
            run_.work(jobs)
        results = run_.results()
    if not allow_errors and results.failures:
        first = results.failures[0]
        raise RuntimeError(f"{len(results.failures)} of {len(results.rows)} rows failed; the first: {first['reason']}")
    return results if out is not None else replace(results, path=None)


def registry_for(plan: Plan, registry: Registry | None) -> Registry:
    """The registry with the plan's own switches applied, before any plugin is imported.

    Raises:
        PlanError: the plan disables plugins, but this process has registered components that would be forgotten.
    """
    registry = default_registry() if registry is None else registry
    options = registry.manager.options
    try:
        wanted = LoadOptions(options.disable | frozenset(plan.disable), options.only, options.strict)
    except ValueError as error:
        raise PlanError(f"disable: {error}") from None
    if wanted == options:
        return registry
    if any(namespace(one.id) == "local" for one in registry.manager.components):
        raise PlanError(
            "disable needs plugins to be loaded anew, which would forget what this process has registered under "
            "local/; switch the plugins off with ddm_pyro.plugins.configure(LoadOptions(disable=...)) first."
        )
    return Registry(Manager(**{**registry.manager.arguments, "options": wanted}))


def prepared(folder: Path) -> Path:
    """The directory of a run, made if need be. Raises PlanError when there is a file in its place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlanError(f"The directory {str(folder)!r} cannot be made: {error.strerror or error}.") from None
    return folder


class _Run:
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

    def __enter__(self) -> _Run:
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
                failure = self.failed[task.line.train_key]
                metrics = [one for one in task.cell.metrics if task.cell.row_key(one) in task.wanted]  # type: ignore[union-attr]
                self._take(Outcome(task, [failed_row(task.cell, one, failure) for one in metrics]))  # type: ignore[arg-type]
        self._through([task for task in later if task.line.train_key not in self.failed], jobs)

    def results(self) -> Results:
        """Rows in the plan's order, under the plan's labels."""
        rows = [{**self.rows[key], "experiment": self.labels[key]} for key in self.order if key in self.rows]
        return Results(rows, self.folder, self.meta)

    def _missing(self, cell: Cell) -> Task:
        return Task(cell.line, cell, frozenset(key for key in cell.row_keys if key not in self.rows), cell.timeout)

    def _discard(self, pending: Sequence[Task], trainings: Sequence[Task]) -> None:
        from ddm_pyro.evaluation.laws import sample_file
        from ddm_pyro.evaluation.learning import model_file

        for task in trainings:
            model_file(self.folder, task.line).unlink(missing_ok=True)
            model_file(self.folder, task.line).with_suffix(".partial").unlink(missing_ok=True)
        for task in pending:
            if task.cell is not None:
                sample_file(self.folder, task.cell).unlink(missing_ok=True)
        for file in (self.folder / "floors").glob("*.json"):
            file.unlink()

    def _through(self, tasks: Sequence[Task], jobs: int) -> None:
        here = [task for task in tasks if jobs == 1 or task.stays]
        for outcome in self._serial(here):
            self._take(outcome)
        away = [task for task in tasks if not (jobs == 1 or task.stays)]
        if away:
            for outcome in _parallel(away, self.recipe, self.folder, jobs):
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


def _parallel(tasks: Sequence[Task], recipe: Recipe, folder: Path, jobs: int) -> Iterator[Outcome]:
    from joblib import Parallel, delayed

    pool = Parallel(n_jobs=jobs, return_as="generator_unordered")
    yield from pool(delayed(run)(task, recipe, folder) for task in tasks)
