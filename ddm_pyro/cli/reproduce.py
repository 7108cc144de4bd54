"""``ddm-pyro reproduce``: claims of papers, recomputed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddm_pyro.cli.failures import FAILED, Refused, sentence
from ddm_pyro.cli.options import as_json, common
from ddm_pyro.cli.output import console, echo_json, note

if TYPE_CHECKING:
    from ddm_pyro.reproduce import Outcome

#: Where files go unless said otherwise.
OUT = Path("reproduced")
#: All experiments, one after the other.
ALL = "all"
#: Seconds between two lines where there is no terminal.
PAUSE = 20.0


@click.command()
@click.argument("name", required=False)
@click.option("--list", "listing", is_flag=True, help="List the experiments and what they test.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=OUT, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of draws and of training.")
@click.option("--quick", is_flag=True, help="A part of each experiment only, in seconds.")
@as_json
@common
def reproduce(name: str | None, listing: bool, out: Path, seed: int, quick: bool, json: bool) -> None:
    """Recompute a claim of a paper, and say whether it holds.

    NAME is an experiment of --list, or "all". Numbers (NAME.csv), verdicts (NAME.json), a plot (NAME.svg) and a page
    (NAME.md) are written into the directory of --out. The exit code is 0 when every check passes and 1 otherwise.
    """
    if listing:
        return _list(json)
    if name is None:
        raise Refused("Name an experiment; ddm-pyro reproduce --list lists them, and all runs them all.")
    from ddm_pyro.reproduce import Work, experiment, names
    from ddm_pyro.reproduce import reproduce as run

    try:
        wanted = names() if name == ALL else [experiment(name).name]
    except ValueError as error:
        raise Refused(sentence(error)) from None
    out.mkdir(parents=True, exist_ok=True)  # where nothing can be written, say so before minutes of work
    values, outcomes = [], []
    for one in wanted:
        start = time.monotonic()
        with _watched(one) as tell:
            outcome = run(one, out=out, work=Work(seed, quick, tell))
        seconds = time.monotonic() - start
        outcomes.append(outcome)
        values.append({**outcome.values(), "seconds": round(seconds, 2), "files": _files(out, one)})
        if not json:
            _tell(outcome, seconds, out)
    if json:
        echo_json(values if name == ALL else values[0])
    if name == ALL:
        _summarize(outcomes, out)
    if not all(outcome.passed for outcome in outcomes):
        raise SystemExit(FAILED)


def _list(json: bool) -> None:
    from ddm_pyro.reproduce import experiment, names

    found = [experiment(name) for name in names()]
    if json:
        echo_json([{"name": one.name, "title": one.title, "claim": one.claim, "source": one.source} for one in found])
        return
    for one in found:
        click.echo(f"{one.name}: {one.title}\n    {one.source}")


def _tell(outcome: Outcome, seconds: float, out: Path) -> None:
    """A line a check, then the verdict."""
    for check in outcome.checks:
        mark = "pass" if check.passed else "FAIL"
        click.echo(f"{mark}  {check.statement}: {check.value:.4g} ({check.required}; {check.source})")
    mark = "PASS" if outcome.passed else "FAIL"
    one = outcome.experiment
    click.echo(f"{mark}  {one.name}, {one.source}: {one.title}. {seconds:.1f} s; {out / one.name}.svg")


def _summarize(outcomes: list[Outcome], out: Path) -> None:
    """summary.md: a line an experiment."""
    from ddm_pyro.evaluation.artifacts import write_whole
    from ddm_pyro.reproduce.pages import summary

    write_whole(out / "summary.md", summary([(one.experiment, one.checks) for one in outcomes]).encode())


def _files(out: Path, name: str) -> list[str]:
    return [str(out / f"{name}.{kind}") for kind in ("csv", "json", "svg", "md")]


@contextmanager
def _watched(name: str) -> Iterator[Callable[[int, int, str], None]]:
    """A function to be told how far the experiment is; a bar on a terminal, now and then a line elsewhere."""
    out = console(err=True)
    if not out.is_terminal:
        yield _Lines(name)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    parts: tuple[Any, ...] = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*parts, console=out, transient=True) as bar:
        task = bar.add_task(name, total=None)

        def tell(done: int, total: int, label: str) -> None:
            bar.update(task, completed=done, total=total, description=f"{name}: {label} {done}/{total}")

        yield tell


class _Lines:
    """One line every PAUSE seconds, for logs."""

    def __init__(self, name: str) -> None:
        self.name, self.last = name, time.monotonic()

    def __call__(self, done: int, total: int, label: str) -> None:
        if time.monotonic() - self.last >= PAUSE:
            self.last = time.monotonic()
            note(f"{self.name}: {label} {done}/{total}")
