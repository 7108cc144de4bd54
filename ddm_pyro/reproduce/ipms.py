"""Metrics of the adjoint paper's Table 2 that the package does not ship."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddm_pyro.metrics import IPM, Witness
from ddm_pyro.spaces import StateSpace


@dataclass(frozen=True)
class Scaled(IPM):
    """A multiple of another metric: the l1 distance is twice TV, W1 in d_H/L is 1/L of that in d_H.

    Example:
        >>> from ddm_pyro.metrics import TotalVariation
        >>> Scaled(TotalVariation(), 2.0).constant(StateSpace(2, 3))
        1.0
    """

    inner: IPM
    factor: float

    def constant(self, space: StateSpace) -> float:
        """That of the inner metric times the factor."""
        return self.factor * self.inner.constant(space)

    def exact(self, space: StateSpace, atoms: Tensor, p: Tensor, q: Tensor) -> tuple[float, Witness | None]:
        """The inner metric's value times the factor."""
        value, witness = self.inner.exact(space, atoms, p, q)
        if witness is None:
            return self.factor * value, None
        scaled = Witness(lambda x: self.factor * witness.fn(x), self.factor * witness.osc)
        return self.factor * value, scaled


@dataclass(frozen=True)
class Dudley(IPM):
    """sup of E_p f - E_q f over max |f| + Lip(f) <= 1, Lipschitz in the Hamming distance; a linear program."""

    def constant(self, space: StateSpace) -> float:
        """L / (L + 2): f runs from -a to a along a path of L edges of slope 1 - a."""
        return space.length / (space.length + 2.0)

    def exact(self, space: StateSpace, atoms: Tensor, p: Tensor, q: Tensor) -> tuple[float, Witness]:
        """The program over f at all states, its bound a and its slope 1 - a."""
        from scipy.optimize import linprog
        from scipy.sparse import coo_array

        x = space.enumerate()
        n = len(x)
        gap = np.zeros(n)
        np.add.at(gap, space.index(atoms).numpy(), (p - q).numpy())
        i, j = np.nonzero(((x[:, None] != x[None]).sum(-1) == 1).numpy())
        rows, every = np.arange(len(i)), np.arange(n)
        # f_i - f_j <= 1 - a on edges; f <= a and -f <= a at states; a is the last variable.
        edge = _sparse(coo_array, [(rows, i, 1.0), (rows, j, -1.0), (rows, np.full(len(i), n), 1.0)], len(i), n + 1)
        above = _sparse(coo_array, [(every, every, 1.0), (every, np.full(n, n), -1.0)], n, n + 1)
        below = _sparse(coo_array, [(every, every, -1.0), (every, np.full(n, n), -1.0)], n, n + 1)
        from scipy.sparse import vstack

        found = linprog(
            np.append(-gap, 0.0),
            A_ub=vstack([edge, above, below]),
            b_ub=np.concatenate([np.ones(len(i)), np.zeros(2 * n)]),
            bounds=[(-1.0, 1.0)] * n + [(0.0, 1.0)],
            method="highs-ds",
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )
        if found.x is None:
            raise RuntimeError(f"The linear program of Dudley's metric was not solved: {found.message}")
        f = torch.from_numpy(found.x[:n].copy())
        return float(gap @ found.x[:n]), Witness(lambda y: f[space.index(y)], float(f.max() - f.min()))


def _sparse(make: Any, entries: list[tuple[Any, Any, float]], rows: int, width: int) -> Any:
    row = np.concatenate([one for one, _, _ in entries])
    column = np.concatenate([one for _, one, _ in entries])
    value = np.concatenate([np.full(len(one), number) for one, _, number in entries])
    return make((value, (row, column)), shape=(rows, width))
