"""The exact reverse process of a law whose posteriors can be computed."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from ddm_pyro.parameterizations.base import Parameterization
from ddm_pyro.parameterizations.conversions import pad_symbols
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

    @property
    def is_hollow(self) -> bool:
        """True: ``conditionals`` leaves the token's own evidence out."""
        return True

    def x0_log_probs(self, x: Tensor, t: Any, *, at: Tensor | None = None) -> Tensor:
        """log p(x_0^l = v | x_t = x), float64."""
        evidence = self._evidence(x, t)
        table = self._posterior(evidence)
        if self.process.is_masked:
            table = torch.where(self.process.space.is_mask(x).unsqueeze(-1), table, evidence)
        return table if at is None else table.flatten(0, -2)[at]

    def conditionals(self, x: Tensor, t: Any) -> Tensor:
        """p_t(x_l = . | the other tokens), (..., L, A), from the posterior without the token's own evidence."""
        time = torch.as_tensor(t, dtype=torch.float64, device=x.device)
        length = x.shape[-1]
        own = torch.eye(length, dtype=torch.bool, device=x.device).unsqueeze(-1)
        others = torch.where(own, 0.0, self._evidence(x, t).unsqueeze(-3))
        table = self._posterior(others).diagonal(dim1=-3, dim2=-2).movedim(-1, -2).exp()
        law = self.process.evolve(pad_symbols(self.process, table), torch.zeros_like(time), time)
        return law / law.sum(-1, keepdim=True)

    def _evidence(self, x: Tensor, t: Any) -> Tensor:
        space = self.process.space
        if self.process.is_masked:
            seen = torch.arange(space.vocab_size, device=x.device) == x.unsqueeze(-1)
            return torch.where(seen | space.is_mask(x).unsqueeze(-1), 0.0, -torch.inf).double()
        time = torch.as_tensor(t, dtype=torch.float64, device=x.device)
        return self.process.likelihood(x, torch.zeros_like(time), time)[..., : space.vocab_size].log()

    def _posterior(self, evidence: Tensor) -> Tensor:
        return self.target.posterior(evidence.reshape(-1, *evidence.shape[-2:])).reshape(evidence.shape)
