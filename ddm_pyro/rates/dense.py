"""Any finite generator, given as a matrix and checked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ddm_pyro.arrays import OnDevice, float64, has_data
from ddm_pyro.rates.base import RateMatrix

#: Relative tolerance for the row sums of a generator; float32 input stays below it.
ROW_TOLERANCE = 1e-6


class Dense(RateMatrix):
    """Any finite generator, given as a matrix.

    A matrix that requires grad is not detached, so that kernels and path densities differentiate with respect to it;
    gradients go to the off-diagonal rates, the diagonal being minus their sum.

    Args:
        matrix: (V, V), Q[x, y] the rate from x to y; off-diagonal entries >= 0, rows summing to 0.

    Raises:
        ValueError: not square, NaN or infinite, a negative rate, a row that does not sum to 0 (quoted).

    Example:
        >>> Dense([[-1.0, 1.0], [2.0, -2.0]]).stationary().probs
        tensor([0.6667, 0.3333], dtype=torch.float64)
    """

    def __init__(self, matrix: Any) -> None:
        matrix = check_generator(float64(matrix))
        self._matrix = OnDevice(matrix)
        self._limit: OnDevice | None = None
        self.vocab_size = len(matrix)

    @classmethod
    def from_rates(cls, rates: Any) -> Dense:
        """The generator with the off-diagonal entries of ``rates`` (V, V) >= 0; its diagonal is ignored.

        Example:
            >>> Dense.from_rates([[0.0, 1.0], [2.0, 0.0]]).matrix().tolist()
            [[-1.0, 1.0], [2.0, -2.0]]
        """
        rates = float64(rates)
        return cls(_with_exits(rates) if rates.dim() == 2 and rates.shape[0] == rates.shape[1] else rates)

    def matrix(self) -> Tensor:
        """The generator as given."""
        return self._matrix.values

    def matrix_on(self, device: torch.device) -> Tensor:
        """The generator on a device, copied there once."""
        return self._matrix.on(device)

    def limit_on(self, device: torch.device) -> Tensor:
        """The kernel as sigma -> infinity, worked out once."""
        if self._limit is not None:
            return self._limit.on(device)
        limit = super().limit_on(device)
        if has_data(limit) and not limit.requires_grad and not self.matrix().requires_grad:
            self._limit = OnDevice(limit)
        return limit

    def __repr__(self) -> str:
        return f"Dense({self.vocab_size} x {self.vocab_size})"


def check_generator(generator: Tensor) -> Tensor:
    """Return a valid generator, or raise ValueError that quotes what is wrong with it."""
    matrix = generator.detach()
    if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) == 0:
        raise ValueError(f"The generator has shape {tuple(matrix.shape)}; it must be square, (V, V).")
    if not bool(torch.isfinite(matrix).all()):
        where = (~torch.isfinite(matrix)).nonzero()[0].tolist()
        raise ValueError(f"The generator has the entry {float(matrix[tuple(where)])} at {where}; rates must be finite.")
    off_diagonal = matrix - torch.diag(matrix.diagonal())
    if bool((off_diagonal < 0).any()):
        where = (off_diagonal < 0).nonzero()[0].tolist()
        raise ValueError(
            f"The generator has the rate {float(matrix[tuple(where)]):.6g} at {where}; "
            "off-diagonal rates must not be negative."
        )
    sums = matrix.sum(-1)
    scale = max(1.0, float(off_diagonal.max()))
    if bool((sums.abs() > ROW_TOLERANCE * scale).any()):
        row = int(sums.abs().argmax())
        hint = (
            "; columns sum to 0, so pass the transpose (rows are 'from')"
            if bool((matrix.sum(0).abs() <= ROW_TOLERANCE * scale).all())
            else ""
        )
        raise ValueError(
            f"Row {row} of the generator sums to {float(sums[row]):.6g}; rows must sum to 0, "
            f"the diagonal being minus the exit rate{hint}."
        )
    # Rounding within the tolerance goes to the diagonal, so that kernels conserve mass to float64.
    return _with_exits(generator)


def _with_exits(rates: Tensor) -> Tensor:
    off_diagonal = rates.masked_fill(torch.eye(len(rates), dtype=torch.bool, device=rates.device), 0.0)
    return off_diagonal - torch.diag(off_diagonal.sum(-1))
