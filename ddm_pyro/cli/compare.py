"""``ddm-pyro compare``: two runs side by side."""

from __future__ import annotations

from pathlib import Path

import click

from ddm_pyro.cli.options import as_json, common
from ddm_pyro.cli.output import console, echo_json

PAGE = "comparison.html"


@click.command()
@click.argument("a", metavar="RUN_A", type=click.Path(path_type=Path))
@click.argument("b", metavar="RUN_B", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"Where the page goes, instead of {PAGE} beside the rows of RUN_B.",
)
@as_json
@common
def compare(a: Path, b: Path, out: Path | None, json: bool) -> None:
    """Set the values of two runs side by side, and write the page comparison.html.

    RUN_A and RUN_B are directories of evaluations, or files of rows. Rows are paired by target, rate, schedule,
    parameterization, loss, sampler, steps and metric; network, training, seeds and versions may differ. Each pair has
    both values with their limits, the difference B - A, and whether the limits are apart, that is do not meet.
    """
    from ddm_pyro.report import compare, load_run
    from ddm_pyro.report.compare_page import comparison_html, comparison_values, print_comparison
    from ddm_pyro.report.html import write

    found = compare(load_run(a), load_run(b))
    page = write(comparison_html(found), out or (found.b.directory or Path()) / PAGE)
    if json:
        echo_json({**comparison_values(found), "report": str(page)})
    else:
        print_comparison(found, console(), report=str(page))
