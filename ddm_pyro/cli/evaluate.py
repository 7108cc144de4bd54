"""``ddm-pyro evaluate``: run a plan, print its tables, write its report."""

from __future__ import annotations

import hashlib
import json as jsonlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ddm_pyro.cli.failures import ERROR_ROWS, VIOLATED, Interrupted, Refused
from ddm_pyro.cli.options import as_json, common
from ddm_pyro.cli.output import console, echo_json, note, noted
from ddm_pyro.cli.references import identify, parse_source, tell_reading

if TYPE_CHECKING:
    from ddm_pyro.evaluation import Plan

RUNS = "runs"


@click.command()
@click.argument("plan", metavar="[PLAN.toml]", required=False, type=click.Path(path_type=Path))
@click.option("--target", metavar="TARGET_OR_FILE", help="Instead of a plan: learn this, such as my.csv.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Directory of the run, instead of runs/NAME-HASH."
)
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Cells computed at the same time."
)
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the plan's own.")
@click.option("--force", is_flag=True, help="Compute again what is already there.")
@click.option("--allow-errors", is_flag=True, help="Do not fail when some cells do.")
@as_json
@common
def evaluate(
    plan: Path | None,
    target: str | None,
    out: Path | None,
    jobs: int,
    seed: int | None,
    force: bool,
    allow_errors: bool,
    json: bool,
) -> int:
    """Run a plan, or the built-in one, and report on it.

    The built-in plan judges samplers on real digits, real text and laws that are known exactly. With --target, a
    small plan trains a masked model on a file (.npy, .csv, .tsv, .txt; 'my.csv{missing="drop"}') or on a target by id,
    and judges a few samplers against its rows.

    The run goes to runs/NAME-HASH, where HASH stands for the plan's content and seed: the same command goes on where
    an interrupted one stopped, and a changed plan gets a directory of its own.

    Exit codes: 0 done, 1 the program failed, 2 the plan cannot be run, 3 some cells failed (--allow-errors: 0), 4 a
    bound was violated, 130 interrupted.
    """
    from dataclasses import replace

    from ddm_pyro.cli.progress import watched
    from ddm_pyro.evaluation import Plan, check_plan, evaluate
    from ddm_pyro.evaluation.rows import ROWS
    from ddm_pyro.evaluation.runner import registry_for
    from ddm_pyro.report import HtmlReport, Run, print_run
    from ddm_pyro.report.problems import counts, violations_of

    if target is not None and plan is not None:
        raise Refused(f"Give a plan ({str(plan)!r}) or --target, not both; a plan names its targets itself.")
    with noted():
        chosen = _plan_for(target) if target is not None else Plan.load(plan) if plan is not None else Plan.default()
        if seed is not None:
            chosen = replace(chosen, seed=seed)
        # evaluate checks as well, but no run is announced that is refused.
        check_plan(chosen, registry_for(chosen, None))
    directory = out or Path(RUNS) / directory_name(chosen)
    note(f"Plan {chosen.name!r} in {directory}")
    try:
        with watched() as progress:
            results = evaluate(chosen, out=directory, jobs=jobs, progress=progress, force=force)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted. What is finished is kept in {directory}; run the same command again to go on."
        ) from None
    run = Run(results.rows, results.meta, directory)
    (page,) = HtmlReport()(run, directory)
    found, violated = counts(run.rows), violations_of(run.rows)
    code = 0
    if not allow_errors and (found.get("error", 0) or found.get("timeout", 0)):
        code = ERROR_ROWS
    if violated:
        code = VIOLATED
    if json:
        echo_json(
            {
                "plan": chosen.name,
                "seed": chosen.seed,
                "directory": str(directory),
                "rows": str(directory / ROWS),
                "report": str(page),
                "status": found,
                "violations": len(violated),
                "exit_code": code,
            }
        )
    else:
        print_run(run, console(), report=str(page))
    return code


def _plan_for(source: str) -> Plan:
    """The small plan on a target or file."""
    from ddm_pyro.evaluation import Plan, Ref
    from ddm_pyro.plugins import default_registry

    id, params = parse_source(source)
    identify("targets", (id, params), "The target")
    built = default_registry().create("targets", id, **params)
    tell_reading(built)
    name = Path(params["path"]).stem if "path" in params else id.rpartition("/")[2]
    return Plan.for_target(Ref(id, params), built.space.length, name)


def directory_name(plan: Plan) -> str:
    """Name and content of a plan, as a directory: equal plans, and no others, share one.

    Example:
        >>> from ddm_pyro.evaluation import Plan
        >>> directory_name(Plan((), name="My plan!")).rpartition("-")[0]
        'my-plan'
    """
    content = jsonlib.dumps(plan.to_dict(), sort_keys=True)
    name = re.sub(r"[^a-z0-9]+", "-", plan.name.lower()).strip("-") or "plan"
    return f"{name[:40]}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
