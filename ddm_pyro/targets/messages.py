"""Exact inference on lines and rings of finite variables: scaled forward-backward messages and exact draws.

The law is proportional to prod_l exp(local[l, x_l]) prod_l T_l(x_l, x_{l+1}), l = 0 .. L-2 on a line; a ring has
T_{L-1}(x_{L-1}, x_0) as well and is handled by conditioning on x_0. Messages are divided by their maximum at
every step: a state whose odds against the best of its position fall below e^-745 counts as excluded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ddm_pyro.distributions import inverse_cdf
from ddm_pyro.targets.tables import in_chunks, peaked


class Transfer(ABC):
    """The nonnegative matrices T_l between neighbours, as operators on arrays (..., K)."""

    @abstractmethod
    def forward(self, message: Tensor, link: int) -> Tensor:
        """sum_x message[x] T_link(x, y)."""

    @abstractmethod
    def backward(self, message: Tensor, link: int) -> Tensor:
        """sum_y T_link(x, y) message[y]."""

    @abstractmethod
    def into(self, state: Tensor, link: int) -> Tensor:
        """The columns T_link(., state), (n,) -> (n, K)."""


class DenseTransfer(Transfer):
    """One (K, K) matrix for every link, or (links, K, K).

    Example:
        >>> DenseTransfer(torch.tensor([[1.0, 2.0], [0.0, 3.0]])).forward(torch.tensor([1.0, 1.0]), 0).tolist()
        [1.0, 5.0]
    """

    def __init__(self, matrices: Tensor) -> None:
        self.matrices = matrices

    def _at(self, link: int, device: torch.device) -> Tensor:
        return (self.matrices if self.matrices.dim() == 2 else self.matrices[link]).to(device)

    def forward(self, message: Tensor, link: int) -> Tensor:
        """sum_x message[x] T_link(x, y)."""
        return message @ self._at(link, message.device)

    def backward(self, message: Tensor, link: int) -> Tensor:
        """sum_y T_link(x, y) message[y]."""
        return message @ self._at(link, message.device).T

    def into(self, state: Tensor, link: int) -> Tensor:
        """The columns T_link(., state)."""
        return self._at(link, state.device).T[state]


class SpinRowTransfer(Transfer):
    """Rows of w spins coupled spin by spin: T(x, y) = prod_j (same if x_j = y_j else cross), K = 2^w.

    The matrix is a Kronecker product, so a message costs w 2^w multiplications and no K x K array exists.

    Example:
        >>> SpinRowTransfer(torch.tensor(1.0), torch.tensor(0.5), 2).forward(torch.tensor([1.0, 0, 0, 0]), 0).tolist()
        [1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, same: Tensor, cross: Tensor, width: int) -> None:
        self.same, self.cross, self.width = same, cross, width

    def forward(self, message: Tensor, link: int) -> Tensor:
        """sum_x message[x] T(x, y)."""
        same, cross = self.same.to(message.device), self.cross.to(message.device)
        for spin in range(self.width):
            grid = message.unflatten(-1, (2**spin, 2, -1))
            message = (same * grid + cross * grid.flip(-2)).flatten(-3)
        return message

    def backward(self, message: Tensor, link: int) -> Tensor:
        """The same: T is symmetric."""
        return self.forward(message, link)

    def into(self, state: Tensor, link: int) -> Tensor:
        """The columns T(., state): T(x, y) depends on the spins that differ, which x xor y lists."""
        states = torch.arange(2**self.width, device=state.device)
        from_zero = self.forward((states == 0).to(torch.float64), link)
        return from_zero[states ^ state.unsqueeze(-1)]


def forward_messages(local: Tensor, transfer: Transfer) -> tuple[list[Tensor], Tensor]:
    """Log forward messages and the log total: (B, L, K) -> L arrays (B, K), and (B,).

    The l-th message is sum over x_0 .. x_{l-1} of everything up to and with local[l], up to a factor a row.

    Example:
        >>> line = torch.zeros(1, 3, 2, dtype=torch.float64)
        >>> messages, log_total = forward_messages(line, DenseTransfer(torch.ones(2, 2, dtype=torch.float64)))
        >>> round(log_total.exp().item(), 9)
        8.0
    """
    length = local.shape[1]
    messages, log_total = [local[:, 0]], local.new_zeros(local.shape[0], 1)
    for link in range(length - 1):
        weights, peak = peaked(messages[-1])
        log_total = log_total + peak
        messages.append(transfer.forward(weights, link).log() + local[:, link + 1])
    return messages, (log_total + messages[-1].logsumexp(-1, keepdim=True)).squeeze(-1)


def line_marginals(local: Tensor, transfer: Transfer) -> tuple[Tensor, Tensor]:
    """Log marginals on a line up to a factor a position, and the log total: (B, L, K) -> (B, L, K), (B,)."""
    marginals, log_total = forward_messages(local, transfer)
    log_beta = torch.zeros_like(local[:, 0])
    for link in range(local.shape[1] - 2, -1, -1):
        weights, _ = peaked(log_beta + local[:, link + 1])
        log_beta = transfer.backward(weights, link).log()
        marginals[link] = marginals[link] + log_beta
    return torch.stack(marginals, 1), log_total


def ring_marginals(local: Tensor, transfer: Transfer) -> tuple[Tensor, Tensor]:
    """As ``line_marginals`` on a ring of at least two: the K lines with x_0 = c, mixed by their totals."""
    batch, length, states = local.shape
    pieces = []
    for rows in in_chunks(batch, 4 * states * length * states):
        opened = open_ring(local[rows], transfer)
        marginals, log_totals = line_marginals(opened.flatten(0, 1), transfer)
        marginals = (marginals - marginals.logsumexp(-1, keepdim=True)).unflatten(0, (-1, states)).exp()
        log_totals = log_totals.unflatten(0, (-1, states))
        weights, _ = peaked(log_totals)
        # A line of total zero has marginals 0/0; its weight is zero as well.
        mixed = (weights[..., None, None] * marginals.nan_to_num(0.0)).sum(1).log()
        pieces.append((mixed, log_totals.logsumexp(-1)))
    mixtures, totals = zip(*pieces, strict=True)
    return torch.cat(mixtures), torch.cat(totals)


def open_ring(local: Tensor, transfer: Transfer) -> Tensor:
    """Local terms of the lines got by fixing x_0 = c: (B, L, K) -> (B, c, L, K)."""
    states, length = local.shape[-1], local.shape[1]
    every = torch.eye(states, dtype=local.dtype, device=local.device)
    opened = local.unsqueeze(1).repeat(1, states, 1, 1)
    opened[:, :, 0] = opened[:, :, 0] + every.log()
    opened[:, :, -1] = opened[:, :, -1] + transfer.backward(every, length - 1).log()
    return opened


def draw(local: Tensor, transfer: Transfer, closed: bool, u: Tensor) -> Tensor:
    """Exact draws by forward messages and backward draws: (L, K) and uniforms (n, L) -> (n, L) int64.

    Example:
        >>> chain = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64).log()
        >>> copies = DenseTransfer(torch.eye(2, dtype=torch.float64))
        >>> draw(chain, copies, False, torch.rand(3, 2)).tolist()
        [[1, 1], [1, 1], [1, 1]]
    """
    length, states = local.shape
    lines = open_ring(local.unsqueeze(0), transfer)[0] if closed else local.unsqueeze(0)
    messages, log_totals = forward_messages(lines, transfer)
    x = torch.empty(u.shape, dtype=torch.int64, device=u.device)
    for rows in in_chunks(len(u), 6 * states):
        uniforms = u[rows]
        line = torch.zeros(len(uniforms), dtype=torch.int64, device=u.device)
        if closed:
            line = inverse_cdf(peaked(log_totals)[0].expand(len(uniforms), -1), uniforms[:, 0])
            x[rows, 0] = line
        for position in range(length - 1, int(closed) - 1, -1):
            weights = peaked(messages[position])[0][line]
            if position < length - 1:
                weights = weights * transfer.into(x[rows, position + 1], position)
            x[rows, position] = inverse_cdf(weights, uniforms[:, position])
    return x
