"""Components on the command line: ``core/euler``, or with parameters ``core/first-hitting{refresh=4}``."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddm_pyro.cli.failures import Refused
from ddm_pyro.cli.output import note

if TYPE_CHECKING:
    from ddm_pyro.evaluation import Ref
    from ddm_pyro.evaluation.keys import Identity


class Component(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in newer versions only
    """An id with parameters, as (id, parameters)."""

    name = "id"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, dict[str, Any]]:
        """Read the text; parameters are written as in a TOML file."""
        if isinstance(value, tuple):
            return value
        try:
            return parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Id and parameters.

    Raises:
        ValueError: braces that hold no TOML table.

    Example:
        >>> parse("core/euler"), parse("core/k-unmask{sizes=[2, 1], note='x'}")
        (('core/euler', {}), ('core/k-unmask', {'sizes': [2, 1], 'note': 'x'}))
    """
    found = re.fullmatch(r"([^{}]+?)\s*(\{.*\})?", text.strip(), re.DOTALL)
    try:
        if found is None:
            raise ValueError
        return found[1], tomllib.loads(f"params = {found[2] or '{}'}")["params"]
    except ValueError:
        raise ValueError(f"{text!r} is not read; write an id, or 'id{{name=value, other=\"text\"}}'.") from None


def parse_source(text: str) -> tuple[str, dict[str, Any]]:
    """A target's id and parameters, or those of a file of data: ``my.csv``, ``'my.csv{missing="drop"}'``.

    Raises:
        ValueError: braces that hold no TOML table.

    Example:
        >>> parse_source("my.csv{bins=8}"), parse_source("core/digits")
        (('core/file', {'path': 'my.csv', 'bins': 8}), ('core/digits', {}))
    """
    from ddm_pyro.targets.file import FORMATS

    name, params = parse(text)
    if Path(name).suffix.lower() in FORMATS or Path(name).is_file():
        return "core/file", {"path": name, **params}
    return name, params


def identify(kind: str, component: tuple[str, dict[str, Any]], what: str) -> Identity:
    """Look a component up and check the names of its parameters.

    Raises:
        Refused: an unknown id or parameter, with the closest known one.
        BrokenPluginError: it belongs to a plugin that cannot be used.
    """
    from ddm_pyro.evaluation import PlanError, Ref
    from ddm_pyro.evaluation.keys import Identity
    from ddm_pyro.evaluation.validation import check_reference
    from ddm_pyro.plugins import default_registry

    reference: Ref = Ref(*component)
    registry = default_registry()
    try:
        check_reference(registry, kind, reference, what)
    except PlanError as error:
        raise Refused(str(error)) from None
    registry.load(kind, reference.id)
    return Identity.of(registry, kind, reference)


def tell_reading(target: Any) -> None:
    """Say how a file was read: header, columns, rows left out; nothing for other targets."""
    from ddm_pyro.targets import File

    if isinstance(target, File):
        note(f"{target.path}: {target.reading}.")
