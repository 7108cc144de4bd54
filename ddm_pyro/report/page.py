"""The report as one HTML file: nothing is loaded from elsewhere, and whatever a row says is text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from ddm_pyro.report.citations import citations_of
from ddm_pyro.report.closer import Calibration, Picture, calibrations_of, positions_of
from ddm_pyro.report.components import Components
from ddm_pyro.report.examples import Examples, examples_of
from ddm_pyro.report.header import facts, plugin_problems
from ddm_pyro.report.html import template, write
from ddm_pyro.report.numbers import show, whole
from ddm_pyro.report.palette import Style, styles
from ddm_pyro.report.problems import counts, problems_of, violations_of
from ddm_pyro.report.run import Run
from ddm_pyro.report.series import Group, Line, groups_of, lines_of
from ddm_pyro.report.tables import ValueTable, value_table

NAME = "report.html"


@dataclass(frozen=True)
class Plot:
    """One plot: its image, and in words what it shows."""

    metric: str
    image: str
    alt: str


@dataclass(frozen=True)
class Section:
    """All about one group."""

    anchor: str
    group: Group
    plots: tuple[Plot, ...]
    legend: Mapping[str, Style]
    table: ValueTable
    examples: Examples
    training: Plot | None
    positions: tuple[Picture, ...]
    calibrations: tuple[Calibration, ...]


@final
@dataclass(frozen=True)
class HtmlReport:
    """Renderer of a run: ``HtmlReport()(run, directory)`` writes report.html there and returns its path in a list.

    Example:
        >>> html = HtmlReport().render(Run([{"target": "core/digits", "status": "skipped", "reason": "<b>"}]))
        >>> "&lt;b&gt;" in html, "<b>" in html
        (True, False)
    """

    def __call__(self, run: Run, directory: Path | str) -> list[Path]:
        """Write the report; see ``write``."""
        return [write(self.render(run), Path(directory) / NAME)]

    def render(self, run: Run) -> str:
        """The report as text."""
        components, rows = Components(), run.rows
        groups = groups_of(rows)
        # One style a sampler over the whole run, so that it looks the same in each group.
        all_styles = styles([sampler for group in groups for sampler in group.samplers])
        sections = tuple(_section(k, run, group, all_styles, components) for k, group in enumerate(groups))
        return template("report.html.j2").render(
            name=run.name,
            facts=facts(run),
            counts=counts(rows),
            sections=[section for section in sections if section.group.measured],
            violations=violations_of(rows),
            problems=problems_of(rows),
            plugins=plugin_problems(run),
            metrics=components.notes([row for row in rows if row.get("metric")]),
            bounds=_bounds(groups),
            citations=citations_of(rows),
        )


def _section(k: int, run: Run, group: Group, styles: Mapping[str, Style], components: Components) -> Section:
    directions = components.directions(group.measured, group.labels)
    return Section(
        f"group-{k + 1}",
        group,
        tuple(plot for metric in group.metrics if (plot := _plot(group, metric, styles)) is not None),
        {sampler: styles[sampler] for sampler in group.samplers},
        value_table(group, directions),
        examples_of(run, group, components),
        _training(run, group),
        positions_of(run, group, styles),
        calibrations_of(run, group),
    )


def _plot(group: Group, metric: str, styles: Mapping[str, Style]) -> Plot | None:
    from ddm_pyro.report import figures

    lines = lines_of(group, metric)
    figure = figures.plot(lines, styles)
    return None if figure is None else Plot(metric, figures.svg_uri(figure), _alt(group, metric, lines))


def _training(run: Run, group: Group) -> Plot | None:
    """Training losses of the group's models, one curve a repetition."""
    from ddm_pyro.report import figures

    models = {str(row["train_key"]): row for row in group.rows if row.get("train_key")}
    found = [losses for row in models.values() if (losses := run.losses(row))]
    figure = figures.training_plot(found)
    if figure is None:
        return None
    says = "; ".join(f"from {show(losses[0])} to {show(losses[-1])} in {len(losses)} steps" for losses in found)
    return Plot("training loss", figures.svg_uri(figure), f"Training loss of {group.title}: {says}.")


def _alt(group: Group, metric: str, lines: Sequence[Line]) -> str:
    """What the plot shows, for those who cannot see it: first and last value of each line."""
    parts = []
    for line in lines:
        first, last = line.points[0], line.points[-1]
        says = f"{show(first.value)} at {whole(first.nfe)} network evaluations"
        if len(line.points) > 1:
            says += f" to {show(last.value)} at {whole(last.nfe)}"
        parts.append(f"{line.sampler}: {says}")
    return f"{metric} against network evaluations for {group.title}. {'; '.join(parts)}."


def _bounds(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Rows with a bound, for the table that sets it beside the value."""
    found = []
    for group in groups:
        for row in group.measured:
            if row.get("bound") is not None:
                found.append(
                    {
                        "group": group.title,
                        "sampler": group.labels(row, "sampler"),
                        "metric": group.labels(row, "metric"),
                        "row": row,
                    }
                )
    return found
