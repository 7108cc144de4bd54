"""Information curves of Potts lines and rings, exact from distances alone.

P^n has 1/K + (1 - 1/K) lam^n on the diagonal and (1 - lam^n) / K elsewhere, and H(X_i | X_W) depends only on the
distances a, b to the nearest revealed sites. The sets W of size n whose nearest members are at a and b number
C(L-1-m, n-2) with m = a + b (C(L-1-m, n-1) when one side is empty and m counts its sites and the other distance).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def line_curve(states: int, length: int, lam: float, total: float = 1.0) -> Tensor:
    """Hbar(n), n = 0 .. L-1, of the free Potts line, (L,) float64, nats.

    Example:
        >>> line_curve(4, 8, (math.e - 1) / (math.e + 3))[:2].tolist()  # doctest: +ELLIPSIS
        [1.386294361..., 1.354102...]
    """
    if states == 1:
        return torch.zeros(length, dtype=torch.float64)
    one = _one_sided(states, length, lam).cumsum(0)
    two = torch.stack([_two_sided(states, lam, distance).sum() for distance in range(length)])
    sites = torch.arange(length, 0, -1, dtype=torch.float64)
    curve = (_share(length, 2) @ (sites * two) + 2 * _share(length, 1) @ one) / length
    curve[0] = math.log(states)
    return curve


def ring_curve(states: int, length: int, lam: float, total: float) -> Tensor:
    """Hbar(n), n = 0 .. L-1, of the Potts ring; ``total`` is 1 + (K-1) lam^L.

    Example:
        >>> ring_curve(2, 2, 0.0, 1.0).exp().tolist()
        [2.0, 2.0]
    """
    if states == 1:
        return torch.zeros(length, dtype=torch.float64)
    two = torch.zeros(length, dtype=torch.float64)
    for distance in range(2, length):
        agree = (1 + (states - 1) * lam**distance) * (1 + (states - 1) * lam ** (length - distance)) / (states * total)
        two[distance] = _two_sided(states, lam, distance, agree).sum()
    curve = _share(length, 2) @ two
    curve[0] = math.log(states)
    if length > 1:
        # One revealed site is met on both sides: distances d and L - d, and the two ends agree.
        curve[1] = _two_sided(states, lam, length, 1.0).mean()
    return curve


def _one_sided(states: int, length: int, lam: float) -> Tensor:
    """H(X_i | one site at distance d), d = 0 .. L-1."""
    power = lam ** torch.arange(length, dtype=torch.float64)
    same, other = 1 / states + (1 - 1 / states) * power, (1 - power) / states
    return torch.special.entr(same) + (states - 1) * torch.special.entr(other)


def _two_sided(states: int, lam: float, distance: int, agree: float | None = None) -> Tensor:
    """H(X_i | sites at a and m - a), a = 1 .. m-1; ``agree`` = P(the two are equal), by default that of the line."""
    a = torch.arange(1, max(distance, 1), dtype=torch.float64)
    left, right = lam**a, lam ** (distance - a)
    if agree is None:
        agree = 1 / states + (1 - 1 / states) * lam**distance
    same_l, same_r = 1 / states + (1 - 1 / states) * left, 1 / states + (1 - 1 / states) * right
    other_l, other_r = (1 - left) / states, (1 - right) / states
    entr = torch.special.entr
    hit, miss = same_l * same_r, other_l * other_r
    norm = hit + (states - 1) * miss
    if_equal = entr(hit / norm) + (states - 1) * entr(miss / norm)
    at_left, at_right = same_l * other_r, other_l * same_r
    norm = at_left + at_right + (states - 2) * miss
    if_not = entr(at_left / norm) + entr(at_right / norm) + (states - 2) * entr(miss / norm)
    # Repulsion of two states can exclude one of the cases, whose entropy is then 0/0 at probability zero.
    return agree * if_equal.nan_to_num(0.0) + (1 - agree) * if_not.nan_to_num(0.0)


def _share(length: int, named: int) -> Tensor:
    """C(L-1-m, n-named) / C(L-1, n) at [n, m], by ratios of neighbouring binomials: no large number is formed."""
    others = length - 1
    n = torch.arange(length, dtype=torch.float64)
    chosen = n - named
    # C(N, n-1) / C(N, n) = n / (N-n+1), applied `named` times.
    first = torch.ones_like(n)
    for step in range(named):
        first = first * (n - step) / (others - n + 1 + step)
    m = torch.arange(others, dtype=torch.float64)
    ratios = ((others - m - chosen.unsqueeze(-1)) / (others - m)).clamp(min=0.0)
    table = torch.cat([first.unsqueeze(-1), first.unsqueeze(-1) * ratios.cumprod(-1)], -1)
    return table.masked_fill((chosen < 0).unsqueeze(-1), 0.0)
