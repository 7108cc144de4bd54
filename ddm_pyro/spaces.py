"""Finite (and countable) product spaces of token sequences: sizes, enumeration and indexing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from numbers import Integral
from operator import mul

import torch
from torch import Tensor

from ddm_pyro.arrays import OnDevice, has_data

#: Largest number of states that is ever listed one by one; a larger space is refused by name.
MAX_STATES = 2**24


@dataclass(frozen=True)
class StateSpace:
    """Sequences of ``length`` tokens; position ``l`` takes the values ``0 .. sizes[l] - 1``.

    ``sizes`` is one int for all positions, one int a position, or None for the natural numbers.
    ``mask`` adds one symbol with id V = max(sizes) at every position (True, or the id V itself).
    A pmf on the space is flat, mixed radix, first token most significant; while masks are present
    position ``l`` has ``sizes[l] + 1`` digits, the mask being the last.

    Raises:
        ValueError: sizes or length below 1, a wrong number of sizes, a mask id other than V.

    Example:
        >>> space = StateSpace((2, 3), length=2)
        >>> space.enumerate().tolist()
        [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
        >>> space.index(torch.tensor([1, 2])).item()
        5
        >>> StateSpace(3, 2, mask=True).num_states
        16
    """

    sizes: int | tuple[int, ...] | None
    length: int
    mask: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.sizes, Integral):
            object.__setattr__(self, "sizes", int(self.sizes))
        elif isinstance(self.sizes, Sequence):
            sizes = tuple(int(size) for size in self.sizes)
            if len(sizes) != self.length:
                raise ValueError(
                    f"sizes={sizes} names {len(sizes)} positions but length={self.length}; they must agree."
                )
            # Equal sizes are stored as one int, so that spaces compare equal however they were written.
            object.__setattr__(self, "sizes", sizes[0] if len(set(sizes)) == 1 else sizes)
        if self.length < 1:
            raise ValueError(f"length={self.length} must be at least 1.")
        if self.sizes is None:
            if self.mask is not None and self.mask is not False:
                raise ValueError("A countable alphabet (sizes=None) has no mask symbol; pass mask=None.")
            object.__setattr__(self, "mask", None)
            return
        if min(self.position_sizes) < 1:
            raise ValueError(f"sizes={self.sizes} must all be at least 1.")
        if self.mask is True or self.mask is False or self.mask is None:
            object.__setattr__(self, "mask", self.vocab_size if self.mask else None)
        elif self.mask != self.vocab_size:
            raise ValueError(f"mask={self.mask} must be the symbol after the last token, {self.vocab_size}.")

    @property
    def is_countable(self) -> bool:
        """Whether the alphabet is infinite."""
        return self.sizes is None

    @property
    def position_sizes(self) -> tuple[int, ...]:
        """Number of tokens at each position (without the mask)."""
        if self.sizes is None:
            raise ValueError("The alphabet is the natural numbers; truncate it with space.box(max) first.")
        return (self.sizes,) * self.length if isinstance(self.sizes, int) else self.sizes

    @cached_property
    def sizes_on(self) -> OnDevice:
        """``position_sizes`` as a tensor on the device asked for, (L,)."""
        return OnDevice(self.position_sizes)

    @property
    def vocab_size(self) -> int:
        """V, the largest number of tokens at a position."""
        return max(self.position_sizes)

    @property
    def num_symbols(self) -> int:
        """Number of symbols in a padded array: V, and one more for the mask."""
        return self.vocab_size + (self.mask is not None)

    @property
    def radices(self) -> tuple[int, ...]:
        """Number of digits a position takes in the mixed-radix index."""
        return tuple(size + (self.mask is not None) for size in self.position_sizes)

    @property
    def num_states(self) -> int:
        """Number of sequences, masked ones included (a Python int, never overflowing)."""
        return math.prod(self.radices)

    @property
    def data(self) -> StateSpace:
        """The same space without masks."""
        return StateSpace(self.sizes, self.length)

    @property
    def masked(self) -> StateSpace:
        """The same space with masks."""
        return StateSpace(self.sizes, self.length, mask=True)

    def box(self, maximum: int) -> StateSpace:
        """The finite space of sequences with every entry at most ``maximum``."""
        return StateSpace(maximum + 1, self.length)

    def require_enumerable(self, what: str = "Enumeration", limit: int = MAX_STATES) -> int:
        """Return the number of states, or raise ValueError naming the size when it exceeds ``limit``."""
        if self.sizes is None:
            raise ValueError(f"{what} needs a finite space; truncate the natural numbers with space.box(max).")
        if self.num_states > limit:
            raise ValueError(
                f"{what} needs every state listed, but the space has {describe_size(self)} states, more than "
                f"{limit}; use a smaller space or a route that works on samples."
            )
        return self.num_states

    def enumerate(self, device: torch.device | str | None = None) -> Tensor:
        """All states in index order, shape (num_states, length), int64. Raises ValueError when too many."""
        total = self.require_enumerable()
        return self.unindex(torch.arange(total, device=device))

    def unindex(self, index: Tensor) -> Tensor:
        """States of the given indices: (...,) -> (..., length)."""
        digits = torch.stack(
            [
                index.div(stride, rounding_mode="floor") % radix
                for stride, radix in zip(self.strides, self.radices, strict=True)
            ],
            -1,
        )
        if self.mask is None or isinstance(self.sizes, int):
            return digits
        return torch.where(digits == self.sizes_on.on(index.device), self.vocab_size, digits)

    @property
    def strides(self) -> tuple[int, ...]:
        """Weight of each position in the index, first token most significant."""
        return tuple(accumulate((1, *reversed(self.radices[1:])), mul))[::-1]

    def index(self, x: Tensor) -> Tensor:
        """Flat index of states: (..., length) -> (...,). The tokens are taken as valid; see ``check``."""
        strides = torch.tensor(self.strides, device=x.device)
        if self.mask is not None and not isinstance(self.sizes, int):
            x = torch.where(self.is_mask(x), self.sizes_on.on(x.device), x)
        return (x.long() * strides).sum(-1)

    def contains(self, x: Tensor) -> Tensor:
        """Which sequences lie in the space: (..., length) -> (...,) bool."""
        inside = x >= 0
        if self.sizes is None:
            return inside.all(-1)
        inside = inside & (x < (self.sizes if isinstance(self.sizes, int) else self.sizes_on.on(x.device)))
        if self.mask is not None:
            inside = inside | self.is_mask(x)
        return inside.all(-1)

    def is_mask(self, x: Tensor) -> Tensor:
        """Which tokens are masks, (...) -> (...) bool; none on a space without masks."""
        return x.eq(-1 if self.mask is None else self.mask)

    def check(self, x: Tensor, what: str = "x") -> Tensor:
        """Return ``x`` as int64 of shape (..., length), or raise ValueError quoting the first bad token."""
        if x.dim() == 0 or x.shape[-1] != self.length:
            raise ValueError(f"{what} has shape {tuple(x.shape)}; the last dimension must be the length {self.length}.")
        if not has_data(x):
            return x.long()
        if x.is_floating_point() and not bool((x == x.round()).all()):
            raise ValueError(f"{what} holds fractions; tokens are whole numbers.")
        if x.dtype == torch.bool or x.dtype != torch.int64:
            x = x.long()
        bad = ~self.contains(x)
        if bool(bad.any()):
            row = x.reshape(-1, self.length)[bad.reshape(-1)][0]
            raise ValueError(f"{what} holds the sequence {row.tolist()}, outside {self}; {self._explain(row)}")
        return x

    def _explain(self, row: Tensor) -> str:
        if self.sizes is not None and self.mask is None and bool((row == self.vocab_size).any()):
            return f"{self.vocab_size} is the mask id, which data must not hold."
        if self.sizes is None:
            return "tokens must not be negative."
        return f"position l takes 0 to size - 1, sizes being {self.sizes}" + (
            f", or the mask {self.mask}." if self.mask is not None else "."
        )


def describe_size(space: StateSpace) -> str:
    """The number of states for a message: exact while short, else as a power of ten.

    Example:
        >>> describe_size(StateSpace(2, 10)), describe_size(StateSpace(50257, 128))
        ('1024', 'about 10^601')
    """
    digits = sum(math.log10(radix) for radix in space.radices)
    return str(space.num_states) if digits < 12 else f"about 10^{math.floor(digits)}"
