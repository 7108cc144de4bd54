"""Options that every command has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Device(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in newer versions only
    """A device that torch has here, as its name."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Put an empty tensor there."""
        import torch

        try:
            torch.empty(0, device=value)
        except (RuntimeError, AssertionError):  # unknown names; torch without that backend
            self.fail(f"torch has no device {value!r} here; give cpu, or leave it out.", param, ctx)
        return str(value)


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
