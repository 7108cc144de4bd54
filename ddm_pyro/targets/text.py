"""Real English text at no cost: the language topics that Python's own help system carries."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

import torch
from torch import Tensor

from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets.checks import fraction, whole
from ddm_pyro.targets.data_set import DataSet

#: Token v is the v-th of these; the last is the space.
SYMBOLS = "abcdefghijklmnopqrstuvwxyz "


class Text(DataSet):
    """Windows of English text over 27 symbols: a to z (0 to 25) and the space (26).

    The text is ``pydoc_data.topics`` of the running Python (its wording changes with the version: pin no number on
    it), lower-cased, every other character read as a space and runs of spaces collapsed. Topics quote one another,
    so a paragraph that an earlier topic (in alphabetical order) already had is dropped; then the first topics are
    the training text and the last ones, ``test_fraction`` of the characters, the test text. Each is cut into windows
    that do not overlap. License: that of Python and its documentation (PSF License Version 2).

    Attributes:
        train, test: (n, window) int64.
        symbols: the 27 symbols in token order.

    Raises:
        ValueError: a window longer than a split, text outside the alphabet of ``decode``.

    Example:
        >>> text = Text(window=8)
        >>> text.decode(text.encode("To be, or not!"))
        ['to be or not ']
    """

    symbols = SYMBOLS

    def __init__(
        self, window: int = 32, *, test_fraction: float = 0.5, split: str = "train", validate_args: bool | None = None
    ) -> None:
        self.window = whole(window, "window")
        parts = {}
        for name, text in zip(
            ("train", "test"), _split(_topics(), fraction(test_fraction, "test_fraction")), strict=True
        ):
            tokens = self.encode(text)
            if len(tokens) < self.window:
                raise ValueError(f"window={window} is longer than the {name} text of {len(tokens)} characters.")
            parts[name] = tokens[: len(tokens) // self.window * self.window].reshape(-1, self.window)
        super().__init__(StateSpace(len(SYMBOLS), self.window), **parts, split=split, validate_args=validate_args)

    def encode(self, text: str) -> Tensor:
        """Tokens of a text after the reading rules above, (n,) int64."""
        return torch.tensor([SYMBOLS.index(symbol) for symbol in plain(text)], dtype=torch.int64)

    def decode(self, x: Tensor) -> list[str]:
        """Texts of sequences (..., n), one string each; the mask id 27 is shown as an underscore."""
        alphabet = SYMBOLS + "_"
        rows = x.reshape(-1, x.shape[-1]).tolist() if x.dim() else []
        wrong = [token for row in rows for token in row if not 0 <= token < len(alphabet)]
        if wrong or not x.dim():
            raise ValueError(
                f"decode got {wrong[0] if wrong else x}; it reads sequences of tokens 0 to {len(alphabet) - 1}."
            )
        return ["".join(alphabet[int(token)] for token in row) for row in rows]


def plain(text: str) -> str:
    """The text in the 27 symbols.

    Example:
        >>> plain("Ab-1  c")
        'ab c'
    """
    return re.sub("[^a-z]+", " ", text.lower())


def _split(texts: Iterable[str], test_fraction: float) -> tuple[str, str]:
    """Training and test text: the cut falls between two topics, where the share of characters is reached."""
    texts = list(texts)
    wanted, taken, cut = (1 - test_fraction) * sum(map(len, texts)), 0, 0
    while cut < len(texts) and taken < wanted:
        taken, cut = taken + len(texts[cut]), cut + 1
    return " ".join(texts[:cut]), " ".join(texts[cut:])


@cache
def _topics() -> tuple[str, ...]:
    """Every topic in plain symbols, without the paragraphs of earlier ones."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise ValueError(
            "This Python has no pydoc_data.topics, the source of core/text; install the full standard library."
        ) from error
    seen: set[str] = set()
    texts = []
    for _, topic in sorted(topics.items()):
        paragraphs = [plain(paragraph).strip() for paragraph in re.split(r"\n\s*\n", topic)]
        fresh = [p for p in dict.fromkeys(paragraphs) if p and p not in seen]
        seen.update(fresh)
        texts.append(" ".join(fresh))
    return tuple(text for text in texts if text)
