"""``ddm-pyro reproduce all``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ddm_pyro.cli import main
from ddm_pyro.reproduce import catalog


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    kept = {name: catalog._CATALOG[name] for name in ("potts-kl", "potts-mutual-information")}
    monkeypatch.setattr(catalog, "_CATALOG", kept)
    return list(kept)


def test_all_runs_every_experiment_and_writes_a_summary(tmp_path: Path, two: list[str]) -> None:
    told = CliRunner().invoke(main, ["reproduce", "all", "--quick", "--json", "--out", str(tmp_path)])
    assert told.exit_code == 0, told.stderr
    assert [one["name"] for one in json.loads(told.stdout)] == two
    summary = (tmp_path / "summary.md").read_text()
    assert all(f"[`{name}`](#{name})" in summary for name in two)
    assert len(list(tmp_path.iterdir())) == 4 * len(two) + 1


def test_another_seed_gives_other_draws(tmp_path: Path) -> None:
    rows = []
    for seed in ("0", "1"):
        told = CliRunner().invoke(
            main, ["reproduce", "potts-mutual-information", "--quick", "--seed", seed, "--out", str(tmp_path / seed)]
        )
        assert told.exit_code == 0, told.stderr
        lines = (tmp_path / seed / "potts-mutual-information.csv").read_text().splitlines()
        rows.append({kind: [line for line in lines if line.startswith(kind)] for kind in ("curve", "draws")})
    assert rows[0]["curve"] == rows[1]["curve"]
    assert rows[0]["draws"] != rows[1]["draws"]
