"""The exact reverse process of a law whose posteriors can be computed."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from ddm_pyro.parameterizations.base import Parameterization
from ddm_pyro.processes import Process
from ddm_pyro.spaces import StateSpace


class HasPosterior(Protocol):
    """A law that answers: given unary log-evidence a position, what are the posterior marginals?"""

    space: StateSpace

    def posterior(self, log_evidence: Tensor) -> Tensor:
        """(B, L, V) log-evidence -> (B, L, V) log marginals; uniform rows at evidence of probability zero."""


class Exact(Parameterization):
    """p(x_0^l | x_t) of a target, computed exactly: a denoiser without error.

    Contexts of probability zero get the uniform law, never NaN. With a masked process it is time-free.

    Args:
        target: a law with ``space`` and ``posterior``.
        process: the forward process.

    Raises:
        ValueError: target and process on different spaces.
    """

    primary: Literal["x0", "score"] = "x0"

    def __init__(self, target: HasPosterior, process: Process) -> None:
        super().__init__(process)
        if target.space != process.space.data:
            raise ValueError(
                f"The target lives on {target.space} but the process on {process.space.data}; they must agree."
            )
        self.target = target
        self.time_free = process.is_masked

    def x0_log_probs(self, x: Tensor, t: Any, *, at: Tensor | None = None) -> Tensor:
        """log p(x_0^l = v | x_t = x), float64."""
        space = self.process.space
        if space.mask is not None:
            seen = torch.arange(space.vocab_size, device=x.device) == x.unsqueeze(-1)
            evidence = torch.where(seen | space.is_mask(x).unsqueeze(-1), 0.0, -torch.inf).double()
        else:
            time = torch.as_tensor(t, dtype=torch.float64, device=x.device)
            evidence = self.process.likelihood(x, torch.zeros_like(time), time).log()
        table = self.target.posterior(evidence.reshape(-1, *evidence.shape[-2:])).reshape(evidence.shape)
        if space.mask is not None:
            table = torch.where(space.is_mask(x).unsqueeze(-1), table, evidence)
        return table if at is None else table.flatten(0, -2)[at]
