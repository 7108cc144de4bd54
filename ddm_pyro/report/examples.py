"""Samples for the eye: digits as pictures, text as text, small spaces as the most probable sequences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddm_pyro.report.components import Components
from ddm_pyro.report.numbers import show, whole
from ddm_pyro.report.run import Run
from ddm_pyro.report.series import Group, Row, evaluations

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

#: Pictures, texts and listed sequences a panel.
PICTURES, TEXTS, LISTED = 32, 8, 10
#: Spaces up to this size get a table of exact probabilities.
MAX_STATES = 4096


@dataclass(frozen=True)
class Panel:
    """Samples of one sampler, or real ones: a picture or lines of text."""

    title: str
    picture: str = ""
    width: int = 0
    alt: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Frequencies:
    """The most probable sequences of a target with the share of each among the samples of each sampler."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Examples:
    """All that can be shown of a group's samples; empty when none are kept."""

    panels: tuple[Panel, ...] = ()
    frequencies: Frequencies | None = None


def examples_of(run: Run, group: Group, components: Components) -> Examples:
    """Real sequences first, then those of each sampler at its largest budget."""
    chosen = [(_title(group, row), tensors) for row in largest(group) if (tensors := run.tensors(row))]
    if not chosen:
        return Examples()
    target = components.target(group.rows[0])
    law = _law(target)
    if law is not None:
        return Examples(frequencies=_frequencies(law, chosen))
    real = getattr(target, "test", None)
    drawn = [] if real is None else [("real", real)]
    drawn += [(title, tensors["samples"].long()) for title, tensors in chosen if "samples" in tensors]
    black = _black(target, drawn[0][1]) if drawn else 1
    return Examples(tuple(_panel(title, rows, target, black) for title, rows in drawn))


def _black(target: Any, rows: Tensor) -> int:
    """The token drawn black: the last of the alphabet, of counts the largest in these rows."""
    if target.space.is_countable:
        return max(1, int(rows.max())) if rows.numel() else 1
    return int(target.space.vocab_size) - 1


def largest(group: Group) -> list[Row]:
    """One measured row a sampler, the one with the most network evaluations."""
    best: dict[str, Row] = {}
    for row in group.measured:
        label = group.labels(row, "sampler")
        if label not in best or (evaluations(row) or 0.0) > (evaluations(best[label]) or 0.0):
            best[label] = row
    return list(best.values())


def _title(group: Group, row: Row) -> str:
    return f"{group.labels(row, 'sampler')}, {whole(evaluations(row))} evaluations"


def _panel(title: str, rows: Tensor, target: Any, black: int) -> Panel:
    image = image_of(rows[:PICTURES], target, black)
    if image is None:
        return Panel(title, lines=tuple(texts_of(rows[:TEXTS], target)))
    from ddm_pyro.report.pictures import png_uri

    height, width = target.image_shape
    count = min(PICTURES, len(rows))
    return Panel(title, png_uri(image), 3 * image.shape[1], f"{count} images of {height} by {width} pixels: {title}")


def image_of(rows: Tensor, target: Any, black: int | None = None) -> NDArray[np.uint8] | None:
    """Sequences (n, L) as a grid of grey images; None for a target whose sequences are none (no ``image_shape``).

    Args:
        rows: the sequences.
        target: what they are of.
        black: the token drawn black; None takes the last of the alphabet, or of counts the largest in ``rows``.
    """
    shape = getattr(target, "image_shape", None)
    if shape is None or len(shape) != 2 or shape[0] * shape[1] != rows.shape[1]:
        return None
    from ddm_pyro.report.pictures import grid

    black = _black(target, rows) if black is None else black
    shown = rows.clamp(max=black) if target.space.is_countable else rows
    return grid(shown.cpu().numpy(), (int(shape[0]), int(shape[1])), black + 1)


def texts_of(rows: Tensor, target: Any) -> list[str]:
    """One line a sequence: as the target reads it, cells with commas between them, or its tokens with spaces."""
    try:
        decoded = target.decode(rows)
        if isinstance(decoded, list) and len(decoded) == len(rows):
            return [one if isinstance(one, str) else ", ".join(map(str, one)) for one in decoded]
    except Exception:  # no decoder, or one of a plugin that fails on these tokens
        pass
    return [" ".join(str(token) for token in row) for row in rows.tolist()]


def _law(target: Any) -> Any | None:
    try:
        return target.tabular() if target.space.num_states <= MAX_STATES else None
    except Exception:  # data without a density, a countable space, or a plugin's target that fails
        return None


def _frequencies(law: Any, drawn: Sequence[tuple[str, Mapping[str, Tensor]]]) -> Frequencies:
    order = law.probs.argsort(descending=True, stable=True)[:LISTED]
    atoms = law.atoms[order]
    columns = [_probabilities(law, atoms, tensors) for _, tensors in drawn]
    rows = []
    for k, (atom, probability) in enumerate(zip(atoms.tolist(), law.probs[order].tolist(), strict=True)):
        sequence = " ".join(str(token) for token in atom)
        rows.append((sequence, show(probability), *(f"{mark}{show(column[k])}" for mark, column in columns)))
    return Frequencies(("sequence", "target", *(title for title, _ in drawn)), tuple(rows))


def _probabilities(law: Any, atoms: Tensor, tensors: Mapping[str, Tensor]) -> tuple[str, list[float | None]]:
    """Of the listed sequences under a sampler: exact, or their shares among its samples, marked by a tilde."""
    pmf, drawn = tensors.get("pmf"), tensors.get("samples")
    if pmf is not None and pmf.numel() == law.space.num_states:
        return "", pmf.reshape(-1)[law.space.index(atoms)].tolist()
    if drawn is None:
        return "", [None] * len(atoms)
    found = Counter(map(tuple, drawn.tolist()))
    return "~", [found[tuple(atom)] / len(drawn) for atom in atoms.tolist()]
