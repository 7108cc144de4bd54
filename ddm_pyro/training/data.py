"""Where training rows come from: a tensor, a data set with ``train``, or a law to sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.losses import Loss
from ddm_pyro.processes import Process
from ddm_pyro.spaces import StateSpace
from ddm_pyro.training.archive import digest_of
from ddm_pyro.training.noise import draw_noise
from ddm_pyro.training.times import StratifiedTimes, Times

#: Draws of a law that stand for it when a resumed run asks whether the data are the same.
FINGERPRINT_DRAWS = 16


@dataclass(frozen=True)
class Source:
    """Rows drawn with replacement from a table, or fresh rows from a law.

    Attributes:
        rows: (n, L) on the training device, or None.
        law: what to sample when there is no table.
        fingerprint: names the data, for resuming.
    """

    rows: Tensor | None
    law: Any
    fingerprint: str

    def draw(self, size: int, device: torch.device) -> Tensor:
        """``size`` rows, (size, L), by the uniforms of the samples in force."""
        if self.rows is None:
            drawn: Tensor = self.law.sample((size,))
            return drawn.to(device)
        u = random.uniform((size,), device)
        return self.rows[(u * len(self.rows)).long()]


def open_data(data: Any, process: Process, device: torch.device) -> Source:
    """Check the data against the process.

    Raises:
        TypeError: neither a tensor, nor an object with ``train`` or ``sample``.
        ValueError: no rows, masks, tokens out of range, a wrong length, a law on another space.
    """
    space = process.space.data
    rows = data if isinstance(data, Tensor) else getattr(data, "train", None)
    if isinstance(rows, Tensor):
        if rows.dim() != 2 or len(rows) == 0:
            raise ValueError(f"data has shape {tuple(rows.shape)}; give (n, {space.length}) with n at least 1.")
        rows = space.check(rows, "data")
        return Source(rows.to(device), None, digest_of(rows))
    if not callable(getattr(data, "sample", None)):
        raise TypeError(f"data={data!r} must be an (n, L) tensor, a data set with .train, or a law with .sample.")
    own = getattr(data, "space", None)
    if isinstance(own, StateSpace) and own != space:
        raise ValueError(f"The data live on {own} but the process on {space}; they must agree.")
    with random.indexed(0, range(FINGERPRINT_DRAWS), device):
        probe = space.check(data.sample((FINGERPRINT_DRAWS,)), "data.sample()")
    return Source(None, data, f"{type(data).__name__} {digest_of(probe)}")


class Batch(NamedTuple):
    """What one update sees.

    Attributes:
        x0: (B, L) data.
        xt: (B, L) noised data.
        t: (B,) times, on the loss's grid if it has one.
        u: (B,) the numbers in [0, 1) behind the times.
        weight: (B,) of the losses, None for 1.
    """

    x0: Tensor
    xt: Tensor
    t: Tensor
    u: Tensor
    weight: Tensor | None


def draw_batch(
    source: Source,
    process: Process,
    size: int,
    device: torch.device,
    loss: Loss | None = None,
    times: Times | None = None,
    noise: str = "independent",
) -> Batch:
    """A batch by the uniforms of the samples in force; times stratified unless another law is given."""
    x0 = source.draw(size, device)
    u, weight = (times or StratifiedTimes()).draw(size, device)
    t = u if loss is None else loss.noise_time(u)
    return Batch(x0, draw_noise(process, x0, t, noise), t, u, weight)
