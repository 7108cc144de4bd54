"""A progress bar that is silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[int, float], None]


@contextmanager
def progress_bar(show: bool | Report, start: int, steps: int) -> Iterator[Report]:
    """A function (steps done, loss) -> None: the caller's own, a bar on a terminal's stderr, or nothing."""
    if callable(show):
        yield show
        return
    if not show or not sys.stderr.isatty():
        yield lambda done, loss: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.4g}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("training", total=steps, completed=start, loss=float("nan"))
        yield lambda done, loss: bar.update(task, completed=done, loss=loss)
