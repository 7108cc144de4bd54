"""Maximum mean discrepancy: the distance of two mean embeddings in the Hilbert space of a kernel."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import Samples
from ddm_pyro.metrics.base import Estimate, Kind, Witness
from ddm_pyro.metrics.bracket import p_value
from ddm_pyro.metrics.intervals import deviation
from ddm_pyro.metrics.ipm import DIRAC_STATES, IPM
from ddm_pyro.metrics.laws import Joint, Law, inverse_sizes, size_of, some_rows, weighted_rows
from ddm_pyro.metrics.rows import Array, to_numpy
from ddm_pyro.spaces import StateSpace

#: Largest number of rows of a side whose pairs are all visited; more are thinned (or go to the subset estimator).
PAIR_ROWS = 20_000
#: Rows of each side in the permutation test.
PERMUTATION_ROWS = 1000
#: Rows and columns of a block of the kernel matrix.
TILE = 1024

#: (n, L), (m, L) int64 tokens -> (n, m) kernel values.
Kernel = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Moments:
    """Two estimates of MMD^2: the unbiased one with its standard error, and the plug-in one, never negative."""

    unbiased: float | None
    stderr: float | None
    plug_in: float


class MMD(IPM, ABC):
    """sup of E_p f - E_q f over the unit ball of a kernel's Hilbert space; ``value`` is that, not its square.

    On samples the square is estimated without bias by a U-statistic (``extra["mmd2"]``, with
    ``extra["mmd2_stderr"]``) and ``value`` is the root of its positive part. The limits use the plug-in value V
    instead: E V >= MMD, (E V)^2 <= MMD^2 + 2 C^2 (1/n + 1/m), and V is within eps of its mean, so MMD <= V + eps and
    MMD^2 >= (V - eps)^2 - 2 C^2 (1/n + 1/m) at every size. Near p = q the U-statistic is far from normal: use
    ``p_value``.
    """

    permutations: ClassVar[int] = 199

    @abstractmethod
    def gram(self, space: StateSpace, x: Array, y: Array) -> Array:
        """Kernel values of all pairs of rows, (n, m) float64."""

    def exact(self, space: StateSpace, atoms: Tensor, p: Tensor, q: Tensor) -> tuple[float, Witness]:
        """sqrt((p - q)' K (p - q)); the witness is the difference of the embeddings over its norm."""
        rows, difference = to_numpy(atoms), to_numpy(p - q)
        value = math.sqrt(max(0.0, float(difference @ self.embedding(space, rows, difference, rows))))
        kept = difference != 0
        scale = 1.0 / value if value > 0.0 else 0.0
        anchors, weights = rows[kept], difference[kept] * scale

        def fn(x: Tensor) -> Tensor:
            asked = to_numpy(x).reshape(-1, space.length)
            return torch.from_numpy(self.embedding(space, anchors, weights, asked)).reshape(x.shape[:-1]).to(x.device)

        return value, Witness(fn, osc=2.0 * self.constant(space))

    def embedding(self, space: StateSpace, rows: Array, weights: Array, at: Array) -> Array:
        """sum_j w_j k(x, x_j) at each of the rows ``at``, (n,) float64; memory is bounded by tiles."""
        out = np.zeros(len(at))
        for i in range(0, len(at), TILE):
            for j in range(0, len(rows), TILE):
                out[i : i + TILE] += self.gram(space, at[i : i + TILE], rows[j : j + TILE]) @ weights[j : j + TILE]
        return out

    def cross(self, space: StateSpace, a: Law, b: Law) -> tuple[Array, Array]:
        """Mean embedding of b at the rows of a, and of a at the rows of b."""
        (x, wx), (y, wy) = weighted_rows(a), weighted_rows(b)
        at_x, at_y = np.zeros(len(x)), np.zeros(len(y))
        for i in range(0, len(x), TILE):
            for j in range(0, len(y), TILE):
                block = self.gram(space, x[i : i + TILE], y[j : j + TILE])
                at_x[i : i + TILE] += block @ wy[j : j + TILE]
                at_y[j : j + TILE] += wx[i : i + TILE] @ block
        return at_x, at_y

    def diagonal(self, space: StateSpace, x: Array) -> Array:
        """k(x_i, x_i), (n,)."""
        return np.array([self.gram(space, row, row)[0, 0] for row in x[:, None]])

    def moments(self, space: StateSpace, a: Law, b: Law) -> Moments:
        """Both estimates of MMD^2 from all pairs of rows; a side known exactly enters exactly."""
        sides, total, plug_in, variance = zip((a, b), self.cross(space, a, b), strict=True), 0.0, 0.0, 0.0
        for law, other in sides:
            rows, weights = weighted_rows(law)
            own, n = self.embedding(space, rows, weights, rows), len(rows)
            plug_in += float(weights @ (own - other))
            if not isinstance(law, Samples):
                total += float(weights @ (own - other))
            elif n > 1:
                projection = (n * own - self.diagonal(space, rows)) / (n - 1) - other
                total += float(projection.mean())
                variance += 4.0 * float(projection.var(ddof=1)) / n
            else:
                return Moments(None, None, self._plug_in(space, a, b))
        return Moments(total, math.sqrt(variance), max(0.0, plug_in))

    def _plug_in(self, space: StateSpace, a: Law, b: Law) -> float:
        return self.exact(space, *Joint.of(a, b).tensors())[0] ** 2

    def estimate(self, space: StateSpace, a: Law, b: Law, *, seed: int, confidence: float) -> Estimate:
        """MMD from rows: U-statistic value, limits around the plug-in value, permutation p-value."""
        u, v = self._thinned(a, PAIR_ROWS, seed), self._thinned(b, PAIR_ROWS, seed + 1)
        thinned = "" if (u, v) == (a, b) else f" of {size_of(u) or 'all'} and {size_of(v) or 'all'} rows"
        moments = self.moments(space, u, v)
        return self._report(space, (a, b), (u, v), moments, moments, f"all pairs{thinned}", seed, confidence)

    def _thinned(self, law: Law, rows: int, seed: int) -> Law:
        if not isinstance(law, Samples) or len(law) <= rows:
            return law
        order = np.random.default_rng(seed).permutation(len(law))[:rows]
        return Samples(law.x[torch.from_numpy(order).to(law.x.device)], law.space)

    def _report(
        self,
        space: StateSpace,
        given: tuple[Law, Law],
        limited: tuple[Law, Law],
        moments: Moments,
        limits: Moments,
        how: str,
        seed: int,
        confidence: float,
    ) -> Estimate:
        """An Estimate from the value's moments and those (of fewer rows, perhaps) that the limits rest on."""
        constant, share = self.constant(space), inverse_sizes(*limited)
        plug_in, eps = math.sqrt(limits.plug_in), deviation(constant, share, (1.0 - confidence) / 2.0)
        lower = math.sqrt(max(0.0, max(0.0, plug_in - eps) ** 2 - 2.0 * constant**2 * share))
        upper = min(2.0 * constant, plug_in + eps)
        null_mean, level = self._null(space, given, seed)
        tail = "limits McDiarmid around the plug-in value"
        if moments.unbiased is None or moments.stderr is None:
            kind: Kind
            value, stderr, extra = plug_in, None, {"plug_in": plug_in}
            kind, method = "upper_biased", f"plug-in from {how}; {tail}"
        else:
            value = math.sqrt(max(0.0, moments.unbiased))
            # The delta method for a square root needs a square that is clearly positive.
            stderr = moments.stderr / (2.0 * value) if moments.unbiased > 2.0 * moments.stderr else None
            extra = {"plug_in": plug_in, "mmd2": moments.unbiased, "mmd2_stderr": moments.stderr}
            kind, method = "unbiased", f"root of the U-statistic of MMD^2 (unbiased for the square) from {how}; {tail}"
        return Estimate(
            value,
            kind,
            lower,
            upper,
            stderr,
            null_mean=null_mean,
            n=size_of(given[0]),
            m=size_of(given[1]),
            method=method,
            confidence=confidence,
            p_value=level,
            extra=extra,
        )

    def _null(self, space: StateSpace, laws: tuple[Law, Law], seed: int) -> tuple[float | None, float | None]:
        """Mean of the value under relabelings (scaled to the sizes given), and the permutation p-value."""
        rng = np.random.default_rng(random.derive_seed(seed, "permutations"))
        size = min([PERMUTATION_ROWS] + [len(law) for law in laws if isinstance(law, Samples)])
        if size < 2:
            return None, None
        x, y = (to_numpy(some_rows(law, seed, str(i), size)) for i, law in enumerate(laws))
        x, y = (rows[rng.permutation(len(rows))[:PERMUTATION_ROWS]] for rows in (x, y))
        n, m, pooled = len(x), len(y), np.concatenate([x, y])
        kernel = self.gram(space, pooled, pooled)
        np.fill_diagonal(kernel, 0.0)
        labels = np.zeros((n + m, self.permutations + 1))
        labels[:n, 0] = 1.0
        for column in range(1, self.permutations + 1):
            labels[rng.permutation(n + m)[:n], column] = 1.0
        sums, all_pairs = kernel @ labels, kernel.sum()
        within = (labels * sums).sum(0)
        both = kernel.sum(1) @ labels
        squares = (
            within / (n * (n - 1)) + (all_pairs - 2.0 * both + within) / (m * (m - 1)) - 2.0 * (both - within) / (n * m)
        )
        scale = math.sqrt(inverse_sizes(*laws) / (1.0 / n + 1.0 / m))
        level = p_value(float(squares[0] - squares.min()), squares[1:] - squares.min())
        return scale * float(np.sqrt(np.maximum(0.0, squares[1:])).mean()), level


@final
@dataclass(frozen=True)
class KernelMMD(MMD):
    """MMD of any bounded positive semidefinite kernel on sequences.

    C_F = 1/2 max_{x, y} sqrt(k(x,x) + k(y,y) - 2 k(x,y)) on spaces of at most 128 states, else the valid sqrt(bound),
    or sqrt(bound/2) for a kernel that is nowhere negative.

    Args:
        kernel: (n, L), (m, L) int64 tokens -> (n, m) values.
        bound: sup_x k(x, x).
        nonnegative: whether k(x, y) >= 0 everywhere.

    Raises:
        ValueError: a bound that is not positive and finite.

    Example:
        >>> from ddm_pyro.distributions import Tabular
        >>> same = KernelMMD(lambda x, y: (x[:, None] == y[None]).all(-1).double(), bound=1.0, nonnegative=True)
        >>> round(same(Tabular(torch.tensor([0.5, 0.5])), Tabular(torch.tensor([1.0, 0.0]))).value ** 2, 6)
        0.5
    """

    kernel: Kernel
    bound: float = 1.0
    nonnegative: bool = False
    name: ClassVar[str] = "core/mmd"

    def __post_init__(self) -> None:
        if not 0.0 < self.bound < math.inf:
            raise ValueError(f"bound={self.bound} must be a positive number, the largest k(x, x).")

    def constant(self, space: StateSpace) -> float:
        """Half the largest distance of two embedded sequences, or an upper limit of it."""
        if space.is_countable or space.num_states > DIRAC_STATES:
            return math.sqrt(self.bound / 2.0 if self.nonnegative else self.bound)
        states = to_numpy(space.enumerate("cpu"))
        gram = self.gram(space, states, states)
        own = np.diag(gram)
        return 0.5 * math.sqrt(max(0.0, float((own[:, None] + own[None] - gram - gram.T).max())))

    def gram(self, space: StateSpace, x: Array, y: Array) -> Array:
        """The kernel's values, checked for shape and finiteness."""
        with torch.no_grad():
            values = self.kernel(torch.from_numpy(x.copy()), torch.from_numpy(y.copy()))
        if values.shape != (len(x), len(y)) or not bool(torch.isfinite(values).all()):
            raise ValueError(
                f"The kernel gave shape {tuple(values.shape)} for {len(x)} and {len(y)} rows; "
                f"it must give finite values of shape ({len(x)}, {len(y)})."
            )
        return to_numpy(values.double())
