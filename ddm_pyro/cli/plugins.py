"""``ddm-pyro plugins``: what is installed, and what each component takes."""

from __future__ import annotations

import click

from ddm_pyro.cli.options import as_json, common
from ddm_pyro.cli.output import console, echo_json


@click.group()
def plugins() -> None:
    """See what is installed and what it takes."""


@plugins.command("list")
@click.option("--requirements", is_flag=True, help="Only the lines that pip needs to install the same plugins again.")
@as_json
@common
def list_command(requirements: bool, json: bool) -> None:
    """List plugins with their status and their components."""
    from ddm_pyro.plugins import list_plugins
    from ddm_pyro.plugins import requirements as lines_for_pip

    if requirements:
        lines = list(lines_for_pip())
        if json:
            echo_json(lines)
        elif lines:
            click.echo("\n".join(lines))
        return
    records = list_plugins()
    if json:
        echo_json([record.as_dict() for record in records])
        return
    from rich.table import Table
    from rich.text import Text

    out = console()
    for record in records:
        status = "" if record.status == "active" else f"  {record.status}: {record.reason}"
        out.print(Text.assemble((record.provider, "bold"), status), soft_wrap=True)
        table = Table(box=None, show_header=False, padding=(0, 1, 0, 2))
        table.add_column(no_wrap=True)
        table.add_column()
        for kind, ids in record.as_dict()["provides"].items():
            table.add_row(kind, Text(", ".join(ids)))
        if table.row_count:
            out.print(table)


@plugins.command()
@click.argument("id")
@click.option("--kind", help="Kind of component, such as samplers, where an id is used by several.")
@as_json
@common
def info(id: str, kind: str | None, json: bool) -> None:
    """Tell what the component ID is and which parameters it takes."""
    from ddm_pyro.plugins import describe

    found = [describe(one, id) for one in _kinds(id, kind)]
    if json:
        echo_json(found[0] if len(found) == 1 else found)
        return
    for row in found:
        _print(row)


def _kinds(id: str, kind: str | None) -> list[str]:
    """Kinds that have a component of this id, at least one.

    Raises:
        PluginError: nobody has it; the closest id is named, or the failure of the plugin that would.
    """
    from ddm_pyro.plugins import KINDS, UnknownIdError, canonical_kind, default_registry, did_you_mean

    if kind is not None:
        return [canonical_kind(kind)]
    registry, found = default_registry(), []
    for one in KINDS:
        try:
            registry.component(one, id)
        except UnknownIdError:
            continue
        found.append(one)
    if not found:
        every = [component for one in KINDS for component in registry.ids(one)]
        raise UnknownIdError(f"Nothing installed has the id {id!r}.{did_you_mean(id, every)}")
    return found


def _print(row: dict[str, object]) -> None:
    from rich.table import Table
    from rich.text import Text

    out = console()
    out.print(Text.assemble((str(row["id"]), "bold"), f"  {row['kind']}, version {row['version']}"))
    for key, word in (("summary", ""), ("reference", "to cite: "), ("problem", "problem: ")):
        if row.get(key):
            out.print(Text(f"{word}{row[key]}"), soft_wrap=True)
    provider = " ".join(str(row[key]) for key in ("dist", "dist_version") if row.get(key)) or "this process"
    out.print(Text(f"provided by {provider}, as {row['factory']}"), soft_wrap=True)
    for key in ("aliases", "capabilities", "requires"):
        if values := row.get(key):
            out.print(Text(f"{key}: {', '.join(map(str, values if isinstance(values, list) else [values]))}"))
    parameters = row.get("parameters")
    if not isinstance(parameters, list) or not parameters:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("parameter", "default", "type", "meaning"):
        table.add_column(column)
    for one in parameters:
        default = "required" if one["required"] else one["default"]
        table.add_row(*(Text(str(cell)) for cell in (one["name"], default, one["annotation"], one["summary"])))
    out.print(table)
