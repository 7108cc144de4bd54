"""The picture of a decomposition; made without pyplot, so that no state of matplotlib changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ddm_pyro.bounds.decomposition.result import Decomposition

COLORS = {"initialization": "#777777", "score": "#0072B2", "discretization": "#D55E00"}


def plot(found: Decomposition) -> Figure:
    """The parts, the errors accumulated from noise to data, and the score error by position."""
    by_position = found.score_by_position
    figure = Figure(figsize=(3.1 * (2 if by_position is None else 3), 2.7), layout="constrained")
    axes = figure.subplots(1, 2 if by_position is None else 3)
    _parts(axes[0], found)
    _over_time(axes[1], found)
    if by_position is not None:
        axes[2].bar(range(len(by_position)), by_position.tolist(), color=COLORS["score"])
        axes[2].axhline(0.0, color="black", linewidth=0.6)
        axes[2].set(xlabel="position", title="score error by position")
    return figure


def _parts(axes: Axes, found: Decomposition) -> None:
    names = [*found.parts, "total"]
    colors = [*(COLORS[name] for name in found.parts), "black"]
    axes.barh(names, [*found.parts.values(), found.total], color=colors)
    axes.axvline(0.0, color="black", linewidth=0.6)
    axes.invert_yaxis()
    axes.set(title="error in f", xlabel="E f (data) - E f (sampler)")


def _over_time(axes: Axes, found: Decomposition) -> None:
    """Running sums from t = 1 down: where a curve is steep, error is made."""
    for name, steps in (("score", found.score_by_time), ("discretization", found.discretization_by_time)):
        running = torch.cat([torch.zeros(1, dtype=torch.float64), steps.cumsum(0)])
        axes.plot(found.times.tolist(), running.tolist(), color=COLORS[name], label=name)
    axes.axhline(0.0, color="black", linewidth=0.6)
    axes.invert_xaxis()
    axes.legend(frameon=False, fontsize="small")
    axes.set(xlabel="time t (noise to data)", title="accumulated error")
