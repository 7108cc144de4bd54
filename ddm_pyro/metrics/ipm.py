"""Integral probability metrics: d_F(p, q) = sup over f in F of E_p f - E_q f."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import Tabular
from ddm_pyro.metrics.base import Estimate, Metric, Witness, check_confidence
from ddm_pyro.metrics.bracket import between_pmfs, bracket
from ddm_pyro.metrics.laws import Joint, Law, as_laws, some_rows
from ddm_pyro.metrics.rows import Array
from ddm_pyro.spaces import StateSpace

#: Largest number of states for which ``constant`` is found by trying every Dirac pair.
DIRAC_STATES = 128


class IPM(Metric, ABC):
    """A metric of the form sup over f in F of E_p f - E_q f, with F closed under f -> -f.

    A new one gives ``constant(space)`` and one of

    - ``exact(space, atoms, p, q)``: the distance of two laws on listed atoms, with the function that attains it;
    - ``fit_witness(space, x, y)``: any function of F that tells the rows x from the rows y well.

    Everything else follows: exact values on pmfs, an honest bracket on samples, the noise floor, and the theorem's
        bound,
    ``d_F <= 2 constant(space)`` times any certificate on the TV scale.

    Example:
        >>> from dataclasses import dataclass
        >>> from ddm_pyro.distributions import Tabular
        >>> @dataclass(frozen=True)
        ... class FirstToken(IPM):
        ...     def constant(self, space):
        ...         return 0.5
        ...     def exact(self, space, atoms, p, q):
        ...         gap = float(((p - q) * (atoms[:, 0] == 0)).sum())
        ...         return abs(gap), Witness(lambda x: (x[:, 0] == 0).double() * (1 if gap > 0 else -1), osc=1.0)
        >>> FirstToken()(Tabular(torch.tensor([0.25, 0.75])), Tabular(torch.tensor([0.5, 0.5]))).value
        0.25
    """

    #: Random relabelings of the rows behind ``null_mean`` and ``p_value``.
    permutations: ClassVar[int] = 99

    def constant(self, space: StateSpace) -> float:
        """C_F = half the diameter, 1/2 sup over f of (max f - min f) = 1/2 max d_F(delta_x, delta_y); may be
        ``math.inf``.

        The default tries every pair of states. Raises ValueError on spaces where that takes too long: give it then.
        """
        if space.is_countable or space.num_states > DIRAC_STATES:
            raise ValueError(
                f"{type(self).__name__} has no constant(space), and {space} has more than {DIRAC_STATES} states, too "
                "many to try every pair of them; define constant(space) as half the largest distance of two Dirac laws."
            )
        states = space.enumerate("cpu")
        one = torch.eye(2, dtype=torch.float64, device="cpu")
        pairs = [(i, j) for i in range(len(states)) for j in range(i)]
        return 0.5 * max((self.exact(space, states[[i, j]], one[0], one[1])[0] for i, j in pairs), default=0.0)

    def local_constant(self, space: StateSpace, free: int) -> float:
        """Half the largest distance of two sequences that differ in at most ``free`` positions.

        Bounds that know which tokens can still change use it; the default, ``constant`` unless nothing is free, is
        always valid.
        """
        return self.constant(space) if free > 0 else 0.0

    def exact(self, space: StateSpace, atoms: Tensor, p: Tensor, q: Tensor) -> tuple[float, Witness | None]:
        """The distance of two laws on listed atoms, and a function of F attaining it, if one can be given.

        Args:
            space: where the atoms live.
            atoms: (K, L) int64, distinct.
            p, q: (K,) float64 probabilities.
        """
        raise TypeError(f"{type(self).__name__} defines no exact(space, atoms, p, q).")

    def fit_witness(self, space: StateSpace, x: Tensor, y: Tensor) -> Witness:
        """A function of F with E_p f - E_q f large, fitted to rows x (n, L) of p and y (m, L) of q."""
        raise TypeError(
            f"{type(self).__name__} defines neither exact(space, atoms, p, q) nor fit_witness(space, x, y)."
        )

    # What follows may be overridden where a metric knows better.

    @property
    def has_exact(self) -> bool:
        """Whether this metric computes distances between pmfs."""
        return type(self).exact is not IPM.exact

    def distances(self, space: StateSpace, atoms: Array, p: Array, q: Array) -> Array:
        """Distances of B pairs of laws on shared atoms: p and q (B, K) -> (B,)."""
        return np.array([self.exact(space, *Joint(atoms, a, b).tensors())[0] for a, b in zip(p, q, strict=True)])

    def witnesses(self, space: StateSpace, a: Law, b: Law, seed: int) -> Sequence[Witness]:
        """Functions of F fitted to a training half (or a known pmf); each gets an equal share of the error budget."""
        if type(self).fit_witness is not IPM.fit_witness or not self.has_exact:
            return [self.fit_witness(space, some_rows(a, seed, "p"), some_rows(b, seed, "q"))]
        witness = self.exact(space, *Joint.of(a, b).tensors())[1]
        return [] if witness is None else [witness]

    def thin(self, space: StateSpace, a: Law, b: Law, seed: int) -> tuple[Law, Law]:
        """The laws of which the plug-in value is computed; a costly metric returns fewer rows."""
        return a, b

    def estimate(self, space: StateSpace, a: Law, b: Law, *, seed: int, confidence: float) -> Estimate:
        """The value and its limits when at least one law is known by rows only."""
        return bracket(self, space, a, b, seed=seed, confidence=confidence)

    def __call__(
        self, p: Any, q: Any, *, n: int | None = None, seed: int | None = None, confidence: float = 0.95
    ) -> Estimate:
        """d_F(p, q); see ``Metric`` for the arguments."""
        check_confidence(confidence)
        space, a, b = as_laws(p, q, n, seed)
        split_seed = random.derive_seed(0 if seed is None else seed, "metrics", "split")
        if isinstance(a, Tabular) and isinstance(b, Tabular):
            return between_pmfs(self, space, a, b, seed=split_seed)
        return self.estimate(space, a, b, seed=split_seed, confidence=confidence)
