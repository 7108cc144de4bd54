"""Delimited text files as rows of cells: every way such a file can be broken is one sentence."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddm_pyro.targets.columns import MISSING, is_number


@dataclass(frozen=True)
class Table:
    """Rows of equally many cells.

    Attributes:
        names: of the columns.
        rows: cells without the spaces around them.
        lines: the line of the file each row ends on, from 1.
        has_header: whether the first line was read as names.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    has_header: bool

    def keep(self, columns: Sequence[str | int]) -> Table:
        """The named columns only; a whole number counts columns from 0.

        Raises:
            ValueError: no such column, a column twice, none at all.
        """
        if isinstance(columns, str | int):
            raise ValueError(f"columns={columns!r} must be a list, such as [{columns!r}].")
        chosen = []
        for one in columns:
            known = self.names.index(one) if one in self.names else one
            if isinstance(known, bool) or not isinstance(known, int) or not 0 <= known < len(self.names):
                raise ValueError(f"columns names {one!r}; the file has {', '.join(map(repr, self.names))}.")
            chosen.append(known)
        if not chosen or len(set(chosen)) < len(chosen):
            raise ValueError(f"columns={columns!r} must name at least one column, and none twice.")
        rows = tuple(tuple(row[k] for k in chosen) for row in self.rows)
        return Table(tuple(self.names[k] for k in chosen), rows, self.lines, self.has_header)


def read_text(path: Path, encoding: str) -> str:
    """A file's text, line ends as they are.

    Raises:
        ValueError: it cannot be read, or is no text in this encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from None
    try:
        text = data.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    except LookupError:
        raise ValueError(f"encoding={encoding!r} is unknown; write one like 'utf-8' or 'latin-1'.") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        likely = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "latin-1"
        raise ValueError(
            f"{str(path)!r} is no {encoding} text: byte {data[error.start]:#04x} in line {line}; "
            f"save it as UTF-8, or give its encoding, for example encoding={likely!r}."
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{str(path)!r} holds a zero byte in line {line}; it is a binary file, or in UTF-16.")
    return text


def read_table(path: Path, *, delimiter: str | None, header: Any, encoding: str) -> Table:
    """A delimited file.

    Empty lines are left out (in a table of one column they are missing values, but for those at the end). A first
    line is taken for names, under ``header="auto"``, when no cell of it is a number and either some column has only
    numbers below, or its cells are all different, none missing, and none occurs again in its column.

    Args:
        delimiter: one character; None for a tab in ``.tsv`` files and a comma in others.
        header: "auto", True or False.

    Raises:
        ValueError: with the line, for what is no table.
    """
    if header not in ("auto", True, False):
        raise ValueError(f"header={header!r} must be 'auto', True or False.")
    if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n'):
        raise ValueError(f"delimiter={delimiter!r} must be one character, such as ';'.")
    name, text = str(path), read_text(path, encoding)
    mark = delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    numbered = _cells(text, mark, name)
    if not numbered:
        raise ValueError(f"{name!r} is empty; a table needs at least one row.")
    width = len(numbered[0][1])
    for line, cells in numbered:
        if len(cells) != width:
            raise ValueError(
                f"{name!r}: line {line} has {len(cells)} cells and line {numbered[0][0]} has {width}; every row needs "
                f"equally many (quote cells that hold {mark!r}{_other_mark(text, mark, delimiter)})."
            )
    if delimiter is None and width == 1:
        _look_for_delimiters(numbered, mark, name)
    first, below = numbered[0][1], [cells for _, cells in numbered[1:]]
    has_header = _is_header(first, below) if header == "auto" else bool(header)
    body = numbered[1:] if has_header else numbered
    if not body:
        raise ValueError(f"{name!r} has a header and no rows; a table needs at least one row (header=False reads it).")
    names = tuple(cell or f"column {k + 1}" for k, cell in enumerate(first if has_header else [""] * width))
    for k, one in enumerate(names):
        if one in names[:k]:
            raise ValueError(
                f"{name!r}: columns {names.index(one) + 1} and {k + 1} are both named {one!r}; rename one of them, or "
                "give header=False if the first line is a row."
            )
    return Table(names, tuple(tuple(cells) for _, cells in body), tuple(line for line, _ in body), has_header)


def _cells(text: str, mark: str, name: str) -> list[tuple[int, list[str]]]:
    """Line number and cells of every row."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    rows = []
    try:
        for cells in reader:
            rows.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise ValueError(
            f"{name!r}: line {reader.line_num} cannot be read ({error}); look for a quote that is not closed."
        ) from None
    while rows and not rows[-1][1]:
        rows.pop()
    if rows and max(len(cells) for _, cells in rows) <= 1:
        return [(line, cells or [""]) for line, cells in rows]
    return [(line, cells) for line, cells in rows if cells]


def _look_for_delimiters(rows: list[tuple[int, list[str]]], mark: str, name: str) -> None:
    for other in {",", ";", "\t", "|"} - {mark}:
        counts = {cells[0].count(other) for _, cells in rows}
        if len(counts) == 1 and counts != {0}:
            raise ValueError(
                f"{name!r} has one column when cut at {mark!r}, and {other!r} equally often in every line; "
                f"give delimiter={other!r}, or delimiter={mark!r} if one column is meant."
            )


def _other_mark(text: str, mark: str, given: str | None) -> str:
    """A remedy, when another delimiter cuts every line into equally many cells."""
    for other in (";", "\t", "|", ",") if given is None else ():
        counts = {line.count(other) for line in text.splitlines() if line.strip()}
        if other != mark and len(counts) == 1 and counts != {0}:
            return f", or give delimiter={other!r}, which stands equally often in every line"
    return ""


def _is_header(first: list[str], below: list[list[str]]) -> bool:
    if not below or any(is_number(cell) for cell in first):
        return False
    columns = [[cell for cell in column if cell not in MISSING] for column in zip(*below, strict=True)]
    if any(
        column and cell not in MISSING and all(map(is_number, column))
        for cell, column in zip(first, columns, strict=True)
    ):
        return True
    distinct = len(set(first)) == len(first) and not MISSING & set(first)
    return distinct and all(cell not in column for cell, column in zip(first, columns, strict=True))
