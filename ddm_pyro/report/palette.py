"""Colors, markers and dashes of lines: told apart without color, and with the common color blindnesses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# The palette of Okabe and Ito (2008) without its yellow, which is too pale for lines on white.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
# The triangle pointing down is left out: plots use it for values below the axis.
_MARKERS = ("o", "s", "^", "D", "p", "<", ">")
_DASHES: tuple[tuple[float, ...], ...] = ((), (6, 2), (3, 1.5), (8, 2, 2, 2))

#: Marker -> its outline around the origin, as an SVG path, for legends.
OUTLINES = {
    "o": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "s": "M-3.5 -3.5h7v7h-7z",
    "^": "M0 -4.5L4 3.5H-4z",
    "p": "M0 -4.4L4.2 -1.4L2.6 3.6H-2.6L-4.2 -1.4z",
    "<": "M-4.5 0L3.5 -4V4z",
    ">": "M4.5 0L-3.5 -4V4z",
    "D": "M0 -4.8L4.8 0L0 4.8L-4.8 0z",
}


@dataclass(frozen=True)
class Style:
    """How one sampler is drawn, the same in every plot.

    Attributes:
        color: ``#rrggbb``.
        marker: a matplotlib marker and a key of ``OUTLINES``.
        dashes: lengths on and off in points; empty for a solid line.
    """

    color: str
    marker: str
    dashes: tuple[float, ...]

    @property
    def outline(self) -> str:
        """The marker as an SVG path."""
        return OUTLINES[self.marker]


def styles(names: Sequence[str]) -> dict[str, Style]:
    """One style a name, all different for up to 28 names.

    Example:
        >>> chosen = styles([f"sampler {k}" for k in range(28)])
        >>> len(set(chosen.values())), chosen["sampler 0"].color
        (28, '#0072b2')
    """
    count = len(_COLORS)
    return {
        name: Style(_COLORS[k % count], _MARKERS[(k + k // count) % count], _DASHES[k // count % len(_DASHES)])
        for k, name in enumerate(dict.fromkeys(names))
    }
