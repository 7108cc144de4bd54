"""Integrals over time of several functions at once, with an error that is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

#: Nodes of the 7-point Gauss and 15-point Kronrod rules on [-1, 1], and their weights (Gauss weight 0 between).
_NODES = [
    *(0.0, 0.207784955007898467600689403773245, 0.405845151377397166906606412076961),
    *(0.586087235467691130294144691693130, 0.741531185599394439863864773280788),
    *(0.864864423359769072789712788640926, 0.949107912342758524526189684047851),
    0.991455371120812639206854697526329,
]
_KRONROD = [
    *(0.209482141084727828012999174891714, 0.204432940075298892414161999234649),
    *(0.190350578064785409913256402421014, 0.169004726639267902826583426598550),
    *(0.140653259715525918745189590510238, 0.104790010322250183839876322541518),
    *(0.063092092629978553290700663189204, 0.022935322010529224963732008058970),
]
_GAUSS = [
    *(0.417959183673469387755102040816327, 0.0, 0.381830050505118944950369775488975, 0.0),
    *(0.279705391489276667901467771423780, 0.0, 0.129484966168869693270611432679082, 0.0),
]

#: Rounds of halving the panels whose error is too large.
ROUNDS = 12


def integrate(
    f: Callable[[Tensor], Tensor], edges: Sequence[float] | Tensor, tolerance: float = 1e-11, cuts: int = 400
) -> tuple[Tensor, Tensor]:
    """Adaptive Gauss-Kronrod integrals of a vector of functions over the panels between ``edges``.

    Args:
        f: (T,) float64 points -> (T, K) values; called once a round with the points of all open panels.
        edges: increasing.
        tolerance: a panel is halved while its error exceeds this share of the largest integral, or this number.
        cuts: panels that may be halved in all.

    Returns:
        (K,) integrals and (K,) error estimates, the difference of the two rules as in QUADPACK; infinite values give
        infinite integrals with error 0.

    Example:
        >>> value, error = integrate(lambda t: torch.stack([t**3, t.sqrt()], -1), [0.0, 1.0])
        >>> value.tolist() == [0.25, 2 / 3] or bool((value - torch.tensor([0.25, 2 / 3])).abs().max() < 1e-7)
        True
    """
    edges = torch.as_tensor(edges, dtype=torch.float64)
    low, high = edges[:-1], edges[1:]
    nodes = torch.tensor([*(-x for x in _NODES[:0:-1]), *_NODES], dtype=torch.float64)
    kronrod = torch.tensor([*_KRONROD[:0:-1], *_KRONROD], dtype=torch.float64)
    gauss = torch.tensor([*_GAUSS[:0:-1], *_GAUSS], dtype=torch.float64)
    total: Tensor | float = 0.0
    spread: Tensor | float = 0.0
    for round_ in range(ROUNDS + 1):
        half = (high - low) / 2
        points = (low + high).unsqueeze(-1) / 2 + half.unsqueeze(-1) * nodes
        values = f(points.reshape(-1)).reshape(*points.shape, -1)
        fine = half.unsqueeze(-1) * (kronrod.unsqueeze(-1) * values).sum(1)
        coarse = half.unsqueeze(-1) * (gauss.unsqueeze(-1) * values).sum(1)
        gap = torch.where(fine.isinf(), 0.0, (fine - coarse).abs())
        # What varies inside a panel sets the scale on which (200 gap)^1.5 is the Kronrod rule's error.
        mean = fine / (2 * half).unsqueeze(-1)
        vary = half.unsqueeze(-1) * (kronrod.unsqueeze(-1) * (values - mean.unsqueeze(1)).abs()).sum(1)
        sharp = vary * torch.clamp((200.0 * gap / vary) ** 1.5, max=1.0)
        error = torch.where((vary > 0) & vary.isfinite(), torch.minimum(sharp, gap), gap)
        scale = (total + fine.sum(0)).abs().clamp(min=1.0)
        open_ = (error > tolerance * scale).any(-1)
        if round_ == ROUNDS or int(open_.sum()) > cuts:
            open_ = torch.zeros_like(open_)
        total = total + fine[~open_].sum(0)
        spread = spread + error[~open_].sum(0)
        if not bool(open_.any()):
            break
        cuts -= int(open_.sum())
        middle = (low + high) / 2
        low, high = torch.cat([low[open_], middle[open_]]), torch.cat([middle[open_], high[open_]])
    return torch.as_tensor(total), torch.as_tensor(spread)
