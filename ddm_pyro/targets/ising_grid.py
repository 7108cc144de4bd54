"""The Ising model on a rectangle or a torus, exact by row transfer matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets.base import Target, normalize
from ddm_pyro.targets.checks import finite, whole
from ddm_pyro.targets.messages import SpinRowTransfer, draw, forward_messages, line_marginals, open_ring, ring_marginals
from ddm_pyro.targets.tables import in_chunks, joint_log_evidence, peaked, site_marginals

#: Largest shorter side: a row is one variable of 2^width states (and of 4^width pairs on a torus).
MAX_WIDTH, MAX_TORUS_WIDTH = 14, 8

#: Largest 2 |beta| width: beyond it the weights of two rows differ by more than float64 holds.
MAX_ROW_ENERGY = 600.0


class IsingGrid(Target):
    """P(x) proportional to exp(beta sum_neighbours s s' + field sum s), spin s = 2x - 1, tokens x in {0, 1}.

    Sites are in reading order, L = height * width. ``periodic`` joins opposite sides (a side of two is then joined
    twice, a side of one not at all). The partition function, the posterior and the draws are exact: rows of the
    shorter side are single variables on a line (or ring) and messages between them cost w 2^w.

    Attributes:
        log_partition: log of the sum of exp(beta sum s s' + field sum s), float64.

    Raises:
        ValueError: a shorter side above ``MAX_WIDTH`` (``MAX_TORUS_WIDTH`` on the torus), couplings not finite or
            too strong for float64.

    Example:
        >>> grid = IsingGrid(2, 2, beta=0.5)
        >>> grid.tabular().pmf.argmax().item(), round(grid.entropy().item(), 6)
        (0, 2.224955)
    """

    def __init__(
        self,
        height: int,
        width: int,
        beta: float,
        field: float = 0.0,
        periodic: bool = False,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.image_shape = (whole(height, "height"), whole(width, "width"))
        self.beta, self.field, self.periodic = finite(beta, "beta"), finite(field, "field", 1e6), bool(periodic)
        self._length, self._width = max(self.image_shape), min(self.image_shape)
        limit = MAX_TORUS_WIDTH if self.periodic else MAX_WIDTH
        if self._width > limit:
            raise ValueError(
                f"A {height} x {width} {'torus' if self.periodic else 'grid'} needs rows of 2^{self._width} states; "
                f"exact inference stops at a shorter side of {limit}."
            )
        if 2 * abs(self.beta) * self._width > MAX_ROW_ENERGY:
            raise ValueError(
                f"beta={beta!r} is too strong for float64 at width {self._width}; "
                f"2 |beta| width may be {MAX_ROW_ENERGY:g}."
            )
        sites = torch.arange(height * width).reshape(self.image_shape)
        #: Sites row by row along the shorter side, (rows, width).
        self._sites = sites if height >= width else sites.T
        super().__init__(StateSpace(2, height * width), validate_args=validate_args)
        self.log_partition = self._log_total(*self._parameters())

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), (..., L) -> (...,), float64."""
        rows, inside, shape = self._rows(value)
        spins = (2.0 * rows.double() - 1).unflatten(-1, self.image_shape)
        energy = self.field * spins.sum((-2, -1))
        for axis, size in zip((-2, -1), self.image_shape, strict=True):
            bonds = spins * spins.roll(-1, axis)
            energy = energy + self.beta * bonds.narrow(axis, 0, size if self._wraps(size) else size - 1).sum((-2, -1))
        return (energy - self.log_partition.to(rows.device)).masked_fill(~inside, -torch.inf).reshape(shape)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Independent draws, (*sample_shape, *batch, L)."""
        beta, field = self._parameters()
        shape = torch.Size((*sample_shape, *self.batch_shape))
        u = random.uniform((*shape, self._length), self._device).reshape(-1, self._length)
        local = self._row_energy(beta, field).expand(self._length, -1)
        states = draw(local, self._transfer(beta)[0], self._wraps(self._length), u)
        x = torch.empty((len(u), self.space.length), dtype=torch.int64, device=u.device)
        x[:, self._sites.flatten()] = self._bits(states.device)[states].long().flatten(1)
        return x.reshape(*shape, -1)

    def entropy(self) -> Tensor:
        """H = log Z - beta d(log Z)/d(beta) - field d(log Z)/d(field), nats."""
        with torch.enable_grad():
            beta, field = (parameter.requires_grad_() for parameter in self._parameters())
            by_beta, by_field = torch.autograd.grad(self._log_total(beta, field), (beta, field))
        return (self.log_partition - self.beta * by_beta - self.field * by_field).expand(self.batch_shape)

    def posterior(self, log_evidence: Tensor) -> Tensor:
        """Log marginals given unary evidence, (..., L, 2) -> (..., L, 2)."""
        rows, shape = self._evidence(log_evidence)
        beta, field = (parameter.to(rows.device) for parameter in self._parameters())
        transfer, energy, order = self._transfer(beta)[0], self._row_energy(beta, field), self._sites.flatten()
        solve = ring_marginals if self._wraps(self._length) else line_marginals
        by_row = rows[:, order].unflatten(1, (self._length, self._width))
        pieces = []
        for part in in_chunks(len(rows), 4 * self._length * 2**self._width):
            local = joint_log_evidence(by_row[part], (2,) * self._width) + energy
            weights, _ = peaked(solve(local, transfer)[0])
            pieces.append(site_marginals(weights, (2,) * self._width, 2).log().flatten(1, 2))
        weights = torch.empty_like(rows)
        weights[:, order] = torch.cat(pieces)
        return normalize(weights, self.space).reshape(*shape, *rows.shape[1:])

    def _parameters(self) -> tuple[Tensor, Tensor]:
        return torch.tensor(self.beta, dtype=torch.float64), torch.tensor(self.field, dtype=torch.float64)

    def _wraps(self, size: int) -> bool:
        return self.periodic and size > 1

    def _bits(self, device: torch.device | None = None) -> Tensor:
        return StateSpace(2, self._width).enumerate(device)

    def _row_energy(self, beta: Tensor, field: Tensor) -> Tensor:
        """Energy inside a row, (2^width,)."""
        spins = 2.0 * self._bits(beta.device).double() - 1
        bonds = (spins * spins.roll(-1, -1))[:, : self._width if self._wraps(self._width) else self._width - 1]
        return beta * bonds.sum(-1) + field * spins.sum(-1)

    def _transfer(self, beta: Tensor) -> tuple[SpinRowTransfer, Tensor]:
        """Bonds between rows with their largest entry made 1, and the log of what was divided out a pair of rows."""
        same, cross = (2 * beta).clamp(max=0.0).exp(), (-2 * beta).clamp(max=0.0).exp()
        return SpinRowTransfer(same, cross, self._width), beta.abs() * self._width

    def _log_total(self, beta: Tensor, field: Tensor) -> Tensor:
        transfer, scale = self._transfer(beta)
        lines = self._row_energy(beta, field).expand(1, self._length, -1)
        closed = self._wraps(self._length)
        lines = open_ring(lines, transfer)[0] if closed else lines
        links = self._length if closed else self._length - 1
        return forward_messages(lines, transfer)[1].logsumexp(0) + links * scale

    def __repr__(self) -> str:
        height, width = self.image_shape
        return f"IsingGrid({height}, {width}, beta={self.beta}, field={self.field}, periodic={self.periodic})"
