"""A model's reverse rates on the clock z = log t/(1 - t), on which they are bounded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ddm_pyro.bounds.decomposition.collocation import Generator
from ddm_pyro.bounds.decomposition.jumps import Jumps, entries, layout_of, model_jumps
from ddm_pyro.bounds.decomposition.reference import float64

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization

#: Times nearer to 0 or 1 than these are taken to be there: what happens between has probability of their order.
FIRST_TIME, LAST_GAP = 1e-14, 2.0**-52
#: Nodes a step, and doubles that the rates at remembered nodes may take together.
NODES, REMEMBERED = 8, 2**26


def z_of(t: float) -> float:
    """log t/(1 - t), ends cut off."""
    if t <= FIRST_TIME:
        return math.log(FIRST_TIME)
    return -math.log(LAST_GAP) if t >= 1.0 - LAST_GAP else math.log(t) - math.log1p(-t)


def t_of(z: float) -> float:
    """The inverse of ``z_of``."""
    return 1.0 / (1.0 + math.exp(-z))


class Rates:
    """The model's reverse rates per unit of z, remembered while there is room."""

    def __init__(self, model: Parameterization) -> None:
        self.model, self.layout = model, layout_of(model.process)
        self.free = model.time_free and self.layout.masked
        self.size = entries(self.layout)
        self.nodes = int(np.clip(REMEMBERED // self.size, 3, NODES))
        self._known: dict[float, Jumps] = {}
        self._base: Jumps | None = None

    def at(self, z: float) -> Jumps:
        """Rates dt/dz R_t."""
        found = self._known.get(z)
        if found is None:
            t = t_of(z)
            found = self.unit().scaled(self.speed(t) * t * (1.0 - t)) if self.free else self._evaluate(t)
            while self._known and len(self._known) >= max(self.nodes, REMEMBERED // self.size):
                self._known.pop(next(iter(self._known)))
            self._known[z] = found
        return found

    def backward(self, z: float) -> Generator:
        """u -> G u in its two parts."""
        jumps = self.at(z)
        return jumps.arrivals, jumps.exits

    def forward(self, z: float) -> Generator:
        """p -> p G in its two parts."""
        jumps = self.at(z)
        return jumps.departures, jumps.exits

    def _evaluate(self, t: float) -> Jumps:
        return model_jumps(self.model, self.layout, t).scaled(t * (1.0 - t))

    def speed(self, t: float) -> float:
        """d/dt of log m, the rate at which a normalized predictor reveals a mask."""
        process = self.model.process
        return float(process.mask_decay(float64(t)) / process.mask_probability(float64(t)))

    def unit(self) -> Jumps:
        """A time-free masked model's rates per unit of log m."""
        if self._base is None:
            self._base = model_jumps(self.model, self.layout, 0.5).scaled(1.0 / self.speed(0.5))
        return self._base
