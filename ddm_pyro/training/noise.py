"""How the noise of a batch is drawn: row by row, or spread evenly over the rows."""

from __future__ import annotations

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import SequenceLaw
from ddm_pyro.processes import Process
from ddm_pyro.training.times import BELOW_ONE


def draw_noise(process: Process, x0: Tensor, t: Tensor, noise: str) -> Tensor:
    """x_t of every row, (B, L); each row by the law of x_t given x_0, whatever ``noise`` ("independent" or not).

    Raises:
        ValueError: "low-variance" and a process whose marginal has no inverse distribution function.
    """
    law = process.marginal(x0, t, validate_args=False)
    if noise == "independent":
        drawn: Tensor = law.sample()
        return drawn
    if not isinstance(law, SequenceLaw):
        raise ValueError(
            f"noise={noise!r} spreads uniform numbers, and the law of x_t of {process!r} is a {type(law).__name__}, "
            "which is not drawn from them token by token; use noise='independent'."
        )
    return law.icdf(even_uniforms(x0.shape, x0.device))


def even_uniforms(shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:
    """(B, L) float64: column by column, one number in each of B equal slices of [0, 1), in random order.

    A Latin hypercube (McKay, Beckman and Conover, 1979): a row alone is uniform on [0, 1)^L, and the mean of any
    function of a row over the B rows has at most B/(B - 1) times the variance of independent rows (Owen, 1997).

    Example:
        >>> u = even_uniforms((4, 2), torch.device("cpu"))
        >>> (u * 4).long().sort(0).values.T.tolist()
        [[0, 1, 2, 3], [0, 1, 2, 3]]
    """
    order, inside = random.uniform(shape, device), random.uniform(shape, device)
    ranks = order.argsort(0).argsort(0)
    return ((ranks + inside) / shape[0]).clamp(max=BELOW_ONE)
