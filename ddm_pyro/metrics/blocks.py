"""Total variation between the laws of positions, n-grams and other blocks of positions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from ddm_pyro.metrics.base import Witness
from ddm_pyro.metrics.ipm import IPM
from ddm_pyro.metrics.rows import Array, group_rows, lookup, to_numpy
from ddm_pyro.spaces import StateSpace

#: How the blocks' distances become one number.
Reduce = Literal["max", "mean", "sum"]
_REDUCES = ("max", "mean", "sum")


def varying(space: StateSpace) -> list[bool]:
    """Which positions can take more than one symbol.

    Example:
        >>> varying(StateSpace((1, 3), 2))
        [False, True]
    """
    return [True] * space.length if space.is_countable else [radix > 1 for radix in space.radices]


class _BlockIPM(IPM, ABC):
    """max, mean or sum over blocks B of the total variation between the laws of x_B."""

    reduce: Reduce

    @abstractmethod
    def blocks(self, space: StateSpace) -> Sequence[tuple[int, ...]]:
        """The blocks of positions."""

    def _weights(self, space: StateSpace) -> tuple[Sequence[tuple[int, ...]], float]:
        blocks = self.blocks(space)
        return blocks, 1.0 / len(blocks) if self.reduce == "mean" else 1.0

    def constant(self, space: StateSpace) -> float:
        """1/2 for max; half the number (mean: the share) of blocks that can vary: two sequences may differ in all."""
        blocks, weight = self._weights(space)
        count = sum(any(varying(space)[position] for position in block) for block in blocks)
        return 0.5 * (min(count, 1) if self.reduce == "max" else count * weight)

    def _gaps(self, blocks: Sequence[tuple[int, ...]], atoms: Array, gap: Array) -> list[Array]:
        """p_B - q_B on the distinct values of each block, given p - q on the atoms (B, K)."""
        found = []
        for block in blocks:
            values, group = group_rows(atoms[:, block])
            found.append(np.stack([np.bincount(group, row, len(values)) for row in gap]))
        return found

    def distances(self, space: StateSpace, atoms: Array, p: Array, q: Array) -> Array:
        """The reduced block distances, (B,)."""
        blocks, weight = self._weights(space)
        each = np.stack([0.5 * np.abs(gap).sum(-1) for gap in self._gaps(blocks, atoms, p - q)])
        values: Array = each.max(0) if self.reduce == "max" else weight * each.sum(0)
        return values

    def exact(self, space: StateSpace, atoms: Tensor, p: Tensor, q: Tensor) -> tuple[float, Witness]:
        """The reduced distance; the witness adds the blocks' indicators of p_B > q_B (max: of the furthest block)."""
        rows, gap = to_numpy(atoms), to_numpy(p - q)[None]
        blocks, weight = self._weights(space)
        gaps = [found[0] for found in self._gaps(blocks, rows, gap)]
        each = np.array([0.5 * np.abs(found).sum() for found in gaps])
        chosen = [int(each.argmax())] if self.reduce == "max" else range(len(blocks))
        parts = [(blocks[i], lookup(group_rows(rows[:, blocks[i]])[0], weight * (gaps[i] > 0))) for i in chosen]
        value = each.max() if self.reduce == "max" else weight * each.sum()
        return float(value), Witness(_add_up(parts), osc=2.0 * self.constant(space))


def _add_up(parts: Sequence[tuple[tuple[int, ...], Callable[[Tensor], Tensor]]]) -> Callable[[Tensor], Tensor]:
    def fn(x: Tensor) -> Tensor:
        return torch.stack([part(x[..., list(block)]) for block, part in parts]).sum(0)

    return fn


@final
@dataclass(frozen=True)
class PositionTV(_BlockIPM):
    """max, mean or sum over positions of the total variation between the laws of the token there.

    Functions of one token (sum: one for each position, added). C_F = 1/2 for max and mean, L/2 for sum. Cheap at any
    length and vocabulary; blind to how positions depend on each other. The sum is a lower bound of the Hamming
    Wasserstein distance.

    Args:
        reduce: "max", "mean" or "sum".

    Raises:
        ValueError: another reduction.

    Example:
        >>> from ddm_pyro.distributions import Tabular
        >>> p, q = Tabular(torch.tensor([[0.5, 0.0], [0.0, 0.5]])), Tabular(torch.tensor([[0.0, 0.5], [0.5, 0.0]]))
        >>> PositionTV()(p, q).value, BlockTV(n=2)(p, q).value
        (0.0, 1.0)
    """

    reduce: Reduce = "max"
    name: ClassVar[str] = "core/position-tv"

    def __post_init__(self) -> None:
        _check_reduce(self.reduce)

    def blocks(self, space: StateSpace) -> Sequence[tuple[int, ...]]:
        """Every position by itself."""
        return [(position,) for position in range(space.length)]


@final
@dataclass(frozen=True)
class BlockTV(_BlockIPM):
    """max, mean or sum over blocks of positions of the total variation between the laws of the tokens there.

    C_F = 1/2 for max and mean, (number of blocks)/2 for sum.

    Args:
        positions: the blocks, such as ((0, 1), (2, 5)); by default all runs of ``n`` neighbors.
        n: length of these runs; a shorter sequence is one block.
        reduce: "max", "mean" or "sum".

    Raises:
        ValueError: an empty block, a repeated or negative position, or one past the end of the sequences.

    Example:
        >>> BlockTV(n=2).blocks(StateSpace(2, 3))
        [(0, 1), (1, 2)]
    """

    positions: tuple[tuple[int, ...], ...] | None = None
    n: int = 2
    reduce: Reduce = "max"
    name: ClassVar[str] = "core/block-tv"

    def __post_init__(self) -> None:
        _check_reduce(self.reduce)
        if self.n < 1:
            raise ValueError(f"n={self.n} must be at least 1: the length of the runs of neighbors.")
        if self.positions is None:
            return
        blocks = tuple(tuple(int(position) for position in block) for block in self.positions)
        if not blocks or any(not block or len(set(block)) < len(block) or min(block) < 0 for block in blocks):
            raise ValueError(
                f"positions={self.positions} must be blocks of distinct positions, such as ((0, 1), (2, 5))."
            )
        object.__setattr__(self, "positions", blocks)

    def blocks(self, space: StateSpace) -> Sequence[tuple[int, ...]]:
        """The given blocks, or the runs of ``n`` neighbors."""
        if self.positions is None:
            width = min(self.n, space.length)
            return [tuple(range(start, start + width)) for start in range(space.length - width + 1)]
        if max(map(max, self.positions)) >= space.length:
            raise ValueError(
                f"positions={self.positions} reach past the length {space.length}; positions count from 0."
            )
        return self.positions


def _check_reduce(reduce: str) -> None:
    if reduce not in _REDUCES:
        raise ValueError(f"reduce={reduce!r} must be one of {', '.join(_REDUCES)}.")
