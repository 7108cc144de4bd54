"""Start-up: light, and with exit codes that shells can use."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from ddm_pyro import __version__
from ddm_pyro.cli import main
from ddm_pyro.cli.failures import report_failure

HEAVY = ("torch", "pyro", "numpy", "scipy", "matplotlib", "jinja2", "joblib", "rich", "safetensors")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["evaluate", "--help"], ["plugins", "list", "--json"]]
)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    program = f"""
import sys
from ddm_pyro.cli import main
try:
    main({arguments!r})
except SystemExit as end:
    assert end.code == 0, end.code
loaded = [name for name in {HEAVY!r} if name in sys.modules]
sys.exit(f"imported {{loaded}}" if loaded else 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout == f"ddm-pyro, version {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["evluate"], ["evaluate", "--jbs", "2"], ["evaluate", "--jobs", "0"], ["report"]]
)
def test_wrong_usage_is_one_message_and_code_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [[], ["plugins"]])
def test_no_arguments_print_the_help(arguments: list[str]) -> None:
    bare, asked = (CliRunner().invoke(main, [*arguments, *more]) for more in ((), ("--help",)))
    assert (bare.exit_code, bare.stderr) == (0, "")
    assert bare.stdout == asked.stdout
    assert len(bare.stdout.splitlines()) > 5


def test_a_misspelt_command_gets_a_suggestion() -> None:
    assert "Did you mean 'evaluate'?" in CliRunner().invoke(main, ["evluate"]).stderr


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message")


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ValueError("steps=0 must be\n   at least 1."), 1, "Error: steps=0 must be at least 1."),
        (FileNotFoundError(2, "No such file or directory", "x.npy"), 1, "Error: No such file or directory: 'x.npy'."),
        (RuntimeError("boom"), 1, "Error: RuntimeError: boom"),
        (Mute(), 1, "Error: Mute."),
        (KeyboardInterrupt(), 130, "Interrupted."),
    ],
)
def test_failures_are_sentences(error: BaseException, code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_failure(error, debug=False) == code
    assert capsys.readouterr().err.splitlines()[0] == says


def test_debug_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("wrong")
    except ValueError as error:
        report_failure(error, debug=True)
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    program = "from ddm_pyro.cli import main; main()"
    command = f'{sys.executable} -c "{program}" plugins list --json | head -c 1'
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
