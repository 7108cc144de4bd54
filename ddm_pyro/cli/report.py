"""``ddm-pyro report``: tables and report.html from rows already computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ddm_pyro.cli.failures import Refused
from ddm_pyro.cli.options import as_json, common
from ddm_pyro.cli.output import console, echo_json

if TYPE_CHECKING:
    from ddm_pyro.report import Run


@click.command()
@click.argument("source", metavar="DIR_OR_ROWS", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the page goes, instead of report.html beside the rows.",
)
@click.option("--renderer", metavar="ID", help="Write with this renderer of a plugin instead, into the directory.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@as_json
@common
def report(source: Path, out: Path | None, renderer: str | None, open_page: bool, json: bool) -> None:
    """Print the tables of an evaluation and write its report.html.

    DIR_OR_ROWS is the directory of an evaluation, finished or not, or a file of rows.
    """
    from dataclasses import asdict

    from ddm_pyro.report import load_run, print_run
    from ddm_pyro.report.citations import citations_of
    from ddm_pyro.report.problems import counts, violations_of

    if out is not None and renderer is not None:
        raise Refused("--out names one page; a renderer chooses the names of its files itself.")
    run = load_run(source)
    written = _write(run, out, renderer)
    if json:
        echo_json(
            {
                "report": str(written[0]) if written else None,
                "files": [str(path) for path in written],
                "rows": len(run.rows),
                "status": counts(run.rows),
                "violations": len(violations_of(run.rows)),
                "citations": [asdict(one) for one in citations_of(run.rows)],
            }
        )
    else:
        print_run(run, console(), report=", ".join(map(str, written)))
    if open_page and written:
        click.launch(written[0].resolve().as_uri())


def _write(run: Run, out: Path | None, renderer: str | None) -> list[Path]:
    """Write the page, or what a plugin's renderer makes of the run; returns the files."""
    from ddm_pyro.plugins import default_registry
    from ddm_pyro.report import HtmlReport
    from ddm_pyro.report.html import write

    directory = run.directory or Path()
    if renderer is None:
        return [write(HtmlReport().render(run), out)] if out is not None else HtmlReport()(run, directory)
    return [Path(path) for path in default_registry().create("renderers", renderer)(run, directory)]
