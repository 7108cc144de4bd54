"""Laws of counts: Poisson mixtures, two modes on a torus, and real pixels read as counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from ddm_pyro import distributions, random
from ddm_pyro.distributions import inverse_cdf
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.processes import Process
from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets import Digits, Tabular
from ddm_pyro.targets.base import Target
from ddm_pyro.targets.checks import stochastic
from ddm_pyro.targets.data_set import DataSet
from ddm_pyro_lattice.laws import poisson_quantile

#: Largest mass a box may cut off a Poisson mixture.
MAX_TAIL = 1e-6


class PoissonMixture(Target):
    """sum_k w_k prod_i Poisson(m_ki): dependent counts on N^d whose law stays of this form under immigration-death.

    Args:
        weights: (K,) probabilities of the components.
        means: (K, d) positive means; (K,) for one coordinate.

    Raises:
        ValueError: weights that are no law, means that are not positive, shapes that disagree.

    Example:
        >>> law = PoissonMixture([0.5, 0.5], [1.0, 12.0])
        >>> round(law.log_prob(torch.tensor([0])).exp().item(), 6)
        0.183943
    """

    def __init__(self, weights: Any, means: Any, *, validate_args: bool | None = None) -> None:
        self.weights = stochastic(weights, "weights")
        table = torch.as_tensor(means, dtype=torch.float64).detach()
        self.means = table.unsqueeze(-1) if table.dim() == 1 else table
        if self.weights.dim() != 1 or self.means.dim() != 2 or len(self.means) != len(self.weights):
            raise ValueError(
                f"weights {tuple(self.weights.shape)} and means {tuple(table.shape)} must be (K,) and (K, d)."
            )
        if not bool((torch.isfinite(self.means) & (self.means > 0)).all()):
            raise ValueError(f"means={means!r} must all be positive and finite.")
        super().__init__(StateSpace(None, self.means.shape[1]), validate_args=validate_args)

    def component_log_prob(self, x: Tensor, means: Tensor) -> Tensor:
        """log w_k + log prod_i Poisson(x_i; means_ki), (..., K); means (..., K, d)."""
        x = x.double().unsqueeze(-2)
        return self.weights.log() + (torch.xlogy(x, means) - means - torch.lgamma(x + 1)).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), (...)."""
        rows, inside, shape = self._rows(value)
        log_p = self.component_log_prob(rows, self.means).logsumexp(-1)
        return log_p.masked_fill(~inside, -torch.inf).reshape(shape)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Independent draws, (*sample_shape, *batch, d)."""
        shape = (*sample_shape, *self.batch_shape)
        component = inverse_cdf(self.weights.expand(*shape, -1), random.uniform(shape, self.weights.device))
        means = self.means[component]
        return poisson_quantile(random.uniform(means.shape, means.device).cpu().numpy(), means)

    def box(self, maximum: int) -> distributions.Tabular:
        """The law conditioned on all counts being at most ``maximum``; what was cut off is its ``tail_mass``.

        Raises:
            ValueError: a box that cuts off more than MAX_TAIL, or too large to list.
        """
        space = self.space.box(maximum)
        space.require_enumerable("A Poisson mixture on a box")
        pmf = self.component_log_prob(space.enumerate(), self.means).logsumexp(-1).exp()
        tail = max(0.0, 1.0 - float(pmf.sum()))
        if tail > MAX_TAIL:
            raise ValueError(f"maximum={maximum} cuts off mass {tail:.3g} of {self!r}; give a larger box.")
        return distributions.Tabular(pmf / pmf.sum(), space=space, tail_mass=tail)

    def after(self, process: Process, t: Any) -> PoissonMixture:
        """The law of x_t, the same mixture with means m exp(-death s) + rho (1 - exp(-death s))."""
        from ddm_pyro_lattice.scores import means_at

        return PoissonMixture(self.weights, means_at(self.means, process, torch.as_tensor(t).double()))

    def denoiser(self, process: Process) -> Parameterization:
        """The exact score under immigration-death."""
        from ddm_pyro_lattice.scores import ExactPoissonScore

        return ExactPoissonScore(self, process)

    def posterior(self, log_evidence: Tensor) -> NoReturn:
        """Raise NotImplementedError: the natural numbers have no table."""
        raise NotImplementedError("The natural numbers have no table of x_0; use the exact score, denoiser(process).")

    def tabular(self) -> NoReturn:
        """Raise NotImplementedError: use ``box``."""
        raise NotImplementedError("The natural numbers cannot be listed; use box(maximum).")

    def __repr__(self) -> str:
        return f"PoissonMixture({len(self.weights)} components, {self.space})"


def BoxedPoissonMixture(weights: Any, means: Any, maximum: int) -> Tabular:
    """A Poisson mixture on the counts up to ``maximum``, as a finite target whose posteriors are exact.

    Example:
        >>> BoxedPoissonMixture([0.5, 0.5], [1.0, 3.0], maximum=30).space.sizes
        31
    """
    return Tabular(PoissonMixture(weights, means).box(maximum))


def TwoModes(size: int = 10, floor: float = 0.02) -> Tabular:
    """Two unit Gaussian bumps at (.2, .2) m and (.7, .6) m on the square Z_m^2, over a constant ``floor``.

    Example:
        >>> round(TwoModes().entropy().item(), 4)
        3.8178
    """
    axis = torch.arange(size, dtype=torch.float64)
    weights = torch.full((size, size), float(floor), dtype=torch.float64)
    for a, b in ((0.2, 0.2), (0.7, 0.6)):
        gap = (axis - a * size).square().unsqueeze(-1) + (axis - b * size).square()
        weights += torch.exp(-gap / 2)
    return Tabular(weights / weights.sum())


class DigitCounts(DataSet):
    """The 8 x 8 handwritten digits as counts of ink on N^64: the pixels of ``core/digits`` without an upper end.

    Source and licence of the data: see ``ddm_pyro.targets.Digits``.

    Example:
        >>> DigitCounts().train.shape, DigitCounts().space.is_countable
        (torch.Size([1438, 64]), True)
    """

    image_shape = (8, 8)

    def __init__(self, *, test_fraction: float = 0.2, split: str = "train", validate_args: bool | None = None) -> None:
        digits = Digits(test_fraction=test_fraction, split=split)
        self.train_labels, self.test_labels = digits.train_labels, digits.test_labels
        super().__init__(
            StateSpace(None, 64), train=digits.train, test=digits.test, split=split, validate_args=validate_args
        )

    def __repr__(self) -> str:
        return f"DigitCounts({len(self.train)} train and {len(self.test)} test rows)"
