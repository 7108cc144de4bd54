"""What a noising process is: the laws of x_t given x_s, and the rates that samplers and losses run on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution

from ddm_pyro.arrays import float64
from ddm_pyro.distributions import FactorizedCategorical, SequenceLaw
from ddm_pyro.paths import CTMCPath, GridPath, TimeChange
from ddm_pyro.spaces import StateSpace


class Process(ABC):
    """A noising Markov chain on sequences whose positions are independent given the start.

    Samplers, losses, bounds and parameterizations talk to this class alone. ``x`` is (..., L) int64; ``t`` and ``s``
    broadcast against ``x.shape[:-1]``; tables are (..., L, A) float64. A subclass gives the abstract methods; the
    laws have defaults from them.
    """

    space: StateSpace

    @abstractmethod
    def prior(self) -> TorchDistribution:
        """The law sampling starts from at t = 1, event (L,)."""

    @abstractmethod
    def evolve(self, p: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """Measures on the symbols carried from s to t, (..., L, A); t < s inverts."""

    @abstractmethod
    def likelihood(self, x: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """v -> P(x_t^l = x^l | x_s^l = v), (..., L, A)."""

    @abstractmethod
    def moves(self, x: Tensor) -> Tensor:
        """Symbols each position can jump to or from, (..., L, M)."""

    @abstractmethod
    def out_rates(self, x: Tensor, t: Tensor) -> Tensor:
        """R_t[x^l, move], (..., L, M)."""

    @abstractmethod
    def in_rates(self, x: Tensor, t: Tensor) -> Tensor:
        """R_t[move, x^l], (..., L, M)."""

    @abstractmethod
    def exit_bound(self, s: float, t: float) -> float:
        """A bound on the total rate out of any sequence over [s, t]; may be infinite."""

    @property
    def is_masked(self) -> bool:
        """Whether noise is an absorbing mask and nothing else, reached by every token at one speed.

        What is masked then says nothing of the tokens, which is what masked samplers and losses rest on.
        """
        return self.space.mask is not None

    @property
    def has_full_moves(self) -> bool:
        """Whether ``moves`` lists all A symbols in order."""
        return False

    @property
    def has_full_reach(self) -> bool:
        """Whether bridges are closed forms and every token can follow from every other, at any two times."""
        return False

    def mask_probability(self, t: Tensor) -> Tensor:
        """P(a token is masked at t) of a masked process."""
        raise NotImplementedError(f"{type(self).__name__} is not a masked process with one masking law for all tokens.")

    def mask_decay(self, t: Tensor) -> Tensor:
        """d/dt of ``mask_probability``."""
        raise NotImplementedError(f"{type(self).__name__} is not a masked process with one masking law for all tokens.")

    def row(self, x: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """P(x_t^l = . | x_s^l = x^l), (..., L, A)."""
        symbols = torch.arange(self.space.num_symbols, device=x.device)
        return self.evolve((symbols == x.unsqueeze(-1)).double(), s, t)

    def marginal(self, x0: Tensor, t: Any, *, validate_args: bool | None = None) -> TorchDistribution:
        """q(x_t | x_0). Raises ValueError for masks in x0, tokens out of range or t outside [0, 1]."""
        if _validating(validate_args):
            x0 = self.space.data.check(x0, "x0")
        return self.transition(x0, 0.0, t, validate_args=validate_args)

    def transition(self, xs: Tensor, s: Any, t: Any, *, validate_args: bool | None = None) -> TorchDistribution:
        """q(x_t | x_s), s < t (s = t only at 0). Raises ValueError for bad tokens or times."""
        s, t = _times(xs, s, t)
        if _validating(validate_args):
            xs = self.space.check(xs, "xs")
            check_times(s, t)
        return self._read(self._transition(xs, s, t), validate_args)

    def bridge(self, x0: Tensor, xt: Tensor, s: Any, t: Any, *, validate_args: bool | None = None) -> TorchDistribution:
        """q(x_s | x_0, x_t), 0 <= s < t. Raises ValueError when x_t cannot follow x_0."""
        s, t = _times(xt, s, t)
        if _validating(validate_args):
            x0, xt = self.space.data.check(x0, "x0"), self.space.check(xt, "xt")
            check_times(s, t)
            self._check_reachable(x0, xt, t)
        return self._read(self._bridge(x0, xt, s, t), validate_args)

    @property
    def time_change(self) -> TimeChange | None:
        """Schedule and generator when R_t = schedule.rate(t) Q; paths are then exact on the schedule's clock."""
        return None

    def path(
        self, x0: Tensor, times: Any = None, max_jumps: int | None = None, *, validate_args: bool | None = None
    ) -> TorchDistribution:
        """The whole path from x0 on [0, 1]: ``paths.CTMCPath``, event (max_jumps, 3); or seen at ``times``, (T, L).

        Raises ValueError for masks in x0 or tokens out of range, for paths with infinitely many jumps, and for
        ``max_jumps`` together with ``times``.
        """
        if _validating(validate_args):
            x0 = self.space.data.check(x0, "x0")
        if times is None:
            return CTMCPath(self, x0, max_jumps=max_jumps)
        if max_jumps is not None:
            raise ValueError(f"A path seen at given times has no jumps to count; leave out max_jumps={max_jumps}.")
        return GridPath(self, x0, times, validate_args=validate_args)

    def _read(self, law: TorchDistribution, validate_args: bool | None) -> TorchDistribution:
        return law.on(self.space, validate_args) if isinstance(law, SequenceLaw) else law

    def _transition(self, xs: Tensor, s: Tensor, t: Tensor) -> TorchDistribution:
        return FactorizedCategorical(self.row(xs, s, t), validate_args=False)

    def _bridge(self, x0: Tensor, xt: Tensor, s: Tensor, t: Tensor) -> TorchDistribution:
        return FactorizedCategorical(
            self.row(x0, torch.zeros_like(s), s) * self.likelihood(xt, s, t), validate_args=False
        )

    def _check_reachable(self, x0: Tensor, xt: Tensor, t: Tensor) -> None:
        x0, xt = torch.broadcast_tensors(x0, xt)
        chance = self.row(x0, torch.zeros_like(t), t)
        chance = chance.gather(-1, xt.expand(chance.shape[:-1]).unsqueeze(-1)).squeeze(-1)
        if bool((chance <= 0).any()):
            where = (chance <= 0).nonzero()[0].tolist()
            raise ValueError(
                f"xt cannot follow x0: the token at {where} has probability 0 under q(x_t | x_0); "
                "draw xt from marginal(x0, t)."
            )


def time_on(x: Tensor, t: Any) -> Tensor:
    """``t`` as a float64 tensor; a Python number goes to the device of ``x``."""
    return float64(t, x.device)


def _times(x: Tensor, s: Any, t: Any) -> tuple[Tensor, Tensor]:
    return torch.broadcast_tensors(time_on(x, s), time_on(x, t))


def _validating(validate_args: bool | None) -> bool:
    return bool(Distribution._validate_args) if validate_args is None else validate_args


def check_times(s: Tensor, t: Tensor) -> None:
    """Raise ValueError unless 0 <= s < t <= 1 (or s = t = 0), quoting the offending times."""
    for name, time in (("s", s), ("t", t)):
        bad = ~((time >= 0) & (time <= 1))
        if bool(bad.any()):
            raise ValueError(
                f"{name}={float(time[bad].reshape(-1)[0]):.6g} lies outside [0, 1]; t = 0 is data and t = 1 noise."
            )
    bad = (s >= t) & ~((s == 0) & (t == 0))
    if bool(bad.any()):
        raise ValueError(
            f"s={float(s[bad].reshape(-1)[0]):.6g} must be smaller than t={float(t[bad].reshape(-1)[0]):.6g}: "
            "noise is added from s to t."
        )
