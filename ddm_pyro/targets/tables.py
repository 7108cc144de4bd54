"""Tables over product spaces: joint evidence by outer sums, all one-site marginals by halving."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

#: Doubles a temporary array of a posterior may hold; larger batches go in chunks.
CHUNK_DOUBLES = 2**24

#: Subtracted in place of a maximum of -inf, so that rows of total zero become zeros and not NaN.
LOWEST = torch.finfo(torch.float64).min


def joint_log_evidence(log_evidence: Tensor, sizes: Sequence[int]) -> Tensor:
    """Sum of the evidence of every sequence: (..., L, V) -> (..., prod sizes), first position most significant.

    Example:
        >>> joint_log_evidence(torch.tensor([[0.0, 10.0], [1.0, 2.0]]), (2, 2)).tolist()
        [1.0, 2.0, 11.0, 12.0]
    """
    joint = log_evidence.new_zeros(*log_evidence.shape[:-2], 1)
    for position, size in enumerate(sizes):
        joint = (joint.unsqueeze(-1) + log_evidence[..., position, None, :size]).flatten(-2)
    return joint


def site_marginals(weights: Tensor, sizes: Sequence[int], vocab: int) -> Tensor:
    """One-site sums of a table: (..., prod sizes) -> (..., L, vocab), padded by zeros.

    Each half of the positions is summed out at once, so that all L marginals cost about three passes, not L.

    Example:
        >>> site_marginals(torch.tensor([1.0, 2.0, 3.0, 4.0]), (2, 2), 2).tolist()
        [[3.0, 7.0], [4.0, 6.0]]
    """
    if len(sizes) == 1:
        return torch.nn.functional.pad(weights, (0, vocab - sizes[0])).unsqueeze(-2)
    cut = len(sizes) // 2
    left, right = sizes[:cut], sizes[cut:]
    table = weights.unflatten(-1, (math.prod(left), math.prod(right)))
    halves = [site_marginals(table.sum(-1), left, vocab), site_marginals(table.sum(-2), right, vocab)]
    return torch.cat(halves, -2)


def peaked(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """exp(log_weights - peak) and the peak (..., 1) over the last dimension; rows of -inf give zeros."""
    peak = log_weights.amax(-1, keepdim=True)
    return (log_weights - peak.clamp(min=LOWEST)).exp(), peak


def in_chunks(rows: int, doubles_per_row: int) -> list[slice]:
    """Slices of the batch whose temporaries stay under CHUNK_DOUBLES."""
    step = max(1, CHUNK_DOUBLES // max(doubles_per_row, 1))
    return [slice(start, start + step) for start in range(0, max(rows, 1), step)]
