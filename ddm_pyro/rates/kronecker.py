"""The joint generator of independent positions: Q_1 (+) Q_2 (+) ... (+) Q_L."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, reduce

import torch
from torch import Tensor

from ddm_pyro.arrays import OnDevice
from ddm_pyro.rates.base import RateMatrix
from ddm_pyro.spaces import StateSpace


class KroneckerSum:
    """One position jumps at a time, position l with its own rate matrix.

    Token methods take sequences ``x`` (..., L) and noise ``sigma`` broadcasting against ``x.shape[:-1]``, and
    return arrays padded to A = V (+ 1) symbols, V being the largest alphabet and the mask id; symbols a position does
    not have get 0. ``push`` moves a pmf of the whole space without a joint matrix.

    Args:
        rates: one RateMatrix a position; positions that share an object are computed together.

    Raises:
        ValueError: no rates, or masked and unmasked, or finite and countable, alphabets mixed.

    Example:
        >>> from ddm_pyro.rates import Uniform
        >>> joint = KroneckerSum([Uniform(2), Uniform(3)])
        >>> joint.matrix().shape, joint.space.sizes
        (torch.Size([6, 6]), (2, 3))
    """

    def __init__(self, rates: Sequence[RateMatrix]) -> None:
        self.rates = tuple(rates)
        if not self.rates:
            raise ValueError("KroneckerSum needs at least one rate matrix.")
        for rate in self.rates:
            if not isinstance(rate, RateMatrix):
                raise TypeError(f"KroneckerSum got {rate!r}; every position needs a RateMatrix.")
        if len({rate.has_mask for rate in self.rates}) > 1:
            raise ValueError(f"rates {self.rates} mix masked and unmasked chains; all positions must agree.")
        if len({rate.vocab_size is None for rate in self.rates}) > 1:
            raise ValueError(f"rates {self.rates} mix finite and countable alphabets; all positions must agree.")

    @cached_property
    def space(self) -> StateSpace:
        """Sequences the chain runs on, masks included."""
        sizes = [rate.vocab_size for rate in self.rates]
        finite = None if sizes[0] is None else tuple(size for size in sizes if size is not None)
        return StateSpace(finite, len(self.rates), mask=True if self.rates[0].has_mask else None)

    @cached_property
    def groups(self) -> list[tuple[RateMatrix, list[int]]]:
        """Distinct rate objects with the positions they act on."""
        found: dict[int, tuple[RateMatrix, list[int]]] = {}
        for position, rate in enumerate(self.rates):
            found.setdefault(id(rate), (rate, []))[1].append(position)
        return list(found.values())

    @cached_property
    def _indices(self) -> list[OnDevice]:
        return [OnDevice(positions) for _, positions in self.groups]

    def _groups_on(self, device: torch.device) -> list[tuple[RateMatrix, Tensor]]:
        return [(rate, index.on(device)) for (rate, _), index in zip(self.groups, self._indices, strict=True)]

    @property
    def is_homogeneous(self) -> bool:
        """Whether one rate object serves all positions."""
        return len(self.groups) == 1

    @cached_property
    def has_full_moves(self) -> bool:
        """Whether ``moves`` lists every symbol in order, so that tables need no gathering."""
        return self.is_homogeneous and type(self.rates[0]).moves is RateMatrix.moves

    def moves(self, x: Tensor) -> Tensor:
        """Symbols each position can go to, (..., L, M); entries equal to the token itself are padding."""
        if self.is_homogeneous:
            return self.rates[0].moves(x)
        width = max(rate.moves(self._local(rate, x[..., :1])).shape[-1] for rate, _ in self.groups)
        out = x.unsqueeze(-1).expand(*x.shape, width).clone()
        for rate, positions in self._groups_on(x.device):
            local = rate.moves(self._local(rate, x[..., positions]))
            out[..., positions, : local.shape[-1]] = torch.where(local.eq(_mask_of(rate)), self.space.vocab_size, local)
        return out

    def out_rates(self, x: Tensor) -> Tensor:
        """Q_l[x_l, move], (..., L, M)."""
        return self._rates(x, lambda rate, tokens: rate.out_rates(tokens))

    def in_rates(self, x: Tensor) -> Tensor:
        """Q_l[move, x_l], (..., L, M)."""
        return self._rates(x, lambda rate, tokens: rate.in_rates(tokens))

    def _rates(self, x: Tensor, of: Callable[[RateMatrix, Tensor], Tensor]) -> Tensor:
        if self.is_homogeneous:
            return of(self.rates[0], x)
        parts = [
            (positions, of(rate, self._local(rate, x[..., positions]))) for rate, positions in self._groups_on(x.device)
        ]
        width = max(part.shape[-1] for _, part in parts)
        out = torch.zeros(*x.shape, width, dtype=torch.float64, device=x.device)
        for positions, part in parts:
            out[..., positions, : part.shape[-1]] = part
        return out

    def jump_rates(self, position: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Q_l[x, y] and the exit rate -Q_l[x, x] at chosen positions l: three (...) int64 -> two (...) float64."""
        if self.is_homogeneous:
            return _jump_rates(self.rates[0], x, y)
        jump = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
        leave = torch.zeros_like(jump)
        for rate, positions in self.groups:
            here = torch.isin(position, torch.tensor(positions, device=position.device))
            jump[here], leave[here] = _jump_rates(rate, self._local(rate, x[here]), self._local(rate, y[here]))
        return jump, leave

    def row(self, x: Tensor, sigma: Tensor) -> Tensor:
        """exp(sigma Q_l)[x_l, .], (..., L, A)."""
        return self._tables(x, sigma, lambda rate, tokens, noise: rate.row(tokens, noise))

    def likelihood(self, x: Tensor, sigma: Tensor) -> Tensor:
        """v -> exp(sigma Q_l)[v, x_l], (..., L, A)."""
        return self._tables(x, sigma, lambda rate, tokens, noise: rate.likelihood(tokens, noise))

    def _tables(self, x: Tensor, sigma: Tensor, of: Callable[[RateMatrix, Tensor, Tensor], Tensor]) -> Tensor:
        noise = sigma.unsqueeze(-1)
        if self.is_homogeneous:
            return of(self.rates[0], x, noise)
        shape = (*torch.broadcast_shapes(x.shape[:-1], sigma.shape), len(self.rates), self.space.num_symbols)
        out = torch.zeros(shape, dtype=torch.float64, device=x.device)
        for rate, positions in self._groups_on(x.device):
            table = of(rate, self._local(rate, x[..., positions]), noise)
            out[..., positions, :] = self._spread(rate, table)
        return out

    def evolve(self, p: Tensor, sigma: Tensor) -> Tensor:
        """p_l exp(sigma Q_l) for measures on each position's symbols, (..., L, A) -> (..., L, A)."""
        noise = sigma.unsqueeze(-1)
        if self.is_homogeneous:
            return self.rates[0].evolve(p, noise)
        shape = (*torch.broadcast_shapes(p.shape[:-2], sigma.shape), *p.shape[-2:])
        out = torch.zeros(shape, dtype=p.dtype, device=p.device)
        for rate, positions in self._groups_on(p.device):
            columns = self._columns(rate, p.device)
            out[..., positions, :] = self._spread(rate, rate.evolve(p[..., positions, :][..., columns], noise))
        return out

    def push(self, pmf: Tensor, sigma: Tensor | float) -> Tensor:
        """The flat pmf after noise sigma: pmf exp(sigma (Q_1 (+) ... (+) Q_L)), one small product a position."""
        self.space.require_enumerable("push")
        sigma = torch.as_tensor(sigma, dtype=torch.float64, device=pmf.device)
        radices = self.space.radices
        table = pmf.to(torch.float64).reshape(-1)
        for rate, radix in zip(self.rates, radices, strict=True):
            # The leading axis is transformed and moved to the back, so after L turns the order is restored.
            table = rate.evolve(table.reshape(radix, -1).T, sigma).reshape(-1)
        return table

    def matrix(self) -> Tensor:
        """The joint generator, (N, N) float64; refused beyond 4096 states."""
        self.space.require_enumerable("The joint generator matrix", limit=4096)
        total = math.prod(self.space.radices)
        out = torch.zeros(total, total, dtype=torch.float64)
        for position, rate in enumerate(self.rates):
            factors = [torch.eye(radix, dtype=torch.float64) for radix in self.space.radices]
            factors[position] = rate.matrix()
            out += reduce(torch.kron, factors)
        return out

    def exit_bound(self) -> float:
        """Largest total rate out of a sequence."""
        return sum(rate.exit_bound() * len(positions) for rate, positions in self.groups)

    def _local(self, rate: RateMatrix, tokens: Tensor) -> Tensor:
        # In padded arrays the mask is V = max(sizes) everywhere; a rate knows it as its own vocab_size.
        if not rate.has_mask:
            return tokens
        return torch.where(self.space.is_mask(tokens), _mask_of(rate), tokens)

    def _columns(self, rate: RateMatrix, device: torch.device) -> Tensor:
        columns = torch.arange(rate.num_symbols or 0, device=device)
        return torch.where(columns.eq(_mask_of(rate)), self.space.vocab_size, columns)

    def _spread(self, rate: RateMatrix, table: Tensor) -> Tensor:
        out = torch.zeros(*table.shape[:-1], self.space.num_symbols, dtype=table.dtype, device=table.device)
        return out.index_copy(-1, self._columns(rate, table.device), table)

    def __repr__(self) -> str:
        if self.is_homogeneous:
            return f"KroneckerSum([{self.rates[0]!r}] * {len(self.rates)})"
        return f"KroneckerSum({list(self.rates)})"


def _mask_of(rate: RateMatrix) -> int:
    return rate.vocab_size if rate.has_mask and rate.vocab_size is not None else -1


def _jump_rates(rate: RateMatrix, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    rates = rate.out_rates(x)
    return (rates * (rate.moves(x) == y.unsqueeze(-1))).sum(-1), rates.sum(-1)
