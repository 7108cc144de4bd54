"""Information curves of Potts lines and rings, exact from distances alone.

The powers P^n of the transition have one value on the diagonal and one elsewhere, and H(X_i | X_W) depends only on
the distances a, b to the nearest revealed sites. The sets W of size n whose nearest members are at a and b number
C(L-1-m, n-2) with m = a + b (C(L-1-m, n-1) when one side is empty and m counts its sites and the other distance).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Powers(NamedTuple):
    """Entries of P^n, n = 0 .. len - 1: ``same`` on the diagonal, ``other`` elsewhere; K = ``states``."""

    same: Tensor
    other: Tensor
    states: int


def potts_powers(states: int, coupling: float, highest: int) -> Powers:
    """P^0 .. P^highest for P proportional to exp(J [x = y]), by sums of nonnegative terms: nothing cancels.

    Example:
        >>> powers = potts_powers(3, 0.5, 2)
        >>> bool((powers.same + 2 * powers.other - 1).abs().max() < 1e-15)
        True
    """
    weights = torch.tensor([0.0] + [-coupling] * (states - 1), dtype=torch.float64).softmax(0).tolist()
    stay, move = weights[0], weights[-1] if states > 1 else 0.0
    same, other = [1.0], [0.0]
    for _ in range(highest):
        s, o = same[-1], other[-1]
        same.append(s * stay + (states - 1) * o * move)
        other.append(s * move + o * stay + (states - 2) * o * move if states > 1 else 0.0)
    return Powers(torch.tensor(same, dtype=torch.float64), torch.tensor(other, dtype=torch.float64), states)


def line_curve(powers: Powers, length: int) -> Tensor:
    """Hbar(n), n = 0 .. L-1, of the free line, (L,) float64, nats.

    Example:
        >>> line_curve(potts_powers(4, 1.0, 8), 8)[:2].tolist()  # doctest: +ELLIPSIS
        [1.386294361..., 1.354102...]
    """
    if powers.states == 1:
        return torch.zeros(length, dtype=torch.float64)
    entr = torch.special.entr
    one = (entr(powers.same) + (powers.states - 1) * entr(powers.other))[:length].cumsum(0)
    two = _two_sided(powers, length, torch.full((length,), 1.0 / powers.states, dtype=torch.float64), None)
    sites = torch.arange(length, 0, -1, dtype=torch.float64)
    curve = (_share(length, 2) @ (sites * two) + 2 * _share(length, 1) @ one) / length
    curve[0] = math.log(powers.states)
    return curve


def ring_curve(powers: Powers, length: int) -> Tensor:
    """Hbar(n), n = 0 .. L-1, of the ring; ``powers`` reach P^L.

    Example:
        >>> ring_curve(potts_powers(2, 0.0, 2), 2).exp().tolist()
        [2.0, 2.0]
    """
    if powers.states == 1:
        return torch.zeros(length, dtype=torch.float64)
    back = powers.same[length] * powers.states
    two = _two_sided(powers, length + 1, powers.same.flip(0) / back, powers.other.flip(0) / back)
    curve = _share(length, 2) @ two[:length]
    curve[0] = math.log(powers.states)
    if length > 1:
        # One revealed site is met on both sides: the distances make up the ring and the two ends agree.
        curve[1] = two[length] / (length - 1)
    return curve


def _two_sided(powers: Powers, count: int, same_back: Tensor, other_back: Tensor | None) -> Tensor:
    """Sum over a = 1 .. m-1 of H(X_i | sites at a and m - a), for m = 0 .. count-1.

    The sites u, v at distance m have the law P^m(u, v) times ``same_back[m]`` or ``other_back[m]``, the weight of the
    rest of the ring (1/K on the line).
    """
    other_back = same_back if other_back is None else other_back
    same, other, states = powers
    sums = torch.zeros(count, dtype=torch.float64)
    for m in range(2, count):
        s, o = same[1:m], other[1:m]
        s_right, o_right = s.flip(0), o.flip(0)
        entropy_if_equal = _entropy([(s * s_right, 1), (o * o_right, states - 1)])
        entropy_if_not = _entropy([(s * o_right, 1), (o * s_right, 1), (o * o_right, states - 2)])
        equal = states * same[m] * same_back[m]
        unequal = states * (states - 1) * other[m] * other_back[m]
        sums[m] = (equal * entropy_if_equal + unequal * entropy_if_not).sum()
    return sums


def _entropy(cells: list[tuple[Tensor, int]]) -> Tensor:
    """Entropy of the law proportional to each weight repeated that many times."""
    total = torch.stack([weight * times for weight, times in cells]).sum(0)
    return torch.stack([times * torch.special.entr(weight / total) for weight, times in cells]).sum(0)


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
