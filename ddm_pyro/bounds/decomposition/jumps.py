"""Jump rates of every state of an enumerable space, acting on functions and measures without a joint matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddm_pyro.spaces import StateSpace

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.processes import Process

#: Table entries a model is asked for at once; bounds the memory of its temporaries to a few times as many doubles.
CHUNK_ENTRIES = 2**21


@dataclass(frozen=True)
class Layout:
    """How a flat function on the states is seen from one position, and which of the position's symbols can jump.

    A position l splits the flat index into (left, radix, right). In a masked reverse process only masks jump and only
    tokens are reached, so ``rows`` is the mask's digit alone; otherwise it is every digit.
    """

    space: StateSpace
    masked: bool

    @property
    def length(self) -> int:
        """L."""
        return self.space.length

    def seen(self, values: Tensor, position: int) -> Tensor:
        """A flat array as (left, radix, right), a view."""
        radix = self.space.radices[position]
        return values.reshape(-1, radix, self.space.strides[position])

    def sources(self, position: int) -> slice:
        """The digits that jump."""
        radix = self.space.radices[position]
        return slice(radix - 1, radix) if self.masked else slice(0, radix)

    def targets(self, position: int) -> int:
        """How many digits can be jumped to: the tokens, or every digit."""
        return self.space.radices[position] - self.masked

    def empty(self, position: int) -> Tensor:
        """Room for a position's table, (targets, left, sources, right)."""
        radix, stride = self.space.radices[position], self.space.strides[position]
        sources = 1 if self.masked else radix
        left = self.space.num_states // (radix * stride)
        return torch.zeros(self.targets(position), left, sources, stride, dtype=torch.float64)

    def chunks(self, entries_per_state: int) -> Iterator[Tensor]:
        """Indices of the states that can jump, in pieces."""
        total = self.space.num_states
        size = max(1, CHUNK_ENTRIES // entries_per_state)
        for start in range(0, total, size):
            index = torch.arange(start, min(start + size, total))
            if self.masked:
                index = index[self.space.is_mask(self.space.unindex(index)).any(-1)]
            if len(index):
                yield index


@dataclass(frozen=True)
class Jumps:
    """Rates of single-position jumps: ``tables[l][v, left, source, right]`` from x to x with position l set to v.

    The joint generator is G(x, y) = sum_l tables[l], rows completed to sum 0; it is never formed.
    """

    layout: Layout
    tables: tuple[Tensor, ...]

    def scaled(self, factor: float) -> Jumps:
        """All rates times a number."""
        return Jumps(self.layout, tuple(table * factor for table in self.tables))

    @cached_property
    def exits(self) -> Tensor:
        """Total rate out of every state, flat."""
        out = self.tables[0].new_zeros(self.layout.space.num_states)
        for position, table in enumerate(self.tables):
            self.layout.seen(out, position)[:, self.layout.sources(position)] += table.sum(0)
        return out

    def arrivals(self, u: Tensor) -> Tensor:
        """sum over y of rate(x, y) u(y), flat: the generator's action without its diagonal."""
        out = torch.zeros_like(u)
        for position, table in enumerate(self.tables):
            seen, here = self.layout.seen(u, position), self.layout.seen(out, position)
            here = here[:, self.layout.sources(position)]
            for v, rates in enumerate(table):
                here.addcmul_(rates, seen[:, v : v + 1])
        return out

    def departures(self, p: Tensor) -> Tensor:
        """sum over x of p(x) rate(x, y), flat: what flows into y."""
        out = torch.zeros_like(p)
        for position, table in enumerate(self.tables):
            source = self.layout.seen(p, position)[:, self.layout.sources(position)]
            here = self.layout.seen(out, position)
            for v, rates in enumerate(table):
                here[:, v] += (rates * source).sum(1)
        return out


def tabulate(layout: Layout, rates: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Jumps:
    """``Jumps`` from a function of tokens (n, L) that gives moves and rates along them, both (n, L, M).

    Raises:
        ValueError: a rate that is negative, infinite or NaN.
    """
    space = layout.space
    widest = max(space.radices)
    tables = tuple(layout.empty(position) for position in range(space.length))
    for index in layout.chunks(space.length * widest):
        x = space.unindex(index)
        moves, values = rates(x)
        if not bool((torch.isfinite(values) & (values >= 0)).all()):
            bad = values[~(torch.isfinite(values) & (values >= 0))][0]
            raise ValueError(
                f"The model's reverse rate is {float(bad):.4g} at a state; rates are finite and not negative."
            )
        digits = _by_digit(space, x, moves, values.to(torch.float64), widest)
        for position, table in enumerate(tables):
            _write(layout, position, table, index, digits[:, position])
    return Jumps(layout, tables)


def _write(layout: Layout, position: int, table: Tensor, index: Tensor, rates: Tensor) -> None:
    """Put rates (n, radix) of the states ``index`` into a position's table; states that cannot jump have no place."""
    flat = table.view(len(table), -1)
    rates = rates[:, : layout.targets(position)]
    if layout.masked:
        stride, radix = layout.space.strides[position], layout.space.radices[position]
        here = index // stride % radix == radix - 1
        index, rates = index[here], rates[here]
        index = index // (stride * radix) * stride + index % stride
    flat[:, index] = rates.T


def _by_digit(space: StateSpace, x: Tensor, moves: Tensor, values: Tensor, widest: int) -> Tensor:
    digits = moves.expand(values.shape)
    if space.mask is not None and not isinstance(space.sizes, int):
        digits = torch.where(space.is_mask(digits), space.sizes_on.on(x.device).unsqueeze(-1), digits)
    # Padding (a move to x itself, or off the space) has rate 0 and may point anywhere.
    real = (digits >= 0) & (digits < widest) & (moves != x.unsqueeze(-1))
    table = torch.zeros(*x.shape, widest, dtype=torch.float64, device=values.device)
    return table.scatter_add(-1, torch.where(real, digits, 0), torch.where(real, values, 0.0)).cpu()


def layout_of(process: Process) -> Layout:
    """The layout of a process's space, masks included. Raises ValueError when it cannot be listed."""
    process.space.require_enumerable("A decomposition")
    return Layout(process.space, process.is_masked)


def model_jumps(model: Parameterization, layout: Layout, t: float) -> Jumps:
    """The model's reverse rates at time t, per unit of t."""
    time = torch.tensor(t, dtype=torch.float64)

    def rates(x: Tensor) -> tuple[Tensor, Tensor]:
        return model.process.moves(x), model.reverse_rate(x, time)

    with torch.no_grad():
        return tabulate(layout, rates)


def noise_jumps(process: Process, layout: Layout, t: float) -> Jumps:
    """The forward rates R_t[y, x] into every state x from its neighbors y, per unit of t."""
    time = torch.tensor(t, dtype=torch.float64)
    return tabulate(layout, lambda x: (process.moves(x), process.in_rates(x, time)))


def entries(layout: Layout) -> int:
    """Numbers in the tables of one ``Jumps``."""
    states = layout.space.num_states
    return sum(
        layout.targets(position) * (states // radix if layout.masked else states)
        for position, radix in enumerate(layout.space.radices)
    )
