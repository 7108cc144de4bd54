"""What a metric sees of a law: its pmf, or rows drawn from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import Samples, Tabular
from ddm_pyro.distributions.tabular import MASS_TOLERANCE
from ddm_pyro.metrics.rows import Array, group_rows, to_numpy
from ddm_pyro.spaces import StateSpace

#: Rows drawn from a law that must be sampled when neither ``n`` nor the other law says how many.
DEFAULT_DRAWS = 10_000
#: Largest number of states for which a law is asked for its whole pmf.
TABULAR_STATES = 2**20
#: Largest number of states at which a law's log_prob is evaluated to get its pmf; it may cost a network pass a state.
DENSITY_STATES = 2**16

Law = Tabular | Samples


def space_of(law: Any) -> StateSpace | None:
    """The state space of a law: its ``space``, or that of its ``num_symbols`` and event shape, or None.

    Example:
        >>> space_of(Tabular(torch.full((2, 2), 0.25)))
        StateSpace(sizes=2, length=2, mask=None)
    """
    space = getattr(law, "space", None)
    if isinstance(space, StateSpace):
        return space
    if hasattr(law, "num_symbols") and len(getattr(law, "event_shape", ())) == 1:
        return StateSpace(law.num_symbols, law.event_shape[0])
    return None


def common_space(p: Any, q: Any) -> StateSpace:
    """The space both laws live on; a law that names none is taken to live on the other's.

    Raises:
        ValueError: two different spaces (both quoted), or none at all.
        TypeError: something that is no law.

    Example:
        >>> common_space(Tabular(torch.ones(2) / 2), Tabular(torch.ones(3) / 3))
        Traceback (most recent call last):
        ...
        ValueError: p lives on StateSpace(sizes=2, length=1, mask=None) but q on StateSpace(sizes=3, length=1, \
mask=None); a metric compares laws on one space.
    """
    for label, law in (("p", p), ("q", q)):
        if not hasattr(law, "sample") and not hasattr(law, "log_prob"):
            raise TypeError(
                f"{label} is {type(law).__name__}; give a Tabular, Samples(x, space), "
                "or a distribution with sample or log_prob."
            )
    spaces = [space for law in (p, q) if isinstance(space := getattr(law, "space", None), StateSpace)]
    spaces = spaces or [space for law in (p, q) if (space := space_of(law)) is not None]
    if not spaces:
        raise ValueError("Neither p nor q has a .space; wrap the rows as Samples(x, space).")
    if spaces[0] != spaces[-1]:
        raise ValueError(f"p lives on {spaces[0]} but q on {spaces[-1]}; a metric compares laws on one space.")
    return spaces[0]


def is_listable(space: StateSpace) -> bool:
    """Whether a law on the space is asked for its pmf."""
    return not space.is_countable and space.num_states <= TABULAR_STATES


def known_pmf(law: Any, space: StateSpace) -> Tabular | None:
    """The exact pmf of a law that offers one cheaply, on the CPU; None for Samples and laws that must be sampled.

    Example:
        >>> known_pmf(Tabular(torch.tensor([0.25, 0.75])), StateSpace(2, 1)).pmf.tolist()
        [0.25, 0.75]
    """
    if isinstance(law, Samples):
        return None
    if isinstance(law, Tabular):
        return law
    if not is_listable(space) or tuple(getattr(law, "batch_shape", ())) != ():
        return None
    if hasattr(law, "tabular"):
        table = law.tabular()
        return table if isinstance(table, Tabular) else None
    if space_of(law) == space and space.num_states <= DENSITY_STATES and getattr(law, "has_enumerate_support", False):
        return _enumerated(law, space)
    return None


def _enumerated(law: Any, space: StateSpace) -> Tabular | None:
    try:
        with torch.no_grad():
            states = law.enumerate_support()
            mass = law.log_prob(states).double().exp()
    except NotImplementedError:
        return None
    # A bound or a pseudo-density does not sum to one: such a law is sampled instead.
    return Tabular(atoms=states, probs=mass, space=space) if abs(float(mass.sum()) - 1.0) < MASS_TOLERANCE else None


def draw(law: Any, space: StateSpace, n: int, seed: int | None, label: str) -> Samples:
    """n rows of the law as Samples; ``label`` separates the streams of p and q under one seed.

    Raises:
        ValueError: n below 1, no way to sample, or rows of a wrong shape.

    Example:
        >>> len(draw(Tabular(torch.ones(2) / 2), StateSpace(2, 1), 5, 0, "p"))
        5
    """
    if n < 1:
        raise ValueError(f"n={n} rows were asked for; a sample needs at least 1.")
    if not hasattr(law, "sample"):
        raise ValueError(f"{label} ({type(law).__name__}) can not be sampled; give its pmf as a Tabular, or Samples.")
    stream = None if seed is None else random.derive_seed(seed, "metrics", label)
    with torch.no_grad(), random.indexed(stream, range(n)):
        x = law.sample((n,))
    if x.shape != (n, space.length):
        raise ValueError(
            f"{label} gave draws of shape {tuple(x.shape)} for ({n},); "
            f"a single law (batch shape ()) on {space} gives ({n}, {space.length})."
        )
    return Samples(x, space)


def as_laws(p: Any, q: Any, n: int | None, seed: int | None) -> tuple[StateSpace, Law, Law]:
    """The common space, and each law as its pmf where that is known, else as rows.

    Example:
        >>> law = Tabular(torch.tensor([0.5, 0.5]))
        >>> as_laws(law, law, None, 0)[1] is law
        True
    """
    space = common_space(p, q)
    given = {label: law if isinstance(law, Samples) else known_pmf(law, space) for label, law in (("p", p), ("q", q))}
    sizes = [len(law) for law in given.values() if isinstance(law, Samples)]
    rows = n if n is not None else max(sizes, default=DEFAULT_DRAWS)
    laws = [
        found if found is not None else draw(law, space, rows, seed, label)
        for (label, found), law in zip(given.items(), (p, q), strict=True)
    ]
    return space, laws[0], laws[1]


@dataclass(frozen=True)
class Joint:
    """Two laws on one list of atoms: (K, L) rows, and each side's probabilities (K,), empirical for Samples.

    Example:
        >>> joint = Joint.of(Tabular(torch.tensor([0.5, 0.0, 0.5])), Tabular(torch.tensor([1.0, 0.0, 0.0])))
        >>> joint.atoms.tolist(), joint.p.tolist(), joint.q.tolist()
        ([[0], [2]], [0.5, 0.5], [1.0, 0.0])
    """

    atoms: Array
    p: Array
    q: Array

    @staticmethod
    def of(a: Law, b: Law) -> Joint:
        """Merge the supports of two laws."""
        if isinstance(a, Tabular) and isinstance(b, Tabular) and a.space == b.space and is_listable(a.space):
            p, q = to_numpy(a.pmf), to_numpy(b.pmf)
            kept = np.flatnonzero((p > 0) | (q > 0))
            return Joint(to_numpy(a.space.unindex(torch.from_numpy(kept))), p[kept], q[kept])
        (x, wx), (y, wy) = weighted_rows(a), weighted_rows(b)
        atoms, group = group_rows(np.concatenate([x, y]))
        p, q = (np.bincount(g, w, len(atoms)) for g, w in ((group[: len(x)], wx), (group[len(x) :], wy)))
        return Joint(atoms, p, q)

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Atoms, p and q as tensors."""
        return torch.from_numpy(self.atoms), torch.from_numpy(self.p), torch.from_numpy(self.q)


def weighted_rows(law: Law) -> tuple[Array, Array]:
    """Rows and weights of a law: the atoms with positive probability, or the draws with 1/n each.

    Example:
        >>> weighted_rows(Tabular(torch.tensor([0.25, 0.0, 0.75])))[1].tolist()
        [0.25, 0.75]
    """
    if isinstance(law, Samples):
        x = to_numpy(law.x)
        return x, np.full(len(x), 1.0 / len(x))
    weights = to_numpy(law.probs)
    kept = weights > 0
    return to_numpy(law.atoms)[kept], weights[kept]


def some_rows(law: Law, seed: int, label: str, n: int = DEFAULT_DRAWS) -> Tensor:
    """The rows of Samples, or n draws from a pmf, (n, L) on the CPU."""
    return law.x.cpu() if isinstance(law, Samples) else draw(law, law.space, n, seed, label).x.cpu()


def size_of(law: Law) -> int | None:
    """Number of rows, or None for a law known exactly."""
    return len(law) if isinstance(law, Samples) else None


def inverse_sizes(a: Law, b: Law) -> float:
    """1/n + 1/m, an exact law counting as an infinite sample.

    Example:
        >>> inverse_sizes(Samples(torch.zeros(4, 1), StateSpace(2, 1)), Tabular(torch.ones(2) / 2))
        0.25
    """
    return sum(1.0 / len(law) for law in (a, b) if isinstance(law, Samples))


def tail_mass(a: Law, b: Law) -> float:
    """Mass the two laws lost when they were truncated to their space."""
    return sum(law.tail_mass for law in (a, b) if isinstance(law, Tabular))
