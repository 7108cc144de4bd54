"""``ddm-pyro evaluate`` and ``report`` from plan to page."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from report_rows import exact_rows, row

from ddm_pyro.cli import main

PLAN = """
name = "small"
metrics = ["core/tv"]
steps = [1, 2]
[[experiments]]
target = { id = "core/potts-chain", num_states = 2, length = 3, coupling = 0.5 }
rate = "core/masked"
schedule = "core/linear"
parameterization = "core/exact"
samplers = ["core/ancestral", "core/first-hitting"]
"""


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.toml"
    path.write_text(PLAN)
    return path


def write_rows(folder: Path, rows: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in rows))
    return folder


def test_a_plan_ends_in_a_table_rows_and_a_page(plan: Path) -> None:
    result = invoke("evaluate", plan)
    assert result.exit_code == 0, result.stderr
    assert "potts-chain · masked · linear · exact" in result.stdout
    (folder,) = (plan.parent / "runs").iterdir()
    assert folder.name.startswith("small-")
    assert f"Report: runs/{folder.name}/report.html" in result.stdout
    assert len((folder / "rows.jsonl").read_text().splitlines()) == 3
    assert "first-hitting" in (folder / "report.html").read_text()


def test_the_same_command_goes_on_where_it_was(plan: Path) -> None:
    first = json.loads(invoke("evaluate", plan, "--json").stdout)
    rows = Path(first["rows"])
    before = rows.read_text()
    assert json.loads(invoke("evaluate", plan, "--json").stdout) == first
    assert rows.read_text() == before
    assert first["status"] == {"ok": 3}
    again = json.loads(invoke("evaluate", plan, "--json", "--force").stdout)
    assert again["rows"] == first["rows"]
    assert len(rows.read_text().splitlines()) == 6


def test_another_seed_or_content_is_another_run(plan: Path) -> None:
    names = {json.loads(invoke("evaluate", plan, "--json").stdout)["directory"]}
    seeded = json.loads(invoke("evaluate", plan, "--json", "--seed", 5).stdout)
    names.add(seeded["directory"])
    plan.write_text(PLAN.replace("0.5", "0.75"))
    names.add(json.loads(invoke("evaluate", plan, "--json").stdout)["directory"])
    assert len(names) == 3
    assert seeded["seed"] == 5
    assert invoke("evaluate", plan, "--out", "here", "--json").exit_code == 0
    assert Path("here/report.html").is_file()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("core/tv", "core/tvv", "Did you mean 'core/tv'?"),
        ("steps =", "stesp =", "Did you mean 'steps'?"),
        ("num_states", "num_stats", "num_states"),
        ("[[experiments]]", "[[experiments]", "no TOML"),
    ],
)
def test_a_plan_that_cannot_be_run_is_one_sentence_and_code_2(plan: Path, old: str, new: str, says: str) -> None:
    plan.write_text(PLAN.replace(old, new))
    result = invoke("evaluate", plan)
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not list(plan.parent.glob("runs/*/report.html"))


def test_a_plan_that_is_not_there(plan: Path) -> None:
    result = invoke("evaluate", "nowhere.toml")
    assert result.exit_code == 2
    assert "'nowhere.toml' cannot be read" in result.stderr


class FakeResults:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows, self.meta = rows, {"name": "fake"}


@pytest.mark.parametrize(
    ("rows", "flags", "code"),
    [
        ([row()], (), 0),
        ([row(), row(status="skipped", value=None, reason="no")], (), 0),
        ([row(), row(status="error", value=None, reason="no")], (), 3),
        ([row(), row(status="timeout", value=None, reason="no")], (), 3),
        ([row(), row(status="error", value=None, reason="no")], ("--allow-errors",), 0),
        ([row(bound=0.01, holds=False)], ("--allow-errors",), 4),
        ([row(bound=0.01, holds=False), row(status="error", value=None)], (), 4),
    ],
)
def test_exit_codes(
    plan: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], flags: tuple[str, ...], code: int
) -> None:
    numbered = [{**one, "row_key": str(k)} for k, one in enumerate(rows)]
    monkeypatch.setattr("ddm_pyro.evaluation.evaluate", lambda *_, **__: FakeResults(numbered))
    told = invoke("evaluate", plan, "--json", *flags)
    assert told.exit_code == code
    assert json.loads(told.stdout)["exit_code"] == code
    assert invoke("evaluate", plan, *flags).exit_code == code


def test_an_interruption_says_what_is_kept(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ddm_pyro.evaluation.evaluate", interrupted)
    result = invoke("evaluate", plan)
    assert result.exit_code == 130
    assert "kept in runs/small-" in result.stderr
    assert "run the same command again" in result.stderr


def test_ctrl_c_in_a_shell(plan: Path) -> None:
    plan.write_text(PLAN.replace("length = 3", "length = 7").replace("[1, 2]", "[4000, 8000, 9000]"))
    command = [sys.executable, "-c", "from ddm_pyro.cli import main; main()", "evaluate", str(plan), "--out", "run"]
    # Runners in the background ignore SIGINT, and children inherit that.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=plan.parent,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while not (plan.parent / "run" / "rows.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "kept in run; run the same command again" in err
    assert "Traceback" not in err
    assert out == ""


def test_report_from_a_directory_and_from_a_file(tmp_path: Path) -> None:
    folder = write_rows(tmp_path / "run", exact_rows())
    told = invoke("report", folder)
    assert told.exit_code == 0
    assert "tau-leaping" in told.stdout
    assert "1 failed, 4 skipped" in told.stdout
    assert (folder / "report.html").is_file()
    as_json = invoke("report", folder / "rows.jsonl", "--out", tmp_path / "other.html", "--json")
    assert json.loads(as_json.stdout)["report"] == str(tmp_path / "other.html")
    assert (tmp_path / "other.html").read_text() == (folder / "report.html").read_text()


def test_tables_fit_eighty_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = {
        "sampler": "some-plugin/a-sampler-with-a-very-long-name-indeed",
        "metric": "other-plugin/an-extremely-long-metric",
    }
    folder = write_rows(tmp_path / "run", [*exact_rows(), row(**long), row(status="error", reason="word " * 60)])
    lines = invoke("report", folder).stdout.splitlines()
    assert max(len(line) for line in lines if not line.startswith("Report: ")) <= 80


@pytest.mark.parametrize("content", [None, "", "no row\n", "[1]\n", '{"value": 1}\n'])
def test_report_without_rows_is_one_sentence(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "rows.jsonl").write_text(content)
    result = invoke("report", tmp_path)
    if content == "":
        assert result.exit_code == 0
        assert "No measurement." in result.stdout
    else:
        assert result.exit_code == 2
        assert result.stderr.startswith("Error: ")
        assert "Traceback" not in result.stderr
        assert not (tmp_path / "report.html").exists()


def test_open_asks_for_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("click.launch", opened.append)
    folder = write_rows(tmp_path / "run", [row()])
    assert invoke("report", folder, "--open").exit_code == 0
    assert opened == [(folder / "report.html").resolve().as_uri()]


def test_a_refused_plan_announces_no_run(plan: Path) -> None:
    plan.write_text(PLAN.replace("coupling = 0.5", "coupling = 'x'"))
    refused = invoke("evaluate", plan)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "coupling='x'" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not (plan.parent / "runs").exists()


def test_a_report_says_what_to_cite(plan: Path) -> None:
    assert "works to cite" in invoke("evaluate", plan, "--out", "run").stdout
    found = json.loads(invoke("report", "run", "--json").stdout)["citations"]
    cited = {one["work"]: one["components"] for one in found}
    assert cited["Zheng et al. 2024, arXiv:2409.02908"] == ["sampler core/first-hitting"]
    assert cited["Austin et al. 2021, arXiv:2107.03006"] == [
        "rate core/masked",
        "schedule core/linear",
        "sampler core/ancestral",
    ]
    assert "to cite: Zheng et al. 2024" in invoke("plugins", "info", "first-hitting").stdout
