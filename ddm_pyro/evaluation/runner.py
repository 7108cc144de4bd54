"""``evaluate``: the cells of a plan, each once, whatever the order, the number of jobs or an interruption."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ddm_pyro.evaluation.cells import cells_of
from ddm_pyro.evaluation.errors import PlanError
from ddm_pyro.evaluation.keys import namespace
from ddm_pyro.evaluation.plan import Plan
from ddm_pyro.evaluation.results import Results
from ddm_pyro.evaluation.session import Event, Session
from ddm_pyro.evaluation.validation import check_plan
from ddm_pyro.plugins import LoadOptions, Manager, Registry, default_registry


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
        with Session(plan, registry, cells, prepared(folder), force, progress) as session:
            session.work(jobs)
        results = session.results()
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
