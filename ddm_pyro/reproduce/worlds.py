"""Laws that several experiments are run on."""

from __future__ import annotations

import torch
from torch import Tensor

from ddm_pyro.processes import ForwardProcess
from ddm_pyro.rates import Dense
from ddm_pyro.schedules import Constant
from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets import Tabular


def hash_law(states: int = 3, length: int = 4) -> Tabular:
    """An asymmetric law of full support: weight 1 + ((7919 r + 104729) mod 101) / 10 for the state of index r.

    Example:
        >>> [round(p, 8) for p in hash_law().pmf[:3].tolist()]
        [0.02087556, 0.00871504, 0.01702473]
    """
    r = torch.arange(states**length)
    weights = 1.0 + ((7919 * r + 104729) % 101).double() / 10.0
    return Tabular(weights / weights.sum(), space=StateSpace(states, length))


def all_equal(length: int) -> Tabular:
    """Two sequences, 00..0 and 11..1, with probability 1/2 each."""
    return _on(length, lambda x: (x == x[:, :1]).all(-1))


def even_parity(length: int) -> Tabular:
    """Uniform on the sequences of bits with an even sum."""
    return _on(length, lambda x: x.sum(-1) % 2 == 0)


def paired_copies(length: int) -> Tabular:
    """Independent fair bits, each written twice: x_0 = x_1, x_2 = x_3, ..."""
    return _on(length, lambda x: (x[:, 0::2] == x[:, 1::2]).all(-1))


def diagonal(states: int, length: int) -> Tabular:
    """Uniform on the ``states`` sequences of one repeated token: most probabilities are zero."""
    return _on(length, lambda x: (x == x[:, :1]).all(-1), states)


def _on(length: int, inside: object, states: int = 2) -> Tabular:
    space = StateSpace(states, length)
    chosen: Tensor = inside(space.enumerate())  # type: ignore[operator]
    pmf = chosen.double()
    return Tabular(pmf / pmf.sum(), space=space)


def two_modes(side: int = 10) -> Tabular:
    """On a side x side grid, 0.02 everywhere and a bump of height one around (2, 2) and around (7, 6)."""
    x = torch.arange(side, dtype=torch.float64)

    def bump(a: float, b: float) -> Tensor:
        return torch.exp(-((x[:, None] - a) ** 2 + (x[None, :] - b) ** 2) / 2.0)

    weights = 0.02 + bump(2.0, 2.0) + bump(7.0, 6.0)
    return Tabular(weights / weights.sum())


def ring_walk(side: int, length: int, total: float) -> ForwardProcess:
    """Each coordinate walks on a ring of ``side`` sites, rate 1/2 either way, for time ``total``."""
    step = torch.eye(side, dtype=torch.float64).roll(1, 0)
    generator = 0.5 * (step + step.T) - torch.eye(side, dtype=torch.float64)
    return ForwardProcess(Dense(generator), Constant(total), length=length)


def noised(target: Tabular, process: ForwardProcess, t: float) -> Tensor:
    """p_t, the law of x_t, flat over the process's space: data law times the forward kernel."""
    data = target.space.enumerate()
    kernel = process.marginal(data.unsqueeze(1), torch.tensor(t, dtype=torch.float64))
    return torch.einsum("x,xy->y", target.pmf, kernel.log_prob(process.space.enumerate()).double().exp())
