"""Pictures of rows: panels of curves, drawn without pyplot and the same bytes every time."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Width and height of a panel in inches; three fit on a line.
PANEL = (4.2, 3.3)
PANELS_A_LINE = 2


@dataclass(frozen=True)
class Curve:
    """Points joined by a line.

    Attributes:
        label: in the legend; empty for none.
        x, y: coordinates; points that are not finite, or not positive on a logarithmic axis, are left out.
        style: "line" with markers; "bound" dashed without; "points" markers alone; "faint" thin and grey.
        color: number of a color; None for the next one. Curves that belong together share it.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "line"
    color: int | None = None


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Attributes:
        title, x, y: what is shown, and the labels of the axes.
        curves: what is drawn.
        log: the axes that are logarithmic: "", "x", "y" or "xy".
        mark: an x at which a vertical line is drawn, and its name.
        ticks: words below x = 1, 2, ..., instead of numbers.
    """

    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    log: str = "xy"
    mark: tuple[float, str] | None = None
    ticks: Sequence[str] = ()


def svg(panels: Sequence[Panel]) -> bytes:
    """The panels side by side as an SVG image; equal panels give equal bytes.

    Example:
        >>> picture = svg([Panel("a line", "x", "y", [Curve("", [1, 2], [1, 4])])])
        >>> picture[:5], picture == svg([Panel("a line", "x", "y", [Curve("", [1, 2], [1, 4])])])
        (b'<?xml', True)
    """
    from matplotlib.figure import Figure

    wide = min(len(panels), PANELS_A_LINE)
    lines = math.ceil(len(panels) / PANELS_A_LINE)
    figure = Figure(figsize=(PANEL[0] * wide, PANEL[1] * lines), layout="constrained")
    for place, panel in enumerate(panels, start=1):
        _draw(figure.add_subplot(lines, wide, place), panel)
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    # Matplotlib salts ids of clip paths and markers at random; number them instead.
    ids: dict[str, str] = {}
    pattern = r"\b[a-z]+[0-9a-f]{10}\b"
    text = re.sub(pattern, lambda found: ids.setdefault(found.group(), f"i{len(ids)}"), stream.getvalue())
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines()).encode()


def _draw(axes: Axes, panel: Panel) -> None:
    from ddm_pyro.report.figures import quiet
    from ddm_pyro.report.palette import styles

    palette = list(styles([str(k) for k in range(28)]).values())
    following = 0
    for curve in panel.curves:
        if curve.color is None:
            following += 1
        style = palette[(following - 1 if curve.color is None else curve.color) % len(palette)]
        points = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if _shown(x, y, panel.log)]
        x, y = [p[0] for p in points], [p[1] for p in points]
        label = curve.label or "_nolegend_"
        if curve.style == "bound":
            axes.plot(x, y, color=style.color, linewidth=1.3, linestyle=(0, (4, 2)), label=label)
        elif curve.style == "faint":
            axes.plot(x, y, color="#999999", linewidth=1.0, linestyle=(0, (1, 1.5)), label=label)
        else:
            width = 0.0 if curve.style == "points" else 1.4
            axes.plot(
                x, y, color=style.color, linewidth=width, marker=style.marker, markersize=4.5, mfc="white", label=label
            )
    if "x" in panel.log:
        axes.set_xscale("log")
    if "y" in panel.log:
        axes.set_yscale("log")
    if panel.mark is not None:
        axes.axvline(panel.mark[0], color="#777777", linewidth=1.0, linestyle=(0, (3, 3)), label=panel.mark[1])
    axes.set_title(panel.title, fontsize=9)
    axes.set_xlabel(panel.x, fontsize=8)
    axes.set_ylabel(panel.y, fontsize=8)
    quiet(axes)
    if panel.ticks:
        axes.set_xticks(range(1, len(panel.ticks) + 1), panel.ticks, rotation=40, ha="right")
    if any(curve.label for curve in panel.curves):
        axes.legend(fontsize=7, frameon=False)


def _shown(x: float, y: float, log: str) -> bool:
    if not (math.isfinite(x) and math.isfinite(y)):
        return False
    return (x > 0 or "x" not in log) and (y > 0 or "y" not in log)
