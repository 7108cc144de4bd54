"""A user's own data as a target: tables of tokens, delimited tables, texts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddm_pyro.random import derive_seed
from ddm_pyro.targets.checks import fraction, whole
from ddm_pyro.targets.codecs import Codec, TableCodec, TextCodec, TokenCodec
from ddm_pyro.targets.columns import MISSING, Column, remarks
from ddm_pyro.targets.data_set import DataSet
from ddm_pyro.targets.table_files import Table, read_table, read_text

#: Suffix of a file -> how it is read.
FORMATS: Mapping[str, str] = {".npy": "tokens", ".csv": "table", ".tsv": "table", ".txt": "text"}
#: Largest alphabet of a file of tokens: beyond it the numbers are measurements, not tokens.
MAX_TOKENS = 2**20
#: Default for the largest number of symbols a column, or the alphabet of a text, may have.
MAX_LEVELS = 256
#: Columns that ``reading`` names.
SHOWN_COLUMNS = 12


class ReadingWarning(UserWarning):
    """A file was read in a way that its owner may not have meant."""


class File(DataSet):
    """The data in a file: ``.npy``, ``.csv``, ``.tsv`` or ``.txt``.

    - ``.npy``: whole numbers from 0 on, (n, L); one alphabet, 0 to the largest.
    - ``.csv``, ``.tsv``: one alphabet a column, taken from the whole file. A column whose values are all numbers has
      them as ordinal symbols, ascending; any other column has its values as categories, sorted. Spaces around a cell
      do not count, equal numbers are equal however written, and a constant column has one symbol. Empty lines are
      left out.
    - ``.txt``: windows of ``window`` characters that do not overlap; what is left over at the end is left out. The
      alphabet is the characters that occur, sorted, unless given. Line ends are read as one newline.

    Rows of tables are ordered by a hash of their index, so the split is the same on every machine; the last
    ``test_fraction`` of them are the test rows. A text is cut once: its last windows are the test rows. With
    ``test_fraction=0`` every row is in both splits.

    Args:
        path: of the file; a relative one is read from the current directory.
        format: "tokens", "table" or "text" for a file whose suffix does not say.
        header: whether a table's first line is names. "auto": yes when no cell of it is a number, and either some
            column has only numbers below, or its cells are all different, none missing, and none occurs again below.
        missing: what to do with cells that are empty, NA, N/A, NaN, nan, NULL, null or ?. "error" refuses them,
            "category" gives columns that have some a symbol of their own (the last), "drop" leaves out their rows.
        bins: cut numbers of more different values than this into at most so many intervals of about equally many
            rows; one number for all columns, or a table of column names.
        columns: the columns to keep, by name or by number from 0.
        delimiter: of a table, instead of comma (``.csv``) or tab (``.tsv``).
        encoding: of a table or text.
        max_levels: more different symbols than this in a column, or characters in a text, are refused.
        window, alphabet: of a text.
        test_fraction: share of the rows held out.
        split: the one ``sample`` draws from.

    Attributes:
        columns: one ``Column`` a position of a table, with name, kind and labels; empty for other files.
        header: whether the first line was read as names.
        dropped: number of rows left out under ``missing="drop"``.
        left_over: number of characters after the last window of a text, which are left out.
        remarks: sentences about columns that may have been meant otherwise: numbers mixed with others, decimal commas,
            words that often stand for missing values. Each is a ``ReadingWarning`` as well.

    Raises:
        ValueError: the file cannot be read, is broken, or has missing values; the sentence names line and column.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "pets.csv")
        ...     _ = path.write_text("animal,age\\ncat,3\\ndog,12\\ncat,\\n")
        ...     pets = File(path, missing="category", test_fraction=0.34)
        >>> pets.space.sizes, [column.labels for column in pets.columns]
        ((2, 3), [('cat', 'dog'), ('3', '12', '')])
        >>> pets.decode(pets.encode([["dog", 3]]))
        [['dog', '3']]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,
        header: str | bool = "auto",
        missing: str = "error",
        bins: int | Mapping[str, int] | None = None,
        columns: Sequence[str | int] | None = None,
        delimiter: str | None = None,
        encoding: str = "utf-8",
        max_levels: int = MAX_LEVELS,
        window: int = 32,
        alphabet: str | None = None,
        test_fraction: float = 0.2,
        split: str = "train",
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"path={path!r} must be the name of a file.")
        self.path, share = Path(path), fraction(test_fraction, "test_fraction")
        self.columns: tuple[Column, ...] = ()
        self.header, self.dropped, self.left_over = False, 0, 0
        self.remarks: tuple[str, ...] = ()
        kind = _format(self.path, format)
        for belongs, given in {
            "table": {
                "header": header != "auto",
                "missing": missing != "error",
                "bins": bins is not None,
                "columns": columns is not None,
                "delimiter": delimiter is not None,
            },
            "text": {"window": window != 32, "alphabet": alphabet is not None},
        }.items():
            for name in given:
                if given[name] and kind != belongs:
                    raise ValueError(f"{name} is for a {belongs}; {str(self.path)!r} is read as {kind}.")
        whole(max_levels, "max_levels")
        if kind == "table":
            table = read_table(self.path, delimiter=delimiter, header=header, encoding=encoding)
            table = table if columns is None else table.keep(columns)
            kept = _without_missing(table, missing, str(self.path))
            self.header, self.dropped = table.has_header, len(table.rows) - len(kept.rows)
            self.columns = _columns(kept, bins, max_levels, str(self.path))
            cells = zip(*kept.rows, strict=True)
            self.remarks = tuple(
                one for column, mine in zip(self.columns, cells, strict=True) for one in remarks(column, mine)
            )
            for one in self.remarks:
                warnings.warn(f"{str(self.path)!r}: {one}", ReadingWarning, stacklevel=3)
            self.codec: Codec = TableCodec(self.columns)
            rows = self.codec.encode(kept.rows, "error")
        elif kind == "tokens":
            self.codec, rows = _tokens(self.path)
        else:
            text = read_text(self.path, encoding).replace("\r\n", "\n").replace("\r", "\n")
            symbols = _alphabet(text, alphabet, max_levels, str(self.path))
            self.codec = TextCodec(symbols, whole(window, "window"))
            rows = self.codec.encode(text, "error")
            self.left_over = len(text) - rows.numel()
            if len(rows) == 0:
                raise ValueError(f"window={window} is longer than {str(self.path)!r}, of {len(text)} characters.")
        train, test = _split(rows, share, kind == "text", str(self.path))
        super().__init__(self.codec.space, train=train, test=test, split=split, validate_args=validate_args)

    @property
    def reading(self) -> str:
        """How the file was read, in one line.

        Example: "5 rows, 1 of them held out; the first line is a header; sex: 2 categories, age: 3 numbers".
        """
        rows = len(self.train) if self.train is self.test else len(self.train) + len(self.test)
        held = "none held out" if self.train is self.test else f"{len(self.test)} of them held out"
        parts = [f"{rows} rows, {held}"]
        if self.dropped:
            parts.append(f"{self.dropped} row{'s' * (self.dropped > 1)} with missing values left out")
        if self.columns:
            parts.append("the first line is a header" if self.header else "no header")
            shown = [f"{one.name}: {_kind(one)}" for one in self.columns[:SHOWN_COLUMNS]]
            more = len(self.columns) - SHOWN_COLUMNS
            parts.append(", ".join([*shown, *([f"and {more} more columns"] if more > 0 else [])]))
        else:
            parts.append(f"sequences of {self.space.length} over {self.space.vocab_size} symbols")
        if self.left_over:
            parts.append(f"{self.left_over} character{'s' * (self.left_over > 1)} at the end left out")
        return "; ".join(parts)

    def encode(self, rows: Any, *, unseen: str = "error") -> Tensor:
        """Tokens of new data, (n, L) int64.

        Args:
            rows: of a table: rows of cells (strings, numbers, None for missing); of a text: a text, or windows; of
                tokens: whole numbers.
            unseen: "error", or "missing" to read a value that the file never had as a missing one, in columns that
                have a symbol for those.

        Raises:
            ValueError: a value the file never had (quoted with its column), or a row of the wrong length.
        """
        if unseen not in ("error", "missing"):
            raise ValueError(f"unseen={unseen!r} must be 'error' or 'missing'.")
        return self.codec.encode(rows, unseen)

    def decode(self, x: Tensor) -> list[Any]:
        """What sequences (..., L) stand for: cells of a table ("" is a missing value), texts, or numbers.

        Masks are shown as [mask] in tables and as a low block in texts.
        """
        return self.codec.decode(x)

    def __repr__(self) -> str:
        left_out = f", {self.dropped} rows with missing values dropped" if self.dropped else ""
        return (
            f"File({self.path.name!r}: {len(self.train)} train and {len(self.test)} test rows{left_out}, {self.space})"
        )


def _kind(column: Column) -> str:
    known = column.size - column.has_missing
    kind = column.kind if known != 1 else {"categories": "category"}.get(column.kind, column.kind.removesuffix("s"))
    return f"{known} {kind}{' and missing' if column.has_missing else ''}"


def _format(path: Path, given: str | None) -> str:
    known = tuple(dict.fromkeys(FORMATS.values()))
    if given is not None and given not in known:
        raise ValueError(f"format={given!r} must be one of {', '.join(map(repr, known))}.")
    kind = given or FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(
            f"{str(path)!r} has none of the suffixes {', '.join(FORMATS)}; give format='table', 'text' or 'tokens'."
        )
    return kind


def _without_missing(table: Table, treatment: str, name: str) -> Table:
    if treatment not in ("error", "category", "drop"):
        raise ValueError(f"missing={treatment!r} must be 'error', 'category' or 'drop'.")
    holes = [(r, c) for r, row in enumerate(table.rows) for c, cell in enumerate(row) if cell in MISSING]
    if not holes or treatment == "category":
        return table
    if treatment == "error":
        r, c = holes[0]
        shown = f"{table.rows[r][c]!r}" if table.rows[r][c] else "an empty cell"
        count = "the only missing value" if len(holes) == 1 else f"the first of {len(holes)} missing values"
        raise ValueError(
            f"{name!r}: line {table.lines[r]} has {shown} in column {table.names[c]!r}, {count}; give "
            "missing='category' to make them a symbol, or missing='drop' to leave out their rows."
        )
    bad = {r for r, _ in holes}
    kept = [r for r in range(len(table.rows)) if r not in bad]
    if not kept:
        raise ValueError(f"{name!r} has a missing value in every row, so missing='drop' leaves none; use 'category'.")
    rows, lines = tuple(table.rows[r] for r in kept), tuple(table.lines[r] for r in kept)
    return Table(table.names, rows, lines, table.has_header)


def _columns(table: Table, bins: Any, max_levels: int, name: str) -> tuple[Column, ...]:
    chosen: Callable[[str], int | None] = bins.get if isinstance(bins, Mapping) else lambda _: bins
    for one in bins if isinstance(bins, Mapping) else ():
        if one not in table.names:
            raise ValueError(f"bins names {one!r}; the columns are {', '.join(map(repr, table.names))}.")
    columns = []
    for one, cells in zip(table.names, zip(*table.rows, strict=True), strict=True):
        wanted = chosen(one)
        count = None if wanted is None else whole(wanted, "bins")
        column = Column.of(one, cells, missing=any(cell in MISSING for cell in cells), bins=count)
        if isinstance(bins, Mapping) and count is not None and column.kind == "categories":
            raise ValueError(
                f"bins names {one!r}, which holds categories such as {column.labels[0]!r}; only numbers have bins."
            )
        if column.size > max_levels:
            remedy = "cut them with bins=16, leave" if column.kind == "numbers" else "leave"
            raise ValueError(
                f"{name!r}: column {one!r} has {column.size} different {column.kind}, more than "
                f"max_levels={max_levels}; {remedy} the column out with columns=[...], or raise max_levels."
            )
        columns.append(column)
    return tuple(columns)


def _tokens(path: Path) -> tuple[Codec, Tensor]:
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise ValueError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from None
    except (ValueError, EOFError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as a .npy file of tokens: {error}.") from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.size == 0 or array.dtype.kind not in "iu":
        held = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise ValueError(f"{str(path)!r} holds {held}; tokens are an (n, length) table of whole numbers from 0 on.")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= MAX_TOKENS:
        raise ValueError(
            f"{str(path)!r} holds the number {low if low < 0 else high}; tokens are whole numbers from 0 on and "
            f"below {MAX_TOKENS}."
        )
    codec = TokenCodec(high + 1, array.shape[1])
    return codec, torch.from_numpy(array.astype(np.int64)).to(torch.get_default_device())


def _alphabet(text: str, given: str | None, max_levels: int, name: str) -> str:
    if given is not None:
        if not given or len(set(given)) < len(given):
            raise ValueError(f"alphabet={given!r} must have at least one character, and none twice.")
        return given
    found = "".join(sorted(set(text)))
    if not found:
        raise ValueError(f"{name!r} is empty; a text needs at least one window.")
    if len(found) > max_levels:
        raise ValueError(
            f"{name!r} has {len(found)} different characters, more than max_levels={max_levels}; raise it."
        )
    return found


def _split(rows: Tensor, share: float, in_order: bool, name: str) -> tuple[Tensor, Tensor]:
    if share == 0.0:
        return rows, rows
    if len(rows) < 2:
        raise ValueError(
            f"{name!r} has one row, and none can be held out; give test_fraction=0 to use it for both. (If its only "
            "line is a header, there are no rows.)"
        )
    held = min(max(round(share * len(rows)), 1), len(rows) - 1)
    if in_order:
        return rows[:-held], rows[-held:]
    order = torch.tensor(sorted(range(len(rows)), key=lambda row: derive_seed("file", row)))
    return rows[order[:-held]], rows[order[-held:]]
