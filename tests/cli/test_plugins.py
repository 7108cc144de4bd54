"""``ddm-pyro plugins`` and commands of plugins, with plugins that work and plugins that do not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fakedist import Site, site_on_path

from ddm_pyro.cli import main
from ddm_pyro.plugins import configure, default_registry

PLUGIN = """
from ddm_pyro.plugins import CommandSpec, Param, RendererSpec, SamplerSpec, hookimpl

@hookimpl
def register_commands(register):
    register(CommandSpec("greet", factory="fake_commands:greet", summary="say hello"))
    register(CommandSpec("report", factory="fake_commands:greet", summary="not the core's"))
    register(CommandSpec("broken", factory="fake_absent:command", summary="cannot be imported"))
    register(CommandSpec("number", factory="fake_commands:number"))

@hookimpl
def register_renderers(register):
    register(RendererSpec("count", factory="fake_commands:Count", summary="how many rows"))

@hookimpl
def register_samplers(register):
    register(SamplerSpec("hop", factory="fake_commands:hop", summary="hops", reference="nowhere", version=4,
                         params={"far": Param("how far", default=2)}))
    register(SamplerSpec("lame", factory="fake_absent:Lame"))
"""
COMMANDS = """
import click

@click.command()
@click.option("--name", default="you")
def greet(name):
    click.echo(f"hello {name}")

def number():
    return 7

class Count:
    def __call__(self, run, directory):
        path = directory / "count.txt"
        path.write_text(str(len(run.rows)))
        return [path]

def hop(far=2):
    return far
"""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Result]]:
    with site_on_path(tmp_path / "site") as site:
        install(site)
        configure()
        yield lambda *arguments: CliRunner().invoke(main, arguments)
    configure()


def install(site: Site) -> None:
    files = {"fake_plugin.py": PLUGIN, "fake_commands.py": COMMANDS}
    site.install("ddm-pyro-fake", "1.2", entry_points={"fake": "fake_plugin"}, files=files)
    bad = {"fake_bad.py": 'raise RuntimeError("no luck")'}
    site.install("ddm-pyro-bad", "0.3", entry_points={"bad": "fake_bad"}, files=bad)


def test_list_tells_who_provides_what_and_who_is_broken(run: Callable[..., Result]) -> None:
    result = run("plugins", "list")
    assert result.exit_code == 0
    assert "core/euler" in result.stdout
    assert "fake/hop" in result.stdout
    assert "ddm-pyro-bad 0.3  error: " in result.stdout
    assert "no luck" in result.stdout


def test_list_as_json(run: Callable[..., Result]) -> None:
    records = {record["name"]: record for record in json.loads(run("plugins", "list", "--json").stdout)}
    assert records["bad"]["status"] == "error"
    assert records["fake"]["provides"]["samplers"] == ["fake/hop", "fake/lame"]
    assert records["core"]["status"] == "active"


def test_requirements_reinstall_every_plugin(run: Callable[..., Result]) -> None:
    assert run("plugins", "list", "--requirements").stdout.split() == ["ddm-pyro-bad==0.3", "ddm-pyro-fake==1.2"]
    assert json.loads(run("plugins", "list", "--requirements", "--json").stdout)[1] == "ddm-pyro-fake==1.2"


def test_info_tells_all_about_a_component(run: Callable[..., Result]) -> None:
    words = run("plugins", "info", "hop").stdout
    for word in ("fake/hop", "samplers, version 4", "hops", "nowhere", "ddm-pyro-fake 1.2", "far", "how far", "2"):
        assert word in words
    told = json.loads(run("plugins", "info", "fake/hop", "--json").stdout)
    assert [one["name"] for one in told["parameters"]] == ["far"]


def test_info_on_a_component_that_cannot_be_loaded_tells_why(run: Callable[..., Result]) -> None:
    result = run("plugins", "info", "fake/lame")
    assert result.exit_code == 0
    assert "problem: " in result.stdout
    assert "fake_absent" in result.stdout


def test_info_on_a_broken_plugins_component_quotes_its_failure(run: Callable[..., Result]) -> None:
    result = run("plugins", "info", "bad/thing")
    assert result.exit_code == 2
    assert "no luck" in result.stderr
    assert result.stdout == ""


def test_info_on_what_nobody_has_suggests_the_closest(run: Callable[..., Result]) -> None:
    result = run("plugins", "info", "core/eulr")
    assert result.exit_code == 2
    assert "Did you mean 'core/euler'?" in result.stderr


def test_info_by_kind(run: Callable[..., Result]) -> None:
    assert run("plugins", "info", "euler", "--kind", "sampler").exit_code == 0
    assert run("plugins", "info", "euler", "--kind", "metrics").exit_code == 2
    assert run("plugins", "info", "euler", "--kind", "colors").exit_code == 2


def test_help_lists_commands_of_plugins_without_importing_them(run: Callable[..., Result]) -> None:
    import sys

    result = run("--help")
    assert "say hello" in result.stdout
    assert "fake/report" in result.stdout
    assert "fake_commands" not in sys.modules


def test_a_plugins_command_runs_by_short_name_and_by_id(run: Callable[..., Result]) -> None:
    assert run("greet", "--name", "Ada").stdout == "hello Ada\n"
    assert run("fake/greet").stdout == "hello you\n"


def test_a_core_command_cannot_be_taken_over(run: Callable[..., Result]) -> None:
    assert "DIR_OR_ROWS" in run("report", "--help").stdout
    assert run("fake/report").stdout == "hello you\n"


@pytest.mark.parametrize(("name", "says"), [("broken", "fake_absent"), ("number", "not a click command")])
def test_a_broken_command_costs_only_itself(run: Callable[..., Result], name: str, says: str) -> None:
    result = run(name)
    assert result.exit_code in (1, 2)
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert run("greet").exit_code == 0
    assert run("--help").exit_code == 0


@pytest.mark.parametrize("switch", [("--disable-plugin", "fake"), ("--no-plugins",)])
def test_switches_work_before_and_after_the_command(run: Callable[..., Result], switch: tuple[str, ...]) -> None:
    for arguments in ((*switch, "plugins", "list", "--json"), ("plugins", "list", "--json", *switch)):
        records = {record["name"]: record["status"] for record in json.loads(run(*arguments).stdout)}
        assert records["fake"] == "disabled"
    assert run("--no-plugins", "greet").exit_code == 2
    assert "fake/hop" in default_registry().ids("samplers")


def test_a_misspelt_switch_is_told(run: Callable[..., Result]) -> None:
    result = run("plugins", "list", "--disable-plugin", "fke")
    assert result.exit_code == 0
    assert "No installed plugin is called 'fke'" in result.stderr
    assert run("plugins", "list", "--disable-plugin").exit_code == 2


def test_a_plugins_renderer_writes_its_own_files(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"row_key": "a"}\n{"row_key": "b"}\n')
    told = json.loads(run("report", str(tmp_path), "--renderer", "count", "--json").stdout)
    assert told["files"] == [str(tmp_path / "count.txt")]
    assert (tmp_path / "count.txt").read_text() == "2"
    assert not (tmp_path / "report.html").exists()
    assert "Did you mean 'fake/count'?" in run("report", str(tmp_path), "--renderer", "cuont").stderr
    assert run("report", str(tmp_path), "--renderer", "count", "--out", "x.html").exit_code == 2
    assert run("report", str(tmp_path), "--renderer", "core/html").exit_code == 0
    assert (tmp_path / "report.html").exists()
