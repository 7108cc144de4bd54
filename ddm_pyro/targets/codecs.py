"""From what a file holds to tokens and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets.columns import MISSING, Column

#: How ``decode`` of a table shows the mask; texts show MASKED_CHARACTER.
MASKED = "[mask]"
MASKED_CHARACTER = "\N{LOWER ONE EIGHTH BLOCK}"


class Codec(ABC):
    """Reads and writes sequences of one space."""

    @property
    @abstractmethod
    def space(self) -> StateSpace:
        """Of the tokens, without masks."""

    @abstractmethod
    def encode(self, rows: Any, unseen: str) -> Tensor:
        """Tokens (n, L) of new data; ValueError quotes what the file never had."""

    @abstractmethod
    def row(self, tokens: list[int]) -> Any:
        """What one sequence stands for."""

    def decode(self, x: Tensor) -> list[Any]:
        """What sequences (..., L) stand for, one entry each; masks are shown.

        Raises:
            ValueError: tokens outside the space.
        """
        if x.dim() == 0 or x.shape[-1] != self.space.length:
            raise ValueError(f"decode got shape {tuple(x.shape)}; it reads sequences of length {self.space.length}.")
        rows = self.space.masked.check(x.reshape(-1, self.space.length), "x")
        return [self.row(row) for row in rows.tolist()]


@dataclass(frozen=True)
class TableCodec(Codec):
    """Cells by column."""

    columns: tuple[Column, ...]

    @property
    def space(self) -> StateSpace:
        """One alphabet a column."""
        return StateSpace(tuple(column.size for column in self.columns), len(self.columns))

    def encode(self, rows: Sequence[Sequence[Any]], unseen: str) -> Tensor:
        """Rows of cells, each a string or a number, None for a missing one."""
        tokens = []
        read: list[dict[str, int]] = [{} for _ in self.columns]  # long tables repeat their cells
        for k, row in enumerate(rows):
            if isinstance(row, str) or len(row) != len(self.columns):
                raise ValueError(f"Row {k} is {row!r}; it must have {len(self.columns)} cells.")
            for column, known, cell in zip(self.columns, read, row, strict=True):
                text = "" if cell is None else str(cell).strip()
                if text not in known:
                    known[text] = self._token(column, text, k, unseen)
                tokens.append(known[text])
        return torch.tensor(tokens, dtype=torch.int64).reshape(-1, len(self.columns))

    def _token(self, column: Column, cell: str, row: int, unseen: str) -> int:
        token = column.token(cell)
        if token is None and unseen == "missing" and column.has_missing:
            return column.size - 1
        if token is None:
            what = "a missing value" if cell in MISSING else repr(cell)
            shown = ", ".join(map(repr, column.labels[:5])) + (", ..." if column.size > 5 else "")
            remedy = " (unseen='missing' reads it as a missing value)" if column.has_missing else ""
            if unseen == "missing":
                remedy = " and no symbol for missing values (missing='category')"
            raise ValueError(
                f"Row {row} has {what} in column {column.name!r}, which the file never has there; "
                f"it has {shown}{remedy}."
            )
        return token

    def row(self, tokens: list[int]) -> list[str]:
        """Labels; a missing value is the empty string."""
        mask = self.space.vocab_size
        return [
            MASKED if token == mask else column.labels[token]
            for column, token in zip(self.columns, tokens, strict=True)
        ]


@dataclass(frozen=True)
class TokenCodec(Codec):
    """Whole numbers as they are."""

    vocab_size: int
    length: int

    @property
    def space(self) -> StateSpace:
        """One alphabet for all positions."""
        return StateSpace(self.vocab_size, self.length)

    def encode(self, rows: Any, unseen: str) -> Tensor:
        """Tables of whole numbers."""
        tokens = torch.as_tensor(rows, dtype=torch.int64).reshape(-1, self.length)
        return self.space.check(tokens, "rows")

    def row(self, tokens: list[int]) -> list[int]:
        """The numbers; the mask is ``vocab_size``."""
        return tokens


@dataclass(frozen=True)
class TextCodec(Codec):
    """Characters, in windows."""

    alphabet: str
    window: int

    @property
    def space(self) -> StateSpace:
        """One alphabet for all positions."""
        return StateSpace(len(self.alphabet), self.window)

    @cached_property
    def _tokens(self) -> dict[str, int]:
        return {character: token for token, character in enumerate(self.alphabet)}

    def encode(self, rows: str | Sequence[str], unseen: str) -> Tensor:
        """Windows of one text (what is left over at its end is left out), or texts of one window each."""
        if isinstance(rows, str):
            kept = len(rows) // self.window * self.window
            return self.windows(rows[:kept])
        for k, one in enumerate(rows):
            if len(one) != self.window:
                raise ValueError(f"Row {k} is {one!r}, of {len(one)} characters; a window has {self.window}.")
        return self.windows("".join(rows))

    def windows(self, text: str) -> Tensor:
        """A text whose length is a multiple of the window's."""
        for k, character in enumerate(text):
            if character not in self._tokens:
                line = text.count("\n", 0, k) + 1
                raise ValueError(
                    f"Character {character!r} in line {line} is not in the alphabet {self.alphabet!r}; add it there, "
                    "or replace it in the text."
                )
        return torch.tensor([self._tokens[one] for one in text], dtype=torch.int64).reshape(-1, self.window)

    def row(self, tokens: list[int]) -> str:
        """The window's text."""
        return "".join((self.alphabet + MASKED_CHARACTER)[token] for token in tokens)
