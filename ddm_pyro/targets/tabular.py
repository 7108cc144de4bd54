"""A target given by its pmf, and random ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddm_pyro import distributions
from ddm_pyro.random import derive_seed
from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets.base import Target, normalize
from ddm_pyro.targets.checks import fraction, whole
from ddm_pyro.targets.tables import in_chunks, joint_log_evidence, peaked, site_marginals


class Tabular(Target):
    """The target with P(x) = pmf[x]: any law on an enumerable space, zeros and mixed alphabets included.

    The posterior splits the positions in two halves: with a(y) and b(z) the evidence of the halves,
    p(y | evidence) is proportional to a(y) sum_z P(y, z) b(z): two matrix products and no array of (contexts, states).
    Sequences whose odds against the best of their half fall below the float64 range (e^-745) count as excluded.

    Args:
        pmf: the tensor of shape sizes (one axis a position), the flat vector with ``space``, or a
            ``distributions.Tabular`` (which may list atoms of a space too large for a pmf).
        space: needed for a flat pmf.

    Raises:
        ValueError: a wrong shape, negative or non-finite entries, a total other than one, a space with masks.

    Example:
        >>> target = Tabular(torch.tensor([[0.1, 0.2], [0.3, 0.4]]))
        >>> seen = torch.tensor([[0.0, -torch.inf], [0.0, 0.0]]).double()       # the first token is 0
        >>> target.posterior(seen)[1].exp().mul(3).tolist()
        [1.0, 2.0]
    """

    def __init__(self, pmf: Any, *, space: StateSpace | None = None, validate_args: bool | None = None) -> None:
        law = pmf if isinstance(pmf, distributions.Tabular) else _law(pmf, space)
        if space is not None and law.space != space:
            raise ValueError(f"The law lives on {law.space}, not on space={space}.")
        if law.space.is_countable or law.space.mask is not None:
            raise ValueError(f"A target is a law of finite data without masks; {law.space} is not such a space.")
        self.law = law.expand(())
        # Listed atoms stay atoms; a pmf is needed only where every state has its own entry.
        self._listed = len(law.probs) != law.space.num_states
        super().__init__(law.space, validate_args=validate_args)

    @classmethod
    def infer_shapes(cls, **arg_shapes: Sequence[int]) -> tuple[torch.Size, torch.Size]:
        """Shapes from that of ``pmf``, one axis a position."""
        return distributions.Tabular.infer_shapes(**arg_shapes)

    @property
    def pmf(self) -> Tensor:
        """Flat float64 pmf in index order."""
        return self.law.pmf

    @property
    def _device(self) -> torch.device:
        return self.law.probs.device

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), (..., L) -> (...,), float64."""
        rows, inside, shape = self._rows(value)
        return self.law.log_prob(rows).masked_fill(~inside, -torch.inf).reshape(shape)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Independent draws, (*sample_shape, *batch, L)."""
        return self.law.expand(self.batch_shape).sample(sample_shape)

    def entropy(self) -> Tensor:
        """H = -sum_x P(x) log P(x), nats."""
        return self.law.entropy().expand(self.batch_shape)

    def tabular(self) -> distributions.Tabular:
        """The pmf itself."""
        return self.law

    def posterior(self, log_evidence: Tensor) -> Tensor:
        """Log marginals given unary evidence, (..., L, V) -> (..., L, V)."""
        rows, shape = self._evidence(log_evidence)
        weights = self._atom_weights(rows) if self._listed else self._table_weights(rows)
        return normalize(weights.log(), self.space).reshape(*shape, *rows.shape[-2:])

    def _table_weights(self, log_evidence: Tensor) -> Tensor:
        sizes, vocab = self.space.position_sizes, self.space.vocab_size
        cut = _balanced_cut(sizes)
        left, right = sizes[:cut], sizes[cut:]
        table = self.law.pmf.to(log_evidence.device).reshape(math.prod(left), math.prod(right))
        pieces = []
        for rows in in_chunks(len(log_evidence), 4 * sum(table.shape)):
            # Evidence of halves that P excludes must not set the scale of those it allows.
            a, _ = peaked(joint_log_evidence(log_evidence[rows, :cut], left) + _log_support(table.sum(1)))
            b, _ = peaked(joint_log_evidence(log_evidence[rows, cut:], right) + _log_support(table.sum(0)))
            halves = [(a * (b @ table.T), left), (b * (a @ table), right)]
            pieces.append(torch.cat([site_marginals(half, size, vocab) for half, size in halves if size], 1))
        return torch.cat(pieces)

    def _atom_weights(self, log_evidence: Tensor) -> Tensor:
        atoms, probs = self.law.atoms.to(log_evidence.device), self.law.probs.to(log_evidence.device)
        length, vocab = log_evidence.shape[1:]
        onehot = torch.nn.functional.one_hot(atoms, vocab).to(torch.float64).reshape(len(atoms), -1)
        pieces = []
        for rows in in_chunks(len(log_evidence), 3 * len(atoms)):
            evidence = log_evidence[rows]
            log_weights = probs.log().expand(len(evidence), -1)
            for position in range(length):
                log_weights = log_weights + evidence[:, position, atoms[:, position]]
            pieces.append((peaked(log_weights)[0] @ onehot).reshape(-1, length, vocab))
        return torch.cat(pieces)

    def __repr__(self) -> str:
        return f"Tabular({self.space})"


def random_tabular(sizes: Sequence[int], seed: int = 0, concentration: float = 1.0, zeros: float = 0.0) -> Tabular:
    """A law drawn from the symmetric Dirichlet distribution on the sequences of the given alphabet sizes.

    Args:
        sizes: tokens at each position.
        seed: names the law; the global generators are not touched.
        concentration: Dirichlet parameter of every state: small = peaked, large = close to uniform.
        zeros: share of the states (rounded, at least one is kept) whose probability is exactly zero.

    Raises:
        ValueError: a space too large to list, a concentration not positive, zeros outside [0, 1).

    Example:
        >>> target = random_tabular((2, 3), seed=1, zeros=0.5)
        >>> target.event_shape, int((target.pmf > 0).sum())
        (torch.Size([2]), 3)
    """
    space = StateSpace(tuple(whole(size, "size") for size in sizes), len(sizes))
    total = space.require_enumerable("A random pmf")
    if not (math.isfinite(concentration) and concentration > 0):
        raise ValueError(f"concentration={concentration!r} must be positive and finite.")
    dropped = min(round(fraction(zeros, "zeros") * total), total - 1)
    rng = np.random.default_rng(derive_seed("random_tabular", int(seed), tuple(sizes)))
    # log G(c) = log G(c + 1) + log(U) / c holds for c near 0 too, where G(c) itself would round to zero.
    log_gamma = np.log(rng.standard_gamma(concentration + 1.0, total)) + np.log1p(-rng.random(total)) / concentration
    log_gamma[rng.permutation(total)[:dropped]] = -np.inf
    return Tabular(torch.from_numpy(log_gamma).softmax(0), space=space)


def RandomTabular(
    *, num_states: int = 3, length: int = 4, seed: int = 0, concentration: float = 1.0, zeros: float = 0.0
) -> Tabular:
    """``random_tabular`` with ``num_states`` tokens at each of ``length`` positions.

    Example:
        >>> RandomTabular(num_states=2, length=3, seed=5).pmf.shape
        torch.Size([8])
    """
    return random_tabular((whole(num_states, "num_states"),) * whole(length, "length"), seed, concentration, zeros)


def _law(pmf: Any, space: StateSpace | None) -> distributions.Tabular:
    # A list must not pass through float32 on its way.
    return distributions.Tabular(torch.as_tensor(pmf, dtype=torch.float64), space=space)


def _balanced_cut(sizes: Sequence[int]) -> int:
    """Where to cut so that the two halves have the fewest states together."""
    return min(range(len(sizes) + 1), key=lambda cut: math.prod(sizes[:cut]) + math.prod(sizes[cut:]))


def _log_support(mass: Tensor) -> Tensor:
    return torch.zeros_like(mass).masked_fill(mass == 0, -torch.inf)
