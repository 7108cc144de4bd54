"""The group of all commands: the core's own, and those of plugins, which load when they are called."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from ddm_pyro.cli.failures import report_failure, sentence
from ddm_pyro.cli.output import note


class Cli(click.Group):
    """``ddm-pyro``: a failure is one sentence on stderr and an exit code; ``--debug`` shows the traceback.

    A plugin's command has its short name if nobody else has it, and always its full id. One that cannot be loaded
    costs only itself.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The core's commands, then those of plugins."""
        return [*super().list_commands(ctx), *self._plugin_commands()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by name; those of plugins are imported here."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        id = cmd_name if "/" in cmd_name else self._plugin_commands().get(cmd_name)
        return None if id is None else _load(id)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with the closest command when there is none."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from ddm_pyro.plugins import did_you_mean

            hint = did_you_mean(args[0], self.list_commands(ctx)) if args else ""
            raise click.UsageError(f"There is no command {args[0]!r}.{hint}" if args else error.message, ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands; plugins' own come by their summaries, without importing them."""
        own = [(name, command.get_short_help_str(80)) for name, command in self.commands.items() if not command.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(own)
        plugins = self._plugin_commands()
        if plugins:
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(name, _summary(id)) for name, id in plugins.items()])

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run a command and leave with its exit code."""
        arguments = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in arguments
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a terminal without the character gets a question mark
                stream.reconfigure(errors="replace")
        try:
            with _switches(arguments):
                code = super().main(arguments, prog_name or "ddm-pyro", **{**extra, "standalone_mode": False})
                sys.stdout.flush()
        except BrokenPipeError:
            # The reader, such as head, has had enough; writing to what it left open would fail once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 0
        except Exception as error:
            code = report_failure(error, debug=debug)
        except KeyboardInterrupt as error:
            code = report_failure(error, debug=debug)
        sys.exit(code if isinstance(code, int) else 0)

    def _plugin_commands(self) -> Mapping[str, str]:
        """Name to type -> id."""
        try:
            from ddm_pyro.plugins import default_registry

            ids = default_registry().ids("commands")
        except Exception as error:
            note(f"Commands of plugins are not available: {sentence(error)}")
            return {}
        tails = [id.partition("/")[2] for id in ids]
        names = {}
        for id, tail in zip(ids, tails, strict=True):
            names[tail if tails.count(tail) == 1 and tail not in self.commands else id] = id
        return names


@contextmanager
def _switches(arguments: Sequence[str]) -> Iterator[None]:
    """Load plugins as the arguments say, here and in worker processes; afterwards the environment is as before."""
    from ddm_pyro.plugins import LoadOptions, configure, default_registry

    try:
        options = LoadOptions.build(arguments)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    before = dict(os.environ)
    changed = options != LoadOptions.from_environment()
    if changed:
        configure(options)
        os.environ.update(options.to_environment())
        if unmatched := default_registry().manager.unmatched:
            note(f"No installed plugin is called {' or '.join(map(repr, unmatched))}.")
    try:
        yield
    finally:
        if changed:
            for name in options.to_environment():
                os.environ.pop(name, None)
                if name in before:
                    os.environ[name] = before[name]
            configure()


def _load(id: str) -> click.Command:
    """A plugin's command; one that fails is a command that says so."""
    from ddm_pyro.plugins import default_registry

    command = default_registry().load("commands", id)
    if not isinstance(command, click.Command):
        raise click.ClickException(f"The command {id!r} is {type(command).__name__}, not a click command.")
    return command


def _summary(id: str) -> str:
    from ddm_pyro.plugins import default_registry

    component = default_registry().component("commands", id)
    return component.spec.summary or f"from {component.plugin.provider}"
