"""Hamming distances of all pairs of rows: bit planes on the CPU, tiled comparison elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ddm_pyro.metrics.rows import Array, to_numpy

#: Pairs whose distances are held at once; two bytes each, and eight for a word of their bit planes.
TILE_PAIRS = 2**18
#: Comparisons (pairs times positions) held at once on other devices.
TILE_COMPARISONS = 2**26


def bit_planes(x: Array, symbols: int) -> Array:
    """Rows as bits: plane b, word w holds bit b of the tokens of positions 64w .. 64w + 63.

    Args:
        x: (n, L) tokens 0 .. symbols - 1.
        symbols: size of the alphabet.

    Returns:
        (planes, words, n) uint64.

    Example:
        >>> bit_planes(np.array([[0, 1, 3]]), 4)[:, 0, 0].tolist()
        [6, 4]
    """
    planes, words = max(1, int(symbols - 1).bit_length()), -(-x.shape[1] // 64)
    out = np.zeros((planes, words, len(x)), np.uint64)
    for plane in range(planes):
        bits = np.zeros((len(x), words * 64), np.uint8)
        bits[:, : x.shape[1]] = (x >> plane) & 1
        packed = np.packbits(bits, axis=1, bitorder="little").view("<u8")
        out[plane] = packed.reshape(len(x), words).T
    return out


def distance_tiles(x: Array, y: Array) -> Iterator[tuple[slice, slice, Array]]:
    """Blocks of the matrix of Hamming distances: (rows of x, rows of y, their distances as uint16 or uint32)."""
    symbols = int(max(x.max(initial=0), y.max(initial=0))) + 1
    left, right = bit_planes(x, symbols), bit_planes(y, symbols)
    dtype = np.uint16 if x.shape[1] < 2**16 else np.uint32
    width = min(len(y), 2048)
    height = max(1, TILE_PAIRS // width)
    for i in range(0, len(x), height):
        for j in range(0, len(y), width):
            rows, columns = slice(i, min(i + height, len(x))), slice(j, min(j + width, len(y)))
            total = np.zeros((rows.stop - i, columns.stop - j), dtype)
            for word in range(left.shape[1]):
                differ = left[0, word, rows, None] ^ right[0, word, None, columns]
                for plane in range(1, left.shape[0]):
                    differ |= left[plane, word, rows, None] ^ right[plane, word, None, columns]
                total += np.bitwise_count(differ)
            yield rows, columns, total


def hamming_distances(x: Array, y: Array) -> Array:
    """The whole (n, m) matrix of Hamming distances, int64.

    Example:
        >>> hamming_distances(np.array([[0, 1], [2, 2]]), np.array([[0, 2]])).tolist()
        [[1], [1]]
    """
    out = np.empty((len(x), len(y)), np.int64)
    for rows, columns, distances in distance_tiles(x, y):
        out[rows, columns] = distances
    return out


def hamming_histogram(x: Tensor, y: Tensor) -> Tensor:
    """How many of the n m pairs of rows differ at h positions, h = 0 .. L.

    Three such histograms give the MMD of every kernel that depends on the Hamming distance.

    Args:
        x, y: (n, L) and (m, L) whole numbers >= 0, on one device. On the CPU the tokens are split into bits, 64
            positions compared at a time; elsewhere tiles are compared directly. Memory is bounded either way.

    Returns:
        (L + 1,) int64, summing to n m.

    Raises:
        ValueError: not two tables of rows of one length, or negative tokens.

    Example:
        >>> hamming_histogram(torch.tensor([[0, 0], [0, 1]]), torch.tensor([[0, 1]])).tolist()
        [1, 1, 0]
    """
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"x {tuple(x.shape)} and y {tuple(y.shape)} must be (n, L) and (m, L) with one L.")
    if any(len(z) and int(z.min()) < 0 for z in (x, y)):
        raise ValueError("x and y must hold tokens, whole numbers of at least 0; a negative one was found.")
    if x.device.type != "cpu":
        return _tiled_histogram(x, y)
    total = np.zeros(x.shape[1] + 1, np.int64)
    for _, _, distances in distance_tiles(to_numpy(x.long()), to_numpy(y.long())):
        total += np.bincount(distances.ravel(), minlength=len(total))
    return torch.from_numpy(total)


def _tiled_histogram(x: Tensor, y: Tensor) -> Tensor:
    length = x.shape[1]
    total = torch.zeros(length + 1, dtype=torch.int64, device=x.device)
    width = max(1, min(len(y), 1024))
    height = max(1, TILE_COMPARISONS // (width * length))
    for rows in x.split(height):
        for columns in y.split(width):
            total += torch.bincount((rows[:, None] != columns[None]).sum(-1).reshape(-1), minlength=length + 1)
    return total
