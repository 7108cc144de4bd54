"""Laws of sequences as tensors, one axis a position, and the kernels that move them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ddm_pyro.arrays import float64
from ddm_pyro.processes import Process
from ddm_pyro.spaces import StateSpace


def own_symbols(space: StateSpace) -> list[list[int]]:
    """The symbols of each position, its mask last, as columns of padded tables.

    Example:
        >>> own_symbols(StateSpace((1, 2), 2, mask=True))
        [[0, 2], [0, 1, 2]]
    """
    return [[*range(size), *([space.mask] if space.mask is not None else [])] for size in space.position_sizes]


def position_kernels(process: Process, s: Tensor | float, t: Tensor | float) -> list[Tensor]:
    """P(x_t^l = . | x_s^l = .) of each position over its own symbols, rows from; s <= t."""
    space = process.space
    start = torch.eye(space.num_symbols, dtype=torch.float64).unsqueeze(1).expand(-1, space.length, -1)
    # Matrix exponentials leave zeros slightly negative.
    table = process.evolve(start, float64(s), float64(t)).clamp(min=0.0) if float(t) > float(s) else start
    return [table[own][:, position][:, own] for position, own in enumerate(own_symbols(space))]


def padded(pmf: Tensor, space: StateSpace) -> Tensor:
    """A flat pmf of the data as a tensor over the symbols of ``space``, zero on masks."""
    table = torch.zeros(space.radices, dtype=torch.float64)
    table[tuple(slice(0, size) for size in space.position_sizes)] = pmf.reshape(space.position_sizes)
    return table


def carried(table: Tensor, kernels: Sequence[Tensor]) -> Tensor:
    """A law in tensor shape after independent moves of its positions."""
    for axis, kernel in enumerate(kernels):
        table = torch.tensordot(table, kernel, ([axis], [0])).movedim(-1, axis)
    return table


def joint_kernel(kernels: Sequence[Tensor]) -> Tensor:
    """The kernel of all positions together, (N, N) in index order.

    Example:
        >>> flip = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double()
        >>> joint_kernel([flip, torch.eye(2).double()])[0].tolist()
        [0.0, 0.0, 1.0, 0.0]
    """
    joint = torch.ones(1, 1, dtype=torch.float64)
    for kernel in kernels:
        joint = torch.kron(joint, kernel)
    return joint


def pattern_mass(pmf: Tensor, space: StateSpace) -> Tensor:
    """P(X agrees with the revealed tokens of x) for every x with masks, flat over ``space``.

    Example:
        >>> mass = pattern_mass(torch.tensor([0.25, 0.75]).double(), StateSpace(2, 1, mask=True))
        >>> mass.tolist()
        [0.25, 0.75, 1.0]
    """
    table = pmf.reshape(space.position_sizes)
    for axis in range(space.length):
        table = torch.cat([table, table.sum(axis, keepdim=True)], axis)
    return table.reshape(-1)
