"""The alphabet of one column of a table: which cells are the same symbol, and in what order."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import pairwise

#: Cells that stand for a value that is not known, after spaces around them are dropped; spelled exactly so.
MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "NULL", "null", "?"})
#: Cells that often stand for a missing value but are read as what they say; compared in lower case.
SUSPECT = frozenset(
    {"na", "n/a", "#n/a", "<na>", "n.a.", "none", "null", "nil", "nan", "-nan", "nat", "missing", "unknown"}
    | {*"-.", "--"}
)
#: Cells that look like numbers and are none here: decimal commas, thousands, percent, infinities.
_ALMOST = re.compile(r"[+-]?(\d[\d.,' ]*%?|inf|infinity)", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)


@dataclass(frozen=True)
class Column:
    """One column: token v stands for ``labels[v]``.

    Attributes:
        name: from the header, or "column 3".
        kind: "numbers" (ascending, so tokens are ordinal), "bins" (intervals of numbers) or "categories" (sorted).
        labels: one a token; the symbol of missing values, if the column has one, is the last and is "".
        edges: of bins, one more than there are bins; the last bin has both its ends. Empty for other kinds.

    Example:
        >>> column = Column.of("age", ["9", "10", "9.0", ""], missing=True)
        >>> column.kind, column.labels, column.token("10.00"), column.token("NA"), column.token("11")
        ('numbers', ('9', '10', ''), 1, 2, None)
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    edges: tuple[Decimal, ...] = ()

    @classmethod
    def of(cls, name: str, cells: Iterable[str], *, missing: bool = False, bins: int | None = None) -> Column:
        """From every cell of a column; ``missing`` adds a symbol for missing values.

        Equal numbers are one symbol however they are written, shown in the shortest spelling. ``bins`` cuts numbers
        of more different values than that into at most so many intervals with about equally many cells.
        """
        known = [cell for cell in cells if cell not in MISSING]
        rest = ("",) if missing else ()
        different = set(known)
        if not all(is_number(cell) for cell in different):
            return cls(name, "categories", (*sorted(different), *rest))
        shortest: dict[Decimal, str] = {}
        for cell in sorted(different, key=lambda cell: (len(cell), cell)):
            shortest.setdefault(Decimal(cell), cell)
        values = sorted(shortest)
        if bins is None or len(values) <= bins:
            return cls(name, "numbers", (*(shortest[value] for value in values), *rest))
        ranked = sorted(Decimal(cell) for cell in known)
        inner = {ranked[len(ranked) * k // bins] for k in range(1, bins)} - {values[0]}
        edges = (values[0], *sorted(inner), values[-1])
        intervals = [f"[{shortest[a]}, {shortest[b]})" for a, b in pairwise(edges)]
        intervals[-1] = f"{intervals[-1][:-1]}]"
        return cls(name, "bins", (*intervals, *rest), edges)

    @property
    def size(self) -> int:
        """Number of symbols."""
        return len(self.labels)

    @property
    def has_missing(self) -> bool:
        """Whether missing values are a symbol."""
        return self.labels[-1] == ""

    def token(self, cell: str) -> int | None:
        """The token of a cell, or None for one that the column never had."""
        if cell in MISSING:
            return self.size - 1 if self.has_missing else None
        if self.kind == "categories":
            return self._tokens.get(cell)
        if not is_number(cell):
            return None
        value = Decimal(cell)
        if self.kind == "numbers":
            return self._tokens.get(value)
        if not self.edges[0] <= value <= self.edges[-1]:
            return None
        return min(bisect_right(self.edges, value), len(self.edges) - 1) - 1

    @cached_property
    def _tokens(self) -> dict[str | Decimal, int]:
        # The label of missing values is no number, and never asked for.
        return {
            Decimal(label) if self.kind == "numbers" else label: token
            for token, label in enumerate(self.labels)
            if label
        }


def is_number(cell: str) -> bool:
    """Whether a cell is a finite decimal number, with a point and an exponent if need be.

    Example:
        >>> [is_number(cell) for cell in ("-1.5e3", "07", "1,5", "inf", "1_0")]
        [True, True, False, False, False]
    """
    return _NUMBER.fullmatch(cell) is not None


def remarks(column: Column, cells: Iterable[str]) -> list[str]:
    """What a reader of this column may have meant otherwise, in sentences; mostly there are none.

    Example:
        >>> cells = ["1", "2", "2", "none"]
        >>> for one in remarks(Column.of("age", cells), cells):
        ...     print(one)
        column 'age' holds numbers and others, such as 'none', so that all of them are categories.
        column 'age' holds 'none', a category; if it stands for a missing value, leave those cells empty.
        >>> remarks(Column.of("age", ["1", "2"]), ["1", "2"])
        []
    """
    known = [cell for cell in cells if cell not in MISSING]
    different = sorted(set(known))
    if column.kind != "categories":
        return []
    found, what = [], f"column {column.name!r} holds"
    others = [cell for cell in different if not is_number(cell)]
    almost = [cell for cell in others if _ALMOST.fullmatch(cell)]
    looks = sum(is_number(cell) or _ALMOST.fullmatch(cell) is not None for cell in known)
    if 2 * looks >= len(known) and almost:
        found.append(
            f"{what} {almost[0]!r}, no finite number with a decimal point, so that all its cells are categories."
        )
    elif 2 * looks >= len(known):
        found.append(f"{what} numbers and others, such as {others[0]!r}, so that all of them are categories.")
    if suspects := [cell for cell in different if cell.lower() in SUSPECT]:
        found.append(f"{what} {suspects[0]!r}, a category; if it stands for a missing value, leave those cells empty.")
    return found
