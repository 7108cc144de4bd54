"""Batches of any shape as rows: networks and steps work on (n, L), Pyro's plates on (..., L)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization


#: Network rows a call works on.
ROWS_PER_CALL = 2**14


def by_chunks(run: Callable[[Tensor], Tensor], count: int, device: torch.device, width: int = ROWS_PER_CALL) -> Tensor:
    """``run`` on the row indices 0 .. count - 1, at most ``width`` at a time, and what it returns put together."""
    parts = torch.arange(count, device=device).split(max(1, width))
    return torch.cat([run(part) for part in parts])


def conditioned_rows(model: Parameterization) -> int | None:
    """Number of rows the model's conditioning has, or None when it has no rows.

    Raises:
        ValueError: conditions of different lengths.
    """
    lengths = {len(value) for value in model.cond.values() if isinstance(value, Tensor) and value.dim() > 0}
    if len(lengths) > 1:
        raise ValueError(f"The conditions have {sorted(lengths)} rows; they must agree.")
    return lengths.pop() if lengths else None


def select_rows(model: Parameterization, index: Tensor) -> Parameterization:
    """The model for flat batch rows ``index``: conditions follow the rightmost batch dimension and repeat over others.

    Raises:
        ValueError: conditions of different lengths.
    """
    count = conditioned_rows(model)
    return model if count is None else model.rows(index % count)


def check_rows(model: Parameterization, batch_shape: torch.Size) -> None:
    """Raise ValueError unless the model's conditions fit the rightmost dimension of the batch."""
    count = conditioned_rows(model)
    if count not in (None, 1) and (not batch_shape or batch_shape[-1] != count):
        raise ValueError(
            f"The model is conditioned on {count} rows, but the batch shape is {tuple(batch_shape)}; its last "
            f"dimension must be {count}, as in a plate of {count}."
        )
