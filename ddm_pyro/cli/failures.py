"""From an exception to one sentence and an exit code."""

from __future__ import annotations

import sys
import traceback
from typing import Final

import click

#: Exit codes. USAGE is for whatever cannot be carried out as asked: commands, plans, ids, files that cannot be read.
FAILED: Final = 1
USAGE: Final = 2
ERROR_ROWS: Final = 3
VIOLATED: Final = 4
INTERRUPTED: Final = 130


class Interrupted(click.ClickException):
    """Ctrl-C, with a sentence about what is kept and how to go on."""

    exit_code = INTERRUPTED


class Refused(click.ClickException):
    """A request that cannot be carried out as it stands: unknown ids, unreadable plans."""

    exit_code = USAGE


def report_failure(error: BaseException, *, debug: bool) -> int:
    """Write a failure to stderr and return the exit code; the traceback only when asked for."""
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    # Not in every version of click; its message is the help.
    if isinstance(error, click.UsageError) and type(error).__name__ == "NoArgsIsHelpError":
        click.echo(error.format_message())
        return 0
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "ddm-pyro"
        message = " ".join(error.format_message().split())
        click.echo(f"Error: {message} See '{path} --help'.", err=True)
        return USAGE
    if isinstance(error, click.ClickException):
        click.echo(f"{_word(error)}{error.format_message()}", err=True)
        return error.exit_code
    click.echo(f"Error: {sentence(error)}", err=True)
    if not debug and not isinstance(error, ValueError | TypeError | OSError | NotImplementedError):
        click.echo("Run the command again with --debug to see where.", err=True)
    return USAGE if _is_request(error) else FAILED


def sentence(error: BaseException) -> str:
    """The first paragraph of an exception's message on one line, with its type where the message says too little.

    Example:
        >>> sentence(ValueError("steps=0 must be\\n at least 1.")), sentence(KeyError("x"))
        ('steps=0 must be at least 1.', "KeyError: 'x'")
    """
    try:
        message = " ".join(str(error).split())
    except Exception:  # a plugin's exception whose own __str__ fails
        message = ""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename!r}." if error.filename else f"{error.strerror}."
    if isinstance(error, ValueError | TypeError | NotImplementedError | OSError) and message:
        return message
    return f"{type(error).__name__}: {message}" if message else f"{type(error).__name__}."


def _is_request(error: BaseException) -> bool:
    """Whether what was asked for is at fault. By name: importing the classes would import the evaluation."""
    return any(one.__name__ in ("PlanError", "PluginError", "RowsError") for one in type(error).__mro__)


def _word(error: click.ClickException) -> str:
    return "" if isinstance(error, Interrupted) else "Error: "
