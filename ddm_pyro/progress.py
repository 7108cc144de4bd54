"""A progress bar that is silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import SupportsFloat

Report = Callable[[int, float], None]


@contextmanager
def progress_bar(
    show: bool | Report, steps: int, *, start: int = 0, what: str = "training", value: str = "loss"
) -> Iterator[Callable[[int, SupportsFloat], None]]:
    """A function (steps done, value) -> None: the caller's own, a bar on a terminal's stderr, or nothing.

    A tensor as the value is read only where it is shown: on an accelerator nobody waits for a bar nobody sees.
    """
    if callable(show):
        yield lambda done, current: show(done, float(current))
        return
    if not show or not sys.stderr.isatty():
        yield lambda done, current: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn(f"{value} {{task.fields[value]:.4g}}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=steps, completed=start, value=float("nan"))
        yield lambda done, current: bar.update(task, completed=done, value=float(current))
