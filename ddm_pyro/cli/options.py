"""Options that every command has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def common(function: F) -> F:
    """Add ``--debug``, ``--no-plugins`` and ``--disable-plugin``; they are read before any command runs.

    The command's function does not get them.
    """
    for option in (
        click.option("--debug", is_flag=True, expose_value=False, help="Show where an error comes from."),
        click.option("--no-plugins", is_flag=True, expose_value=False, help="Use the built-ins only."),
        click.option(
            "--disable-plugin",
            metavar="NAME",
            multiple=True,
            expose_value=False,
            help="Do not load this plugin; may be repeated.",
        ),
    ):
        function = option(function)
    return function


def as_json(function: F) -> F:
    """Add ``--json``, given to the function as ``json``."""
    return click.option("--json", "json", is_flag=True, help="Write JSON to stdout.")(function)
