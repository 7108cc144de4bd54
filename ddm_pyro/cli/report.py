"""``ddm-pyro report``: tables and report.html from rows already computed."""

from __future__ import annotations

from pathlib import Path

import click

from ddm_pyro.cli.options import as_json, common
from ddm_pyro.cli.output import console, echo_json


@click.command()
@click.argument("source", metavar="DIR_OR_ROWS", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the page goes, instead of report.html beside the rows.",
)
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@as_json
@common
def report(source: Path, out: Path | None, open_page: bool, json: bool) -> None:
    """Print the tables of an evaluation and write its report.html.

    DIR_OR_ROWS is the directory of an evaluation, finished or not, or a file of rows.
    """
    from ddm_pyro.report import HtmlReport, load_run, print_run
    from ddm_pyro.report.page import NAME, write
    from ddm_pyro.report.problems import counts, violations_of

    run = load_run(source)
    page = write(HtmlReport().render(run), out or (run.directory or Path()) / NAME)
    if json:
        echo_json(
            {
                "report": str(page),
                "rows": len(run.rows),
                "status": counts(run.rows),
                "violations": len(violations_of(run.rows)),
            }
        )
    else:
        print_run(run, console(), report=str(page))
    if open_page:
        click.launch(page.resolve().as_uri())
