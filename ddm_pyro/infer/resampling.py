"""Weights of particles: effective sample size, means on the log scale, systematic resampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ddm_pyro import random


def log_mean_exp(log_weights: Tensor) -> Tensor:
    """log of the mean weight over the first dimension, (P, ...) -> (...,).

    Example:
        >>> round(log_mean_exp(torch.tensor([0.0, math.log(3.0)])).exp().item(), 6)
        2.0
    """
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """(sum w)^2 / sum w^2 over the first dimension, (P, ...) -> (...,), from 1 to P; 0 when all weights are zero.

    Example:
        >>> effective_sample_size(torch.tensor([0.0, 0.0, -torch.inf])).item()
        2.0
    """
    weights = normalized(log_weights)
    return (1.0 / weights.square().sum(0)) * (log_weights > -torch.inf).any(0)


def normalized(log_weights: Tensor) -> Tensor:
    """Weights that sum to one over the first dimension, float64; equal ones when all are zero."""
    dead = (log_weights == -torch.inf).all(0)
    return torch.softmax(torch.where(dead, 0.0, log_weights.double()), 0)


def systematic(log_weights: Tensor, n: int | None = None) -> Tensor:
    """Ancestors of the next generation, one uniform a column: (P, ...) -> (n, ...) int64, ascending; default n = P.

    Particle i gets floor or ceiling of n w_i offspring, n w_i on average. Columns of total zero treat all alike.

    Example:
        >>> systematic(torch.tensor([0.0, -torch.inf, 0.0, -torch.inf])).tolist()
        [0, 0, 2, 2]
    """
    count, columns = n or len(log_weights), log_weights.reshape(len(log_weights), -1).T
    cdf = normalized(columns.T).T.contiguous().cumsum(-1)
    u = random.uniform((len(cdf), 1), cdf.device)
    # Rounding must not push the last point past the total, nor onto a particle of weight zero behind it.
    points = (torch.arange(count, device=cdf.device) + u) / count * cdf[:, -1:]
    last = torch.nextafter(cdf[:, -1:], torch.zeros_like(cdf[:, -1:]))
    return torch.searchsorted(cdf, torch.minimum(points, last), right=True).T.reshape(count, *log_weights.shape[1:])


def take(values: Tensor, ancestors: Tensor) -> Tensor:
    """Particles of the next generation: values (P, ..., *rest) at ancestors (P, ...), broadcast over both batches.

    Example:
        >>> take(torch.tensor([[1, 2], [3, 4]]), torch.tensor([1, 1])).tolist()
        [[3, 4], [3, 4]]
    """
    index = ancestors.reshape(*ancestors.shape, *(1,) * (values.dim() - ancestors.dim()))
    return values.gather(0, index.expand(index.shape[:1] + values.shape[1:]))
