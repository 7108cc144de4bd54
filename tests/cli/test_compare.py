"""``ddm-pyro compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from report_rows import row

from ddm_pyro.cli import main


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in rows))
    return folder


def test_two_runs_end_in_a_table_and_a_page(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", row()), write(tmp_path / "b", row(value=0.025), row(steps=16))
    told = invoke("compare", a, b)
    assert (told.exit_code, told.stderr) == (0, "")
    assert "B better" in told.stdout
    assert f"Report: {b / 'comparison.html'}" in told.stdout
    assert "B better" in (b / "comparison.html").read_text()
    elsewhere = tmp_path / "page.html"
    found = json.loads(invoke("compare", a, b / "rows.jsonl", "--json", "--out", elsewhere).stdout)
    assert found["report"] == str(elsewhere)
    assert [pair["verdict"] for pair in found["pairs"]] == ["B better"]
    assert len(found["only_b"]) == 1
    assert elsewhere.is_file()


def test_a_run_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    refused = invoke("compare", write(tmp_path / "a", row()), tmp_path / "b")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "cannot be read" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
