"""Laws on the natural numbers: a thinned count plus a Poisson one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ddm_pyro import random


class ThinnedPlusPoisson(TorchDistribution):
    """Binomial(x, kept) + Poisson(mean): who survived, and who came. Batch (...), event ().

    Args:
        x: (...) int64 counts at the start.
        kept: probability of surviving, broadcasting.
        mean: mean number of arrivals, broadcasting.

    Example:
        >>> law = ThinnedPlusPoisson(torch.tensor(1), torch.tensor(0.25), torch.tensor(0.0))
        >>> law.log_prob(torch.tensor([0, 1, 2])).exp().tolist()
        [0.75, 0.25, 0.0]
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.nonnegative_integer
    has_rsample = False

    def __init__(self, x: Tensor, kept: Tensor, mean: Tensor) -> None:
        self.x, self.kept, self.arrivals = torch.broadcast_tensors(x, kept.double(), mean.double())
        super().__init__(self.x.shape, validate_args=False)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Independent draws, (*sample_shape, ...)."""
        import scipy.stats  # here: the import takes a while

        shape = (*sample_shape, *self.batch_shape)
        u, v = (random.uniform(shape, self.x.device).cpu().numpy() for _ in range(2))
        x, kept = (each.detach().expand(shape).cpu().numpy() for each in (self.x, self.kept))
        survivors = torch.as_tensor(scipy.stats.binom.ppf(u, x, kept)).clamp(min=0)
        return survivors.long().to(self.x.device) + poisson_quantile(v, self.arrivals.expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """log sum_k Binomial(k; x, kept) Poisson(value - k; mean), (...), float64."""
        value, x, kept, mean = torch.broadcast_tensors(value.double(), self.x.double(), self.kept, self.arrivals)
        # No more survive than there were, or than there are.
        most = int(torch.minimum(value, x).max()) if value.numel() else 0
        k = torch.arange(max(most, 0) + 1, dtype=torch.float64, device=value.device)
        value, x, kept, mean = (each.unsqueeze(-1) for each in (value, x, kept, mean))
        possible = (k <= x) & (k <= value)
        k = torch.where(possible, k, 0.0)
        born, dead = (value - k).clamp(min=0.0), x - k
        terms = (
            torch.lgamma(x + 1)
            - torch.lgamma(k + 1)
            - torch.lgamma(dead + 1)
            + torch.xlogy(k, kept)
            + torch.xlogy(dead, 1.0 - kept)
            + torch.xlogy(born, mean)
            - mean
            - torch.lgamma(born + 1)
        )
        return torch.where(possible, terms, -torch.inf).logsumexp(-1)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> ThinnedPlusPoisson:
        """The same law for a larger batch."""
        shape = torch.Size(batch_shape)
        return ThinnedPlusPoisson(self.x.expand(shape), self.kept.expand(shape), self.arrivals.expand(shape))


def poisson_quantile(u: Any, mean: Tensor) -> Tensor:
    """Poisson counts from uniforms (numpy), (...) int64. Raises ValueError for a mean that is not finite."""
    import scipy.stats  # here: the import takes a while

    if not bool(torch.isfinite(mean).all()):
        raise ValueError("A Poisson mean is infinite or NaN: the rates of this step are; start the grid elsewhere.")
    counts = torch.as_tensor(scipy.stats.poisson.ppf(u, mean.detach().cpu().numpy()))
    # The quantile of u = 0 is one below the support.
    return counts.clamp(min=0).long().to(mean.device)
