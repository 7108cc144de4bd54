"""One prediction used twice: by the reverse step, and tilted by its steered twin."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.processes import Process


class Given(Parameterization):
    """Answers with a table that is known: no network runs.

    Args:
        process: the forward process.
        table: (n, L, V), log p(x_0^l = v | x_t) of the rows that will be asked about.
        time_free: that of the model the table came from.
    """

    def __init__(self, process: Process, table: Tensor, time_free: bool) -> None:
        super().__init__(process)
        self.table, self.primary, self.time_free = table, "x0", time_free

    def x0_log_probs(self, x: Tensor, t: Any, *, at: Tensor | None = None) -> Tensor:
        """The table, or its rows at flat indices."""
        return self.table if at is None else self.table.flatten(0, -2)[at]

    def rows(self, index: Tensor) -> Given:
        """The table of some rows."""
        return Given(self.process, self.table[index], self.time_free)

    @property
    def device(self) -> torch.device:
        """Where the table is."""
        return self.table.device


def tilted(log_p: Tensor, tilt: Tensor, defensive: float) -> Tensor:
    """log of p exp(tilt) / total, mixed with a share ``defensive`` of p; of p itself where the total is zero.

    Example:
        >>> log_p, tilt = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.0, -torch.inf])
        >>> tilted(log_p, tilt, 0.5).exp().tolist()
        [0.75, 0.25]
    """
    weights = torch.where(log_p > -torch.inf, log_p + tilt, -torch.inf)
    total = weights.logsumexp(-1, keepdim=True)
    possible = total > -torch.inf
    law = torch.where(possible, weights - torch.where(possible, total, 0.0), log_p)
    return law if defensive == 0.0 else torch.log((1.0 - defensive) * law.exp() + defensive * log_p.exp())
