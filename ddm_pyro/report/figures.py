"""One plot a metric: error against network evaluations, with limits, noise floor and bound.

Figures are made without pyplot, so that no state of matplotlib changes and no window opens; they hold no text of the
user's, so that no name can break them.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator

from ddm_pyro.report.numbers import whole
from ddm_pyro.report.palette import Style
from ddm_pyro.report.series import Line, Point
from ddm_pyro.report.tables import ROUNDING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Values below this share of the largest one are drawn at the lower edge as triangles: rounding errors of exact
#: laws (1e-16) would else stretch the axis over everything else.
DECADES_SHARE = 1e-6
#: Largest over smallest value from which an axis is logarithmic.
LOG_FROM = 4.0
_MAX_TICKS = 7


def plot(lines: Sequence[Line], styles: Mapping[str, Style]) -> Figure | None:
    """Value against network evaluations, one line a sampler; None when no finite value is to be drawn.

    Filled markers are exact values, hollow ones estimates; the band spans the confidence limits, the dashed grey line
    is the noise floor (shaded where the axis is logarithmic), dotted curves are the bounds. The axes are logarithmic
    where all is positive and the range wide.

    Example:
        >>> from ddm_pyro.report.palette import styles
        >>> points = tuple(Point(n, n, 1 / n, None, None, True, 2 / n, None, 1) for n in (1.0, 8.0))
        >>> plot([Line("euler", points)], styles(["euler"])).axes[0].get_yscale()
        'log'
        >>> plot([], {}) is None
        True
    """
    drawn = [(line.sampler, [point for point in line.points if _can_be_drawn(point)]) for line in lines]
    points = [point for _, some in drawn for point in some]
    if not points:
        return None
    figure = Figure(figsize=(3.7, 2.7), layout="constrained")
    axes = figure.add_subplot()
    bottom = _vertical(axes, points)
    floor = max((point.floor for point in points if point.floor is not None), default=None)
    if floor is not None and (bottom is None or floor > bottom):
        if bottom is not None:
            axes.axhspan(bottom, floor, color="#777777", alpha=0.12, linewidth=0)
        axes.axhline(floor, color="#555555", linewidth=1.0, dashes=(4, 3))
    for sampler, some in drawn:
        _draw(axes, some, styles[sampler], bottom)
    _horizontal(axes, [point.nfe for point in points if point.nfe is not None])
    axes.set_xlabel("network evaluations per sample", fontsize=8)
    quiet(axes)
    return figure


def training_plot(curves: Sequence[Sequence[float]]) -> Figure | None:
    """Loss against step, one curve a model, each smoothed over a fiftieth of its steps; None without a finite loss.

    Example:
        >>> training_plot([[3.0, 2.0, 1.0]]).axes[0].get_xlabel(), training_plot([[]])
        ('training step', None)
    """
    smooth = [points for losses in curves if (points := _smooth(losses))]
    if not smooth:
        return None
    figure = Figure(figsize=(3.7, 2.0), layout="constrained")
    axes = figure.add_subplot()
    for points in smooth:
        marker = "o" if len(points) == 1 else None
        axes.plot([step for step, _ in points], [loss for _, loss in points], color="#0072b2", lw=1.1, marker=marker)
    axes.set_xlabel("training step", fontsize=8)
    quiet(axes)
    return figure


def svg_uri(figure: Figure) -> str:
    """The figure as a ``data:`` URI of an SVG image; equal figures give equal text."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    # Matplotlib salts ids of clip paths and markers at random; number them instead.
    names: dict[str, str] = {}
    text = re.sub(
        r"\b[a-z]+[0-9a-f]{10}\b",
        lambda found: names.setdefault(found.group(), f"i{len(names)}"),
        stream.getvalue(),
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}"


def _can_be_drawn(point: Point) -> bool:
    return point.nfe is not None and math.isfinite(point.value) and not point.is_vacuous


def quiet(axes: Axes) -> None:
    """Grid, ticks and frame that stay behind the data."""
    axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=7.5, color="#999999", labelcolor="#222222")
    for spine in axes.spines.values():
        spine.set_color("#999999")


def _smooth(losses: Sequence[float]) -> list[tuple[float, float]]:
    """Means over at most fifty windows, at their last steps; windows that are not finite are left out."""
    window = max(1, len(losses) // 50)
    parts = [(end, losses[end - window : end]) for end in range(window, len(losses) + 1, window)]
    means = [(float(end), sum(part) / window) for end, part in parts]
    return [(end, mean) for end, mean in means if math.isfinite(mean)]


def _draw(axes: Axes, points: Sequence[Point], style: Style, bottom: float | None) -> None:
    x = [point.nfe or 0.0 for point in points]

    def clip(value: float) -> float:
        return value if bottom is None else max(value, bottom)

    pairs = list(zip(x, points, strict=True))
    limits = [(n, p.lcb, p.ucb) for n, p in pairs if not p.exact and p.lcb is not None and p.ucb is not None]
    if len(limits) > 1:
        lower, upper = [clip(low) for _, low, _ in limits], [clip(high) for _, _, high in limits]
        axes.fill_between([n for n, _, _ in limits], lower, upper, color=style.color, alpha=0.09, linewidth=0)
    for n, low, high in limits if len(limits) == 1 else []:
        axes.plot([n, n], [clip(low), clip(high)], color=style.color, linewidth=0.8, alpha=0.6)
    bounds = [(n, p.bound) for n, p in pairs if p.bound is not None]
    if bounds:
        at, height = [n for n, _ in bounds], [clip(bound) for _, bound in bounds]
        lone = "_" if len(bounds) == 1 else None
        axes.plot(at, height, color=style.color, linewidth=1.4, linestyle=(0, (1, 1.6)), marker=lone, markersize=9)
    dashes = {"dashes": style.dashes} if style.dashes else {}
    axes.plot(x, [clip(point.value) for point in points], color=style.color, linewidth=1.3, **dashes)  # type: ignore[arg-type, unused-ignore]
    for n, point in pairs:
        below = bottom is not None and point.value <= bottom
        axes.plot(
            [n],
            [clip(point.value)],
            marker="v" if below else style.marker,
            markersize=5,
            color=style.color,
            markerfacecolor=style.color if point.exact else "white",
            markeredgewidth=1.1,
            clip_on=False,
            linestyle="none",
        )


def _vertical(axes: Axes, points: Sequence[Point]) -> float | None:
    """Choose the scale and the limits of the value axis; returns the height of the lower edge when logarithmic.

    Values, floors and bounds are in the picture; limits widen it at most as far as those reach, and are cut off there,
    so that honest but wide limits do not flatten what was measured.
    """
    values = [point.value for point in points]
    shown = [*values, *(one for p in points for one in (p.bound, p.floor) if one is not None)]
    limits = [one for p in points if not p.exact for one in (p.lcb, p.ucb) if one is not None]
    top = max(shown)
    if top <= ROUNDING and min(values) >= -ROUNDING:
        axes.set_ylim(-0.06, 1.0)  # nothing but rounding: not to be looked at through a microscope
        return None
    positive = [value for value in shown if value > 0]
    if min(values) >= -ROUNDING:
        low = min(value for value in positive if value >= top * DECADES_SHARE)
        if top / low >= LOG_FROM or min(values) < low:
            room = max(top / low, 2.0)
            below = [one for one in limits if one > 0]
            return _logarithmic(
                axes,
                max(min([low, *below]), low / room) / 1.5,
                min(max([top, *limits]), top * room) * 1.5,
            )
    low = min(shown)
    room = top - low or 0.1 * abs(top) or 1.0
    bottom, ceiling = max(min([low, *limits]), low - room), min(max([top, *limits]), top + room)
    axes.set_ylim(bottom - 0.08 * room, ceiling + 0.08 * room)
    return None


def _logarithmic(axes: Axes, bottom: float, top: float) -> float:
    decades = math.log10(top / bottom)
    subs = (1.0, 2.0, 5.0) if decades < 1.7 else (1.0, 3.0) if decades < 3.0 else (1.0,)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=9))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom, top)
    return bottom


def _horizontal(axes: Axes, nfe: Iterable[float]) -> None:
    budgets = sorted(set(nfe))
    low, high = budgets[0], budgets[-1]
    if low > 0 and high / low >= LOG_FROM:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.25, high * 1.25)
    else:
        margin = 0.08 * (high - low) or 0.5 * abs(high) or 1.0
        axes.set_xlim(low - margin, high + margin)
    ticks = _spread(budgets, axes.get_xscale() == "log")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FixedFormatter([whole(tick) for tick in ticks]))


def _spread(budgets: Sequence[float], log: bool) -> list[float]:
    """Budgets far enough from each other to be written below the axis.

    Example:
        >>> _spread([1.0, 2.0, 4.0, 4.1, 64.0], log=True)
        [1.0, 2.0, 4.0, 64.0]
    """
    place = [math.log(one) if log else one for one in budgets]
    room = (place[-1] - place[0]) / _MAX_TICKS
    kept = [0]
    for k in range(1, len(budgets)):
        if place[k] - place[kept[-1]] >= room or (k == len(budgets) - 1 and kept == [0] and room > 0):
            kept.append(k)
    return [budgets[k] for k in kept]
