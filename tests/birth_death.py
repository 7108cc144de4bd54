"""The M/M/infinity chain on the natural numbers: births at rate rho, deaths at rate x, in closed form.

Everything the package needs of an infinite alphabet: moves x + 1 and x - 1 with their rates, and a kernel
Binomial(x, e^-sigma) + Poisson(rho (1 - e^-sigma)) given as a Pyro distribution.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyro.distributions as dist
import scipy.stats
import torch
from torch.distributions import constraints

import ddm_pyro as ddm
from ddm_pyro.rates import RateMatrix


class ThinnedPlusPoisson(dist.TorchDistribution):
    """Binomial(x, kept) + Poisson(mean), densities from scipy."""

    arg_constraints: ClassVar = {}
    support = constraints.nonnegative_integer

    def __init__(self, x, kept, mean):
        self.x, self.kept, self.mean_born = torch.broadcast_tensors(x, kept, mean)
        super().__init__(self.x.shape, validate_args=False)

    def sample(self, sample_shape=torch.Size()):  # noqa: B008
        shape = (*sample_shape, *self.batch_shape)
        kept = torch.binomial(self.x.expand(shape).double(), self.kept.expand(shape))
        return (kept + torch.poisson(self.mean_born.expand(shape))).long()

    def log_prob(self, value):
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        value, x, kept, mean = (each.expand(shape).numpy() for each in (value, self.x, self.kept, self.mean_born))
        total = np.zeros(shape)
        for survivors in range(int(x.max(initial=0)) + 1):
            total += scipy.stats.binom.pmf(survivors, x, kept) * scipy.stats.poisson.pmf(value - survivors, mean)
        return torch.from_numpy(np.log(total))

    def expand(self, batch_shape, _instance=None):
        shape = torch.Size(batch_shape)
        return ThinnedPlusPoisson(self.x.expand(shape), self.kept.expand(shape), self.mean_born.expand(shape))


class BirthDeath(RateMatrix):
    """Q[x, x + 1] = rho, Q[x, x - 1] = x."""

    vocab_size = None

    def __init__(self, rho):
        self.rho = rho

    def moves(self, x):
        return torch.stack([x + 1, x - 1], -1)

    def out_rates(self, x):
        return torch.stack([torch.full_like(x, self.rho, dtype=torch.float64), x.double()], -1)

    def in_rates(self, x):
        # From x + 1 by a death, from x - 1 by a birth; there is nothing below 0.
        return torch.stack([x.double() + 1.0, torch.where(x > 0, self.rho, 0.0).double()], -1)

    def transition(self, x, sigma):
        return ThinnedPlusPoisson(x, torch.exp(-sigma), self.rho * -torch.expm1(-sigma))

    def stationary(self):
        return dist.Poisson(torch.tensor(self.rho, dtype=torch.float64))


class MixtureScore(torch.nn.Module):
    """log p_t(x +- 1)/p_t(x) a coordinate when p_0 is a mixture of products of Poisson laws.

    Such a law stays one: its means run as a e^-sigma + rho (1 - e^-sigma).
    """

    def __init__(self, schedule, rho, weights, means):
        super().__init__()
        self.schedule, self.rho = schedule, rho
        self.weights, self.means = np.asarray(weights), np.asarray(means)

    def log_pmf(self, x, t):
        """x (..., L) and t (...) in numpy."""
        kept = self.schedule.alpha(torch.as_tensor(t)).numpy()[..., None, None]
        means = self.means * kept + self.rho * (1 - kept)  # (..., K, L)
        parts = scipy.stats.poisson.logpmf(x[..., None, :], means).sum(-1) + np.log(self.weights)
        return np.logaddexp.reduce(parts, -1)

    def forward(self, x, t):
        tokens, times = x.numpy(), t.double().numpy()
        own, out = self.log_pmf(tokens, times), np.zeros((*tokens.shape, 2))
        for site in range(tokens.shape[-1]):
            for k, jump in enumerate((1, -1)):
                other = tokens.copy()
                other[..., site] += jump
                out[..., site, k] = self.log_pmf(other, times) - own
        return torch.from_numpy(out)


WEIGHTS, MEANS, RHO = [0.4, 0.6], [[1.0, 6.0], [7.0, 2.0]], 3.0


def example(length=2, total=4.0):
    """(process, exact score model, its network) for two coordinates, or the first alone."""
    schedule = ddm.schedules.Constant(total=total)
    process = ddm.ForwardProcess(BirthDeath(RHO), schedule, length=length)
    network = MixtureScore(schedule, RHO, WEIGHTS, [means[:length] for means in MEANS])
    return process, ddm.Score(network, process), network
