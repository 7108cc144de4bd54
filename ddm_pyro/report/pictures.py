"""Sequences as pictures: a grid of small grey images in one PNG, written without an imaging library."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Grey of the gaps between images.
_GAP = 200


def png(grey: NDArray[np.uint8]) -> bytes:
    """An 8-bit grey image (height, width) as a PNG file.

    Example:
        >>> import numpy as np
        >>> png(np.zeros((2, 3), dtype=np.uint8))[:8]
        b'\\x89PNG\\r\\n\\x1a\\n'
    """
    height, width = grey.shape
    lines = b"".join(b"\x00" + row.tobytes() for row in grey)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_uri(grey: NDArray[np.uint8]) -> str:
    """The image as a ``data:`` URI."""
    return f"data:image/png;base64,{base64.b64encode(png(grey)).decode()}"


def grid(
    sequences: NDArray[np.int64], image_shape: tuple[int, int], levels: int, columns: int = 8
) -> NDArray[np.uint8]:
    """Images (n, height * width) with tokens 0 (white) to levels - 1 (black) side by side, one pixel of gap around.

    Tokens off the scale, such as masks left over, are drawn in the middle grey of the gaps.

    Raises:
        ValueError: sequences whose length is not height * width.

    Example:
        >>> import numpy as np
        >>> grid(np.array([[0, 1], [1, 0], [1, 1]]), (1, 2), levels=2, columns=2).shape
        (5, 7)
    """
    import numpy as np

    height, width = image_shape
    if sequences.ndim != 2 or sequences.shape[1] != height * width:
        raise ValueError(f"Sequences of shape {sequences.shape} are no images of {height} x {width} pixels.")
    columns = max(1, min(columns, len(sequences)))
    lines = -(-len(sequences) // columns)
    canvas = np.full((lines * (height + 1) + 1, columns * (width + 1) + 1), _GAP, dtype=np.uint8)
    scaled = np.round(255.0 * (1.0 - sequences / max(1, levels - 1)))
    inside = (sequences >= 0) & (sequences < levels)
    images = np.where(inside, scaled, _GAP).astype(np.uint8).reshape(-1, height, width)
    for k, image in enumerate(images):
        top, left = k // columns * (height + 1) + 1, k % columns * (width + 1) + 1
        canvas[top : top + height, left : left + width] = image
    return canvas
