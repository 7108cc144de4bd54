"""A law given by its pmf: exact, float64, on an enumerable space or on listed atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.arrays import float64
from ddm_pyro.distributions.inverse_cdf import inverse_cdf
from ddm_pyro.distributions.token_law import TokenLaw
from ddm_pyro.spaces import StateSpace

#: How far the total mass of a pmf may be from one before it is refused; rounding of 2**24 terms stays below.
MASS_TOLERANCE = 1e-6


class Tabular(TokenLaw):
    """The law with P(x) = pmf[x], batch shape (), event shape (L,).

    ``Tabular(pmf)`` takes the tensor of shape sizes (one axis a position); ``Tabular(pmf, space=space)`` also the flat
    vector in index order, first token most significant. ``Tabular(atoms=(K, L), probs=(K,), space=space)`` lists the
    support instead, for spaces too large for a pmf; equal atoms are merged. Everything is kept in float64.

    Attributes:
        space: the StateSpace the law lives on.
        tail_mass: mass that was cut off when the law was truncated to this space (0 unless given).

    Raises:
        ValueError: a wrong shape, negative or non-finite entries, or a total further than 1e-6 from one.

    Example:
        >>> law = Tabular(torch.tensor([[0.1, 0.2], [0.3, 0.4]]))
        >>> round(law.log_prob(torch.tensor([1, 0])).exp().item(), 6), round(law.entropy().item(), 6)
        (0.3, 1.279854)
        >>> [round(p, 6) for p in law.marginal([0]).pmf.tolist()]
        [0.3, 0.7]
    """

    def __init__(
        self,
        pmf: Any = None,
        *,
        space: StateSpace | None = None,
        atoms: Any = None,
        probs: Any = None,
        tail_mass: float = 0.0,
        validate_args: bool | None = None,
    ) -> None:
        if (pmf is None) == (atoms is None) or (atoms is None) != (probs is None):
            raise ValueError("Tabular takes either pmf, or atoms with probs and space.")
        self.tail_mass = float(tail_mass)
        if pmf is not None:
            pmf = float64(pmf).detach()
            space = StateSpace(tuple(pmf.shape), pmf.dim()) if space is None else space
            total = space.require_enumerable("A pmf")
            if pmf.numel() != total or tuple(pmf.shape) not in {(total,), space.radices}:
                raise ValueError(f"pmf has shape {tuple(pmf.shape)}; {space} needs {space.radices} or ({total},).")
            self._pmf: Tensor | None = check_pmf(pmf.reshape(-1), "pmf")
            self._atoms, self._probs = None, self._pmf
        else:
            if space is None:
                raise ValueError("Tabular(atoms=, probs=) needs space= as well.")
            probs = check_pmf(float64(probs).detach(), "probs")
            atoms = space.check(torch.as_tensor(atoms, device=probs.device), "atoms")
            if atoms.dim() != 2 or probs.shape != atoms.shape[:1]:
                raise ValueError(f"atoms {tuple(atoms.shape)} and probs {tuple(probs.shape)} must be (K, L) and (K,).")
            self._atoms, inverse = torch.unique(atoms, dim=0, return_inverse=True)
            self._probs = torch.zeros(len(self._atoms), dtype=torch.float64, device=probs.device).index_add_(
                0, inverse, probs
            )
            self._pmf = None
        self.space = space
        super().__init__(torch.Size(), torch.Size((space.length,)), validate_args=validate_args)

    @property
    def pmf(self) -> Tensor:
        """Flat float64 pmf over the space, in index order. Raises ValueError when the space is too large."""
        if self._pmf is None:
            total = self.space.require_enumerable("A pmf")
            self._pmf = torch.zeros(total, dtype=torch.float64, device=self._probs.device)
            self._pmf.index_add_(0, self.space.index(self.atoms), self._probs)
        return self._pmf

    @property
    def atoms(self) -> Tensor:
        """Support points, (K, L) int64: every state, unless the law was given by atoms."""
        if self._atoms is None:
            self._atoms = self.space.enumerate(self._probs.device)
        return self._atoms

    @property
    def probs(self) -> Tensor:
        """Probabilities of ``atoms``, (K,) float64."""
        return self._probs

    @property
    def _device(self) -> torch.device:
        return self._probs.device

    @classmethod
    def infer_shapes(cls, **arg_shapes: Sequence[int]) -> tuple[torch.Size, torch.Size]:
        """Shapes from those of ``pmf`` (one axis a position) or ``atoms``; a flat pmf does not tell the length."""
        if "atoms" in arg_shapes:
            return torch.Size(), torch.Size(arg_shapes["atoms"][-1:])
        if "space" in arg_shapes and len(arg_shapes["pmf"]) == 1:
            raise NotImplementedError("The shape of a flat pmf does not tell the length; give the tensor shape.")
        return torch.Size(), torch.Size((len(arg_shapes["pmf"]),))

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), (..., L) -> (...,), float64; -inf off the support."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        if self._pmf is not None:
            return self._pmf[self.space.index(value)].log().expand(shape)
        _, inverse = torch.unique(
            torch.cat([self.atoms, value.long().reshape(-1, self.space.length)]), dim=0, return_inverse=True
        )
        table = torch.zeros(int(inverse.max()) + 1, dtype=torch.float64, device=value.device)
        table[inverse[: len(self._probs)]] = self._probs
        return table[inverse[len(self._probs) :]].log().reshape(value.shape[:-1]).expand(shape)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Independent draws, (*sample_shape, *batch, L)."""
        shape = (*sample_shape, *self.batch_shape)
        u = random.uniform(shape, self._probs.device)
        index = inverse_cdf(self._probs, u) if u.dim() == 0 else self._many(u)
        return self.space.unindex(index) if self._atoms is None else self._atoms[index]

    def _many(self, u: Tensor) -> Tensor:
        cdf = self._probs.cumsum(0)
        last = torch.nextafter(cdf[-1], torch.zeros_like(cdf[-1]))
        return torch.searchsorted(cdf, torch.minimum(u * cdf[-1], last), right=True)

    def entropy(self) -> Tensor:
        """H = -sum_x P(x) log P(x), nats."""
        return torch.special.entr(self._probs).sum().expand(self.batch_shape)

    def marginal(self, positions: Sequence[int]) -> Tabular:
        """The law of the tokens at ``positions``, in that order."""
        positions = list(positions)
        sizes = tuple(self.space.position_sizes[p] for p in positions)
        space = StateSpace(
            sizes, len(positions), mask=self.space.mask is not None and max(sizes) == self.space.vocab_size
        )
        if self._pmf is None:
            return Tabular(atoms=self.atoms[:, positions], probs=self._probs, space=space)
        table = self._pmf.reshape(self.space.radices)
        others = [p for p in range(self.space.length) if p not in positions]
        table = table.sum(others) if others else table
        kept = sorted(positions)
        return Tabular(table.permute([kept.index(p) for p in positions]).reshape(-1), space=space)

    def __repr__(self) -> str:
        return f"Tabular({self.space})"


def check_pmf(probs: Tensor, what: str) -> Tensor:
    """Return ``probs`` divided by their total; raise ValueError when they are no law."""
    if not bool(torch.isfinite(probs).all()) or bool((probs < 0).any()):
        raise ValueError(f"{what} has the entry {_worst(probs)}; probabilities are finite and not negative.")
    total = float(probs.sum())
    if abs(total - 1.0) > MASS_TOLERANCE:
        raise ValueError(f"{what} sums to {total:.9g}; a law sums to 1 (divide by the total if that is meant).")
    return probs / total


def _worst(probs: Tensor) -> float:
    bad = probs[~torch.isfinite(probs)]
    return float(bad[0]) if len(bad) else float(probs.min())
