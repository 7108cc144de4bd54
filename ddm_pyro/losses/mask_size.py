"""Cross entropy weighted by the number of masks: the training loss of a mask-size schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddm_pyro.arrays import OnDevice
from ddm_pyro.losses.base import Loss, aligned_time
from ddm_pyro.losses.masked import masked_cross_entropy, weighted_by
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.processes import Process

#: Gauss-Legendre nodes a panel, and panels of [0, 1], for the law of the number of masks over t ~ U(0, 1).
NODES, PANELS = 64, 16


@dataclass(frozen=True)
class MaskSizeWeighted(Loss):
    """w(m) sum over masks of -log p(x_0^l | x_t), m the number of masks: Li and Cai's loss (arXiv:2505.21400).

    Its mean is E[(L / |M_tau|) sum over M_tau of -log p(x_0^l | x_0 off M_tau)], M_tau a uniform set of m_tau
    positions, P(tau = k) = s_k / L, where k-unmask with ``sizes`` s_1, s_2, ... has m_k = s_k + s_{k+1} + ... masks
    before block k: the mean of -log p(x_0) along the blocks, a bound on that of ``samplers.KUnmask(sizes)``. The excess
    over the truth's is Li and Cai's eps_train. With sizes of 1 it is the any-order autoregressive bound.

    x_t is drawn as ever, t ~ U(0, 1) and masks by the process, and w(m) = P(m_tau = m) / P_process(m) L / m: whatever
    the schedule, the mean is the same for a predictor that ignores t. Rows whose m no block has weigh 0, so that few
    blocks on a long sequence make a noisy loss.

    Args:
        sizes: k-unmask block sizes in generation order, summing to L; None for L blocks of 1.

    Raises:
        ValueError: sizes that are no whole numbers of at least 1; in a call, another sum, or another process than a
            masked one whose tokens are masked by one law.

    Example:
        >>> from ddm_pyro.targets import Product
        >>> from ddm_pyro import ForwardProcess, rates, schedules
        >>> forward = ForwardProcess(rates.Masked(2), schedules.Linear(), length=2)
        >>> exact = Product(torch.tensor([[0.25, 0.75], [0.5, 0.5]])).denoiser(forward)
        >>> MaskSizeWeighted()(exact, torch.tensor([[1, 0]]), torch.tensor([[1, 2]]), 0.5)  # 3 log 2
        tensor([2.0794], dtype=torch.float64)
    """

    sizes: Sequence[int] | None = None

    is_bound = True
    minimizer = "the x0-posterior of the data"

    def __post_init__(self) -> None:
        if self.sizes is None:
            return
        sizes = tuple(self.sizes)
        if not sizes or not all(isinstance(s, Integral) and not isinstance(s, bool) and s >= 1 for s in sizes):
            raise ValueError(f"sizes={self.sizes!r} must be whole numbers of at least 1, in generation order.")
        object.__setattr__(self, "sizes", tuple(int(size) for size in sizes))

    def __call__(self, model: Parameterization, x0: Tensor, xt: Tensor, t: Any) -> Tensor:
        """The integrand, (...,)."""
        time = aligned_time(model, x0, xt, t)
        masked = model.process.space.is_mask(xt)
        weights = self._target(model.process, xt.device) / mask_count_law(model.process, xt.device)
        return weighted_by(weights[masked.sum(-1)], masked_cross_entropy(model, x0, xt, time), masked)

    def constant(self, process: Process, x0: Tensor) -> Tensor:
        """0: k-unmask starts from masks only, (...,)."""
        return torch.zeros(x0.shape[:-1], dtype=torch.float64, device=x0.device)

    def _target(self, process: Process, device: torch.device) -> Tensor:
        """P(m_tau = m) L / m = s_k / m_k at m = m_k, else 0; (L + 1,)."""
        length = process.space.length
        if self.sizes is None:
            masks = torch.arange(length + 1, dtype=torch.float64, device=device)
            return torch.where(masks > 0, 1.0 / masks.clamp(min=1.0), 0.0)
        if sum(self.sizes) != length:
            raise ValueError(f"sizes={self.sizes} sum to {sum(self.sizes)}; they must sum to the length {length}.")
        return self._shares.on(device)

    @cached_property
    def _shares(self) -> OnDevice:
        sizes = tuple(self.sizes or ())
        table = [0.0] * (sum(sizes) + 1)
        for size, masks in zip(reversed(sizes), accumulate(reversed(sizes)), strict=True):
            table[masks] = size / masks
        return OnDevice(torch.tensor(table, dtype=torch.float64, device="cpu"))


def mask_count_law(process: Process, device: torch.device) -> Tensor:
    """P(m positions of x_t are masked), t ~ U(0, 1), m = 0 .. L; (L + 1,) float64, by quadrature.

    Raises:
        ValueError: a process that is not masked by one law for all tokens.
    """
    try:
        p = process.mask_probability(_RULE.on(device)[0]).unsqueeze(-1)
    except NotImplementedError:
        raise ValueError(f"{process!r} does not mask its tokens by one law, so masks cannot be counted.") from None
    length = process.space.length
    m = torch.arange(length + 1, dtype=torch.float64, device=device)
    ways = torch.lgamma(m.new_tensor(length + 1.0)) - torch.lgamma(m + 1.0) - torch.lgamma(length - m + 1.0)
    log_law = ways + torch.xlogy(m, p) + torch.xlogy(length - m, 1.0 - p)
    return (_RULE.on(device)[1].unsqueeze(-1) * log_law.exp()).sum(0)


def _rule() -> OnDevice:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    edges = np.arange(PANELS)[:, None]
    times = (edges + (nodes + 1) / 2) / PANELS
    table = np.stack([times.ravel(), np.tile(weights / 2 / PANELS, PANELS)])
    return OnDevice(torch.from_numpy(table))


_RULE = _rule()
