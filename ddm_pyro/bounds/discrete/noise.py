"""The forward chain on a run's grid, given its start: for masks, conditioned on all masks at the first time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ddm_pyro.bounds.tables import carried, own_symbols, padded, position_kernels
from ddm_pyro.losses.divergence import divergence, log_or_minus_infinity
from ddm_pyro.processes import Process


@dataclass(frozen=True)
class Noise:
    """The data path that a run is compared with.

    A masked run starts from all masks, which say nothing of the data: given X_first = all masks the data law is still
    p_0 and the reverse kernels are the same, so that the path conditioned on it has no mismatch at its start. A
    position is then masked at t with probability m(t) / m(first).
    """

    process: Process
    first: Tensor

    def masked(self, t: Tensor) -> Tensor:
        """P(a position is masked at t | all are at the first time)."""
        return self.process.mask_probability(t) / self.process.mask_probability(self.first)

    def kept(self, t: Tensor) -> Tensor:
        """1 - ``masked``, without its cancellation."""
        start = self.process.mask_probability(self.first)
        return (start - self.process.mask_probability(t)) / start

    def kernels(self, s: Tensor, t: Tensor) -> list[Tensor]:
        """P(x_t^l = . | x_s^l = .), one matrix a position, rows from; s < t."""
        if self.process.is_masked:
            stay = float(self.kept(t) / self.kept(s))
            return [_masking(size, stay) for size in self.process.space.position_sizes]
        return position_kernels(self.process, s, t)

    def law(self, pmf: Tensor, t: Tensor) -> Tensor:
        """The law of X_t, flat over the process's space, from the flat pmf of the data."""
        table = padded(pmf, self.process.space)
        if float(t) > 0.0:
            table = carried(table, self.kernels(torch.zeros_like(t), t))
        return table.reshape(-1)

    def start_divergence(self) -> float:
        """max over x_0 of KL(q(x_first | x_0) || prior): for uniform noise it is the same for every x_0.

        0 for masks; infinite where the prior excludes what the forward chain can reach.
        """
        process = self.process
        if process.is_masked:
            return 0.0
        prior = process.prior()
        if not hasattr(prior, "table"):
            raise NotImplementedError(f"The prior {prior!r} has no table of token probabilities.")
        total = 0.0
        table = prior.table()
        space = process.space
        for position, kernel in enumerate(self.kernels(torch.zeros_like(self.first), self.first)):
            size, own = space.position_sizes[position], own_symbols(space)[position]
            log_prior = log_or_minus_infinity(table.expand(space.length, -1)[position][own].double())
            rows = log_or_minus_infinity(kernel[:size])
            total += float(divergence(rows, log_prior).sum(-1).max())
        return total


def _masking(size: int, stay: float) -> Tensor:
    kernel = torch.eye(size + 1, dtype=torch.float64) * stay
    kernel[:, size] += 1.0 - stay
    return kernel
