"""What becomes of masks when all are revealed by rates held fixed: exact, in order of the number of masks."""

from __future__ import annotations

import torch
from torch import Tensor

from ddm_pyro.bounds.decomposition.jumps import Jumps
from ddm_pyro.bounds.decomposition.reference import mask_counts


def fill(jumps: Jumps, f: Tensor) -> Tensor:
    """E f after every mask has been revealed by these rates held fixed: exact, in order of the number of masks.

    Raises:
        ValueError: masks that can be reached and are never revealed.
    """
    masked = mask_counts(jumps.layout.space) > 0
    alive = jumps.exits > 0
    if bool((masked & ~alive).any()) and float(filled_law(jumps)[masked].sum()) > 0.0:
        raise ValueError("The model leaves masks that it never reveals (rate 0 at every token); give stop= > 0.")
    u = torch.where(masked, 0.0, f)
    for _ in range(jumps.layout.length):
        u = torch.where(masked, torch.where(alive, jumps.arrivals(u) / jumps.exits, 0.0), f)
    return u


def filled_law(jumps: Jumps, start: Tensor | None = None) -> Tensor:
    """The law after every mask has been revealed by these rates held fixed, from all masks or from ``start``."""
    masked = mask_counts(jumps.layout.space) > 0
    moving = torch.zeros_like(jumps.exits) if start is None else start.clone()
    if start is None:
        moving[-1] = 1.0
    done = torch.zeros_like(moving)
    for _ in range(jumps.layout.length):
        stays = ~masked | (jumps.exits <= 0)
        done += torch.where(stays, moving, 0.0)
        moving = jumps.departures(torch.where(stays, 0.0, moving / jumps.exits))
    return done + moving
