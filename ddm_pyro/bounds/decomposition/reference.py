"""The exact chain a sampler is compared with: its laws, its kernels and its flows between neighbors."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddm_pyro.bounds.decomposition.jumps import Layout, noise_jumps
from ddm_pyro.spaces import StateSpace

if TYPE_CHECKING:
    from ddm_pyro.processes import Process


@dataclass(frozen=True)
class Reference(ABC):
    """The noised data law p_t and its exact reverse chain.

    The reverse chain is never divided out: p_t(x) Kbar(x, y) = p_s(y) F(y, x) needs forward quantities only, so states
    of probability zero do no harm.
    """

    process: Process
    data: Tensor  # flat pmf over the data

    @abstractmethod
    def law(self, t: float) -> Tensor:
        """p_t, flat over the process's space."""

    @abstractmethod
    def carry(self, measure: Tensor, s: float, t: float) -> Tensor:
        """A signed measure at s taken to t by the forward kernel: carry(p_s v)(x) = p_t(x) E[v(X_s) | X_t = x]."""

    @abstractmethod
    def flow(self, layout: Layout, t: float, scale: float) -> tuple[Tensor, ...]:
        """scale times p_t(y) R_t(y, x), laid out as ``Jumps.tables`` by x and the symbol of y."""


@dataclass(frozen=True)
class Noised(Reference):
    """Any process: p_t by its kernels, one position after the other."""

    def law(self, t: float) -> Tensor:
        """p_t."""
        return self.carry(embed(self.data, self.process.space), 0.0, t)

    def carry(self, measure: Tensor, s: float, t: float) -> Tensor:
        """One small product a position."""
        if s == t:
            return measure
        layout = Layout(self.process.space, False)
        for position, kernel in enumerate(kernels(self.process, s, t)):
            seen = layout.seen(measure, position)
            measure = torch.einsum("lar,av->lvr", seen, kernel).reshape(-1)
        return measure

    def flow(self, layout: Layout, t: float, scale: float) -> tuple[Tensor, ...]:
        """p_t(y) R_t(y, x)."""
        p, rates = self.law(t) * scale, noise_jumps(self.process, layout, t)
        return tuple(
            table * layout.seen(p, position).transpose(0, 1).unsqueeze(2) for position, table in enumerate(rates.tables)
        )


@dataclass(frozen=True)
class Masked(Reference):
    """A masked process, whose tokens are masked independently with probability m(t) / m(top).

    ``top`` None is the process itself. With a number, it is the process given that all is masked at ``top``: the same
    reverse chain, started where the sampler starts, so that no initialization error remains.
    """

    top: float | None = None

    def chance(self, t: float) -> float:
        """P(a token is masked at t)."""
        m = float(self.process.mask_probability(torch.tensor(t, dtype=torch.float64)))
        return m if self.top is None else m / float(self.process.mask_probability(float64(self.top)))

    @cached_property
    def seen(self) -> Tensor:
        """M(x): the probability of the revealed tokens of x, flat over the space with masks."""
        return completions(self.data, self.process.space)

    @cached_property
    def masks(self) -> Tensor:
        """Number of masks of every state, float64."""
        return mask_counts(self.process.space).double()

    def weight(self, m: float) -> Tensor:
        """m^k (1 - m)^(L - k) by number of masks k, gathered at every state."""
        k = torch.arange(self.process.space.length + 1, dtype=torch.float64)
        return (m**k * (1.0 - m) ** (self.process.space.length - k))[self.masks.long()]

    def law(self, t: float) -> Tensor:
        """m^k (1 - m)^(L - k) M(x)."""
        return self.weight(self.chance(t)) * self.seen

    def carry(self, measure: Tensor, s: float, t: float) -> Tensor:
        """A token seen at s is still seen at t with probability (1 - m_t) / (1 - m_s)."""
        low, high = self.chance(s), self.chance(t)
        kept = (1.0 - high) / (1.0 - low) if low < 1.0 else 1.0
        layout = Layout(self.process.space, True)
        out = measure.clone()
        for position in range(layout.length):
            seen = layout.seen(out, position)
            hidden = seen[:, :-1].sum(1) * ((high - low) / (1.0 - low) if low < 1.0 else 0.0)
            seen[:, :-1] *= kept
            seen[:, -1] += hidden
        return out

    def flow(self, layout: Layout, t: float, scale: float) -> tuple[Tensor, ...]:
        """m^k (1 - m)^(L - k) M(y) times the rate of log m."""
        time = torch.tensor(t, dtype=torch.float64)
        speed = float(self.process.mask_decay(time) / self.process.mask_probability(time))
        return reveals(layout, self.weight(self.chance(t)) * (speed * scale), self.seen)


@dataclass(frozen=True)
class Blocks(Masked):
    """Masked data with a fixed number of masks at each step: ``times`` decrease, ``counts`` are the masks left."""

    times: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()

    def left(self, t: float) -> int:
        """Masks at t."""
        return self.counts[self.times.index(t)]

    def law(self, t: float) -> Tensor:
        """M(x) / C(L, k) on the states with k masks."""
        k = self.left(t)
        return torch.where(self.masks == k, self.seen / math.comb(self.process.space.length, k), 0.0)

    def carry(self, measure: Tensor, s: float, t: float) -> Tensor:
        """Mask uniformly chosen tokens, one after the other."""
        layout = Layout(self.process.space, True)
        for seen_tokens in range(layout.length - self.left(s), layout.length - self.left(t), -1):
            out = torch.zeros_like(measure)
            for position in range(layout.length):
                layout.seen(out, position)[:, -1] += layout.seen(measure, position)[:, :-1].sum(1) / seen_tokens
            measure = out
        return measure


def float64(t: float) -> Tensor:
    """A time as a float64 scalar."""
    return torch.tensor(t, dtype=torch.float64)


def reveals(layout: Layout, weight: Tensor, of_target: Tensor) -> tuple[Tensor, ...]:
    """weight(x) of_target(y) for every reveal x -> y of one mask, laid out as ``Jumps.tables``."""
    return tuple(
        layout.seen(of_target, position)[:, :-1].transpose(0, 1).unsqueeze(2)
        * layout.seen(weight, position)[:, layout.sources(position)]
        for position in range(layout.length)
    )


def embed(values: Tensor, space: StateSpace) -> Tensor:
    """A flat array over the data as one over the space, 0 where there are masks."""
    if space.mask is None:
        return values
    out = torch.zeros(space.radices, dtype=values.dtype)
    out[tuple(slice(0, size) for size in space.position_sizes)] = values.reshape(space.position_sizes)
    return out.reshape(-1)


def completions(values: Tensor, space: StateSpace) -> Tensor:
    """Sums of a flat array over the data over all completions of each masked state, flat over the space."""
    table = values.reshape(space.position_sizes)
    for axis in range(space.length):
        table = torch.cat([table, table.sum(axis, keepdim=True)], axis)
    return table.reshape(-1)


def mask_counts(space: StateSpace) -> Tensor:
    """Number of masks of every state, flat int64."""
    count = torch.zeros(1, dtype=torch.int64)
    for radix in space.radices:
        last = torch.zeros(radix, dtype=torch.int64)
        last[-1] = 1
        count = (count.unsqueeze(-1) + last).reshape(-1)
    return count


def kernels(process: Process, s: float, t: float) -> list[Tensor]:
    """P(x_t^l = . | x_s^l) of every position, (radix, radix) in digits."""
    space = process.space
    out = []
    widest = max(space.radices)
    symbols = [[*range(size), *([space.vocab_size] if space.mask is not None else [])] for size in space.position_sizes]
    padded = torch.tensor([[column[min(digit, len(column) - 1)] for column in symbols] for digit in range(widest)])
    rows = process.row(padded, float64(s), float64(t)).to(torch.float64)
    for position, column in enumerate(symbols):
        out.append(rows[: len(column), position][:, torch.tensor(column)])
    return out
