"""Rows of tokens as sortable keys: equality, grouping and lookup of sequences of any length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


def to_numpy(values: Tensor) -> Array:
    """A tensor's values as a numpy array on the CPU."""
    array: Array = values.detach().cpu().numpy()
    return array


def row_keys(*tables: Array) -> list[Array]:
    """One sortable key a row, equal exactly when the rows are, comparable across the given (n_i, k) tables.

    Keys are mixed-radix int64 numbers while they fit, else the rows' bytes.

    Example:
        >>> a, b = row_keys(np.array([[0, 1], [1, 0]]), np.array([[1, 0]]))
        >>> bool(a[1] == b[0]), bool(a[0] == b[0])
        (True, False)
    """
    width = tables[0].shape[1]
    top = (
        np.max([table.max(0) for table in tables if len(table)], axis=0).astype(object) + 1 if width else np.array([1])
    )
    if np.prod(top) < 2**63:
        strides = np.cumprod(np.r_[1, top[::-1]][:-1])[::-1].astype(np.int64)
        return [table.astype(np.int64) @ strides if width else np.zeros(len(table), np.int64) for table in tables]
    # Big-endian bytes of equal length compare as strings exactly when the rows compare as tuples.
    dtype = np.dtype(np.min_scalar_type(int(top.max()))).newbyteorder(">")
    return [np.ascontiguousarray(table.astype(dtype)).view(f"S{width * dtype.itemsize}").ravel() for table in tables]


def group_rows(rows: Array) -> tuple[Array, Array]:
    """Distinct rows (K, L) and, for each row, the number of its group (n,).

    Example:
        >>> group_rows(np.array([[2, 1], [0, 0], [2, 1]]))[1].tolist()
        [1, 0, 1]
    """
    (keys,) = row_keys(rows)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return rows[first], inverse.reshape(-1)


def lookup(rows: Array, values: Array, default: float = 0.0) -> Callable[[Tensor], Tensor]:
    """The function with the given values on the given distinct rows, ``default`` elsewhere, as tokens -> float64.

    Example:
        >>> fn = lookup(np.array([[0, 1]]), np.array([5.0]))
        >>> fn(torch.tensor([[0, 1], [1, 1]])).tolist()
        [5.0, 0.0]
    """

    def fn(x: Tensor) -> Tensor:
        known, asked = row_keys(rows, to_numpy(x).reshape(-1, rows.shape[1]))
        order = np.argsort(known)
        place = order[np.minimum(np.searchsorted(known, asked, sorter=order), len(known) - 1)]
        found = np.where(known[place] == asked, values[place], default)
        return torch.from_numpy(found.astype(np.float64)).reshape(x.shape[:-1]).to(x.device)

    return fn
