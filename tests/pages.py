"""Run a documentation page the way a reader would: top to bottom, in one namespace, in an empty directory.

What the fences of a page mean:

- ``python``: executed. A comment ``# -> text`` after an expression is its expected value (its repr, or what it
  printed if it is None); further lines ``# -> text`` below it go on. ``...`` matches anything, as in doctest.
- any fence with ``title="name"``: written to that file, not executed.
- ``console``: lines beginning with ``$ ddm-pyro`` are run; lines below are what it prints, likewise with ``...``.
- a fence after the line ``<!-- not run: reason -->``: left alone.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FENCE = re.compile(
    r"(?P<skip><!-- not run: [^\n]+ -->\s*\n)?^(?P<pad> *)```(?P<language>\w+)(?P<options>[^\n]*)\n"
    r"(?P<code>.*?)^(?P=pad)```[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
TITLE = re.compile(r'title="([^"]+)"')
EXPECTED = re.compile(r"#\s*->\s?(.*)$", re.MULTILINE)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Fence:
    """One code block of a page: its language, file name if it has one, text, and the line its text starts at."""

    language: str
    title: str | None
    code: str
    line: int


def fences(page: Path) -> list[Fence]:
    """The blocks of a page that are run or written, in order."""
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        title = TITLE.search(match["options"])
        runs = title is not None or match["language"] in ("python", "console")
        if match["skip"] or not runs:
            continue
        pad = len(match["pad"])
        code = "".join(line[pad:] for line in match["code"].splitlines(keepends=True))
        line = text.count("\n", 0, match.start("code")) + 1
        found.append(Fence(match["language"], title[1] if title else None, code, line))
    return found


def run(page: Path, directory: Path) -> int:
    """Run a page in ``directory`` and return how many outputs were compared. Raises AssertionError if one differs."""
    module = types.ModuleType("__page__")
    compared = 0
    with contextlib.chdir(directory), _imported(module):
        for fence in fences(page):
            if fence.title is not None:
                Path(fence.title).write_text(fence.code)
            elif fence.language == "python":
                compared += _run_python(fence, vars(module), page)
            else:
                compared += _run_console(fence, page)
    return compared


@contextlib.contextmanager
def _imported(module: types.ModuleType) -> Iterator[None]:
    # Dataclasses look their module up by name.
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        del sys.modules[module.__name__]


def _run_python(fence: Fence, namespace: dict[str, Any], page: Path) -> int:
    lines = fence.code.splitlines()
    compared = 0
    tree = ast.parse("\n" * (fence.line - 1) + fence.code, filename=str(page))
    for statement in tree.body:
        expected = _expected(lines, statement, fence.line)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            if isinstance(statement, ast.Expr):
                value = eval(compile(ast.Expression(statement.value), str(page), "eval"), namespace)
            else:
                exec(compile(ast.Module([statement], []), str(page), "exec"), namespace)
                value = None
        if expected is not None:
            got = out.getvalue() if value is None else repr(value)
            _compare(expected, got, page, statement.lineno)
            compared += 1
    return compared


def _expected(lines: list[str], statement: ast.stmt, first: int) -> str | None:
    """The text of the output comments on the statement's last line and the lines right below."""
    at = (statement.end_lineno or statement.lineno) - first
    match = EXPECTED.search(lines[at])
    found = [match[1]] if match else []
    for line in lines[at + 1 :]:
        match = EXPECTED.match(line)
        if not match:
            break
        found.append(match[1])
    return "\n".join(found) if found else None


def _run_console(fence: Fence, page: Path) -> int:
    compared = 0
    for part in re.split(r"^\$ ", fence.code, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        words = shlex.split(command, comments=True)
        if words[0] != "ddm-pyro":
            continue
        program = [sys.executable, "-c", "from ddm_pyro.cli import main; main()", *words[1:]]
        done = subprocess.run(
            program,
            capture_output=True,
            text=True,
            env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"},
            check=False,
        )
        assert done.returncode == 0, f"{page}: {command!r} failed with {done.returncode}:\n{done.stdout}{done.stderr}"
        if expected.strip():
            _compare(expected.strip(), done.stdout.strip(), page, fence.line)
            compared += 1
    return compared


def _compare(expected: str, got: str, page: Path, line: int) -> None:
    right = doctest.OutputChecker().check_output(expected.strip() + "\n", got.strip() + "\n", OPTIONS)
    assert right, f"{page}:{line} promises\n{expected}\nbut gives\n{got}"
