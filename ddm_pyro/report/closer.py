"""Where samplers err along the sequence, and whether the denoiser's probabilities are frequencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ddm_pyro.report.examples import largest
from ddm_pyro.report.numbers import show, whole
from ddm_pyro.report.palette import Style
from ddm_pyro.report.run import Run
from ddm_pyro.report.series import Group, evaluations
from ddm_pyro.report.tables import ROUNDING

#: Samplers whose errors are drawn.
SHOWN = 6


@dataclass(frozen=True)
class Picture:
    """An image with its title and what it shows, in words."""

    title: str
    image: str
    alt: str


@dataclass(frozen=True)
class Calibration:
    """Reliability of one model: a curve for each noise level, and their errors as rows of a table."""

    picture: Picture
    rows: tuple[tuple[str, str, str, str], ...]


def positions_of(run: Run, group: Group, styles: Mapping[str, Style]) -> tuple[Picture, ...]:
    """Bars of the error at each position, one picture a sampler at its largest budget; none that is only rounding."""
    from ddm_pyro.report import diagrams, figures

    found = []
    for row in largest(group):
        kept = run.positions(row)
        if kept and max(kept["tv"]) > ROUNDING:
            found.append((group.labels(row, "sampler"), row, kept))
    found = found[:SHOWN]
    top = max((max([*kept["tv"], *(kept.get("floor") or [])]) for _, _, kept in found), default=0.0)
    pictures = []
    for sampler, row, kept in found:
        worst = max(range(len(kept["tv"])), key=lambda k, tv=kept["tv"]: tv[k])  # type: ignore[misc]
        alt = (
            f"Total variation of each token's law for {sampler}: between {show(min(kept['tv']))} and "
            f"{show(max(kept['tv']))}, the largest at position {worst + 1} of {len(kept['tv'])}."
        )
        figure = diagrams.bars(kept["tv"], kept.get("floor"), styles[sampler].color, top)
        title = f"{sampler}, {whole(evaluations(row))} evaluations"
        pictures.append(Picture(title, figures.svg_uri(figure), alt))
    return tuple(pictures)


def calibrations_of(run: Run, group: Group) -> tuple[Calibration, ...]:
    """Reliability of the group's trained models, one a repetition."""
    models = {str(row["train_key"]): row for row in group.rows if row.get("train_key")}
    kept = [levels for row in models.values() if (levels := run.calibration(row))]
    return tuple(_calibration(levels, k, len(kept)) for k, levels in enumerate(kept))


def _calibration(levels: Sequence[Mapping[str, Any]], k: int, count: int) -> Calibration:
    from ddm_pyro.report import diagrams, figures

    curves = [
        (float(one["t"]), [(bin["confidence"], bin["share"], 2.0 * bin["stderr"]) for bin in one["bins"]])
        for one in levels
    ]
    says = "; ".join(f"at t = {one['t']:g} off by {show(one['error'])} on average" for one in levels)
    title = "Reliability" if count == 1 else f"Reliability, repetition {k + 1}"
    picture = Picture(title, figures.svg_uri(diagrams.reliability_plot(curves)), f"Share of right tokens: {says}.")
    rows = tuple((f"{one['t']:g}", show(one["error"]), show(one["floor"]), whole(one["n"])) for one in levels)
    return Calibration(picture, rows)
