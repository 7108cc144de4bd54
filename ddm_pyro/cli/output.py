"""What commands write: JSON or words on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console


def echo_json(value: Any) -> None:
    """One JSON document on stdout; NaN and infinities, which JSON has not, as strings."""
    click.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False, default=str))


def note(text: str) -> None:
    """One line on stderr."""
    click.echo(text, err=True)


@contextmanager
def noted() -> Iterator[None]:
    """Warnings become notes, each said once."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        yield
    for text in dict.fromkeys(str(one.message) for one in told):
        note(f"Note: {text}")


def console(*, err: bool = False) -> Console:
    """A rich console on stdout or stderr as they are now; 100 columns where there is no terminal."""
    import shutil
    import sys

    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    width = None if stream.isatty() else shutil.get_terminal_size((100, 24)).columns
    return Console(file=stream, width=width, highlight=False)


def _plain(value: Any) -> Any:
    """The value with numbers that JSON cannot write as strings.

    Example:
        >>> _plain({"a": (float("nan"), float("inf"), 1)})
        {'a': ['nan', 'inf', 1]}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
