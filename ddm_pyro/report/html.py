"""Pages from templates, written whole."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ddm_pyro.report.labels import short
from ddm_pyro.report.numbers import duration, show, whole
from ddm_pyro.report.problems import words
from ddm_pyro.report.tables import describe_point, limits_text

if TYPE_CHECKING:
    from jinja2 import Template


def write(text: str, path: Path) -> Path:
    """Write text whole or not at all: an interruption leaves what was there before.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


@cache
def template(name: str) -> Template:
    """A page of the package: whatever a row says is escaped, a missing entry is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ddm_pyro"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(show=show, whole=whole, duration=duration, words=words, short=short)
    environment.globals.update(describe_point=describe_point, limits_text=limits_text)
    return environment.get_template(name)
