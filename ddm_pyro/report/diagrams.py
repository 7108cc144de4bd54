"""Small figures beside the values: errors by position, reliability curves. Like the plots, they hold no user's text."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ddm_pyro.report.figures import quiet


def bars(values: Sequence[float], floor: Sequence[float] | None, color: str, top: float) -> Figure:
    """One bar a position, up to ``top``; the step line is the floor.

    Example:
        >>> len(bars([0.1, 0.2, 0.05], None, "#0072b2", 0.2).axes[0].patches)
        3
    """
    figure = Figure(figsize=(3.7, 1.8), layout="constrained")
    axes = figure.add_subplot()
    at = range(1, len(values) + 1)
    axes.bar(at, values, width=0.85 if len(values) <= 100 else 1.0, color=color, alpha=0.75, linewidth=0)
    if floor:
        axes.step(at, floor, where="mid", color="#555555", linewidth=1.0)
    axes.set_xlim(0.25, len(values) + 0.75)
    axes.set_ylim(0.0, 1.05 * top)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlabel("position", fontsize=8)
    quiet(axes)
    return figure


def reliability_plot(curves: Sequence[tuple[float, Sequence[tuple[float, float, float]]]]) -> Figure:
    """Share of right tokens against confidence, one curve a noise level, from light (little noise) to dark.

    Args:
        curves: the time, and for each bin (confidence, share, half the length of its bar).

    Example:
        >>> len(reliability_plot([(0.1, [(0.5, 0.4, 0.1), (0.9, 0.8, 0.1)])]).axes[0].lines) >= 2
        True
    """
    figure = Figure(figsize=(3.7, 3.0), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#777777", linewidth=1.0, dashes=(4, 3))
    for t, bins in curves:
        color = (0.75 * (1.0 - t), 0.25 + 0.5 * (1.0 - t), 0.55 + 0.35 * (1.0 - t))
        x, y, error = zip(*bins, strict=True)
        axes.errorbar(
            x,
            y,
            error_bars(y, error),
            color=color,
            marker="o",
            markersize=3.5,
            linewidth=1.2,
            elinewidth=0.8,
            label=f"t = {t:g}",
        )
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(0.0, 1.0)
    axes.set_xlabel("probability of the most probable token", fontsize=8)
    axes.set_ylabel("share that is right", fontsize=8)
    axes.legend(fontsize=7, frameon=False, loc="upper left")
    quiet(axes)
    return figure


def error_bars(shares: Sequence[float], halves: Sequence[float]) -> list[list[float]]:
    """Lengths of error bars below and above, cut off at 0 and 1.

    Example:
        >>> error_bars([0.5, 1.0], [0.25, 0.5])
        [[0.25, 0.5], [0.25, 0.0]]
    """
    pairs = list(zip(shares, halves, strict=True))
    return [[max(0.0, min(h, y)) for y, h in pairs], [max(0.0, min(h, 1.0 - y)) for y, h in pairs]]
