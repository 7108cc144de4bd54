"""``ddm-pyro reproduce``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ddm_pyro.cli import main
from ddm_pyro.reproduce import names
from ddm_pyro.reproduce.potts_kl import PottsKL


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def test_the_list_names_all_with_their_sources() -> None:
    told = invoke("reproduce", "--list")
    assert told.exit_code == 0
    for name in names():
        assert f"{name}: " in told.stdout
    assert [one["name"] for one in json.loads(invoke("reproduce", "--list", "--json").stdout)] == names()


def test_an_experiment_ends_in_files_a_verdict_and_code_zero(tmp_path: Path) -> None:
    told = invoke("reproduce", "potts-kl", "--quick", "--out", tmp_path)
    assert (told.exit_code, told.stderr) == (0, "")
    assert told.stdout.splitlines()[-1].startswith("PASS  potts-kl, Li and Cai")
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".json", ".md", ".svg"}
    found = json.loads(invoke("reproduce", "potts-kl", "--quick", "--json", "--out", tmp_path).stdout)
    assert found["passed"] is True
    assert all(Path(path).is_file() for path in found["files"])


def test_a_claim_that_fails_is_code_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = PottsKL.measure

    def wrong(self, work):
        return [{**row, "kl": row["kl"] * 1.001} if "kl" in row else row for row in measure(self, work)]

    monkeypatch.setattr(PottsKL, "measure", wrong)
    told = invoke("reproduce", "potts-kl", "--quick", "--out", tmp_path)
    assert told.exit_code == 1
    assert "FAIL  KL: largest deviation" in told.stdout
    assert told.stdout.splitlines()[-1].startswith("FAIL  potts-kl")


def test_unknown_names_and_no_name_are_refused_in_one_sentence(tmp_path: Path) -> None:
    told = invoke("reproduce", "potts", "--out", tmp_path)
    assert told.exit_code == 2
    assert "Did you mean 'potts-kl'?" in told.stderr
    assert invoke("reproduce").exit_code == 2
    assert not list(tmp_path.iterdir())


def test_a_directory_that_cannot_be_made_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PottsKL, "measure", lambda self, work: pytest.fail("measured"))
    (tmp_path / "file").write_text("")
    told = invoke("reproduce", "potts-kl", "--out", tmp_path / "file" / "inside")
    assert told.exit_code != 0
    assert len(told.stderr.splitlines()) == 1
    assert "Error: " in told.stderr
