"""What a long evaluation shows on stderr: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ddm_pyro.cli.output import console, note

if TYPE_CHECKING:
    from ddm_pyro.evaluation import Event

#: Seconds between two lines where there is no terminal.
PAUSE = 20.0


@contextmanager
def watched() -> Iterator[Callable[[Event], None]]:
    """A function to be told of events; the bar disappears at the end."""
    out = console(err=True)
    if not out.is_terminal:
        yield _Lines()
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.table import Column

    current = TextColumn("{task.fields[label]}", markup=False, table_column=Column(ratio=1, no_wrap=True))
    columns = (
        TextColumn("{task.fields[count]}", markup=False),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        current,
    )
    with Progress(*columns, console=out, transient=True, expand=True) as bar:
        task = bar.add_task("", total=None, label="reading the plan", count="")
        seen: Counter[str] = Counter()

        def tell(event: Event) -> None:
            seen.update(str(row.get("status")) for row in event.rows)
            bar.update(
                task,
                total=max(event.total, 1),
                completed=event.done + event.part,
                label=describe(event),
                count=f"{event.done}/{event.total}{_trouble(seen)}",
            )

        yield tell


def describe(event: Event) -> str:
    """What is being worked on.

    Example:
        >>> from ddm_pyro.evaluation import Event
        >>> describe(Event("train", "digits masked x0", done=0, total=9, part=0.25))
        'training digits masked x0 (25%)'
    """
    part = f" ({event.part:.0%})" if event.part else ""
    return f"{'training ' if event.stage == 'train' else ''}{event.label}{part}"


class _Lines:
    """A line at the start and then one every PAUSE seconds, for logs."""

    def __init__(self) -> None:
        self._last = -PAUSE
        self._seen: Counter[str] = Counter()

    def __call__(self, event: Event) -> None:
        self._seen.update(str(row.get("status")) for row in event.rows)
        if time.monotonic() - self._last >= PAUSE:
            self._last = time.monotonic()
            note(f"{event.done}/{event.total}{_trouble(self._seen)}  {describe(event)}")


def _trouble(seen: Counter[str]) -> str:
    failed = seen["error"] + seen["timeout"]
    return f", {failed} failed" if failed else ""
