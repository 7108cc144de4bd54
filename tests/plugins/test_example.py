"""The example of docs/plugins.md, written from the page alone, does what the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from ddm_pyro.evaluation import Plan, evaluate
from ddm_pyro.plugins import LoadOptions, Manager, Registry
from ddm_pyro.plugins.discovery import discover

HERE = Path(__file__).parent / "example_plugin"
PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
SHOWN = ["pyproject.toml", "ddm_pyro_ring.py", "plan.toml"]


@pytest.fixture
def registry(site, make):
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    site.install(
        project["name"],
        project["version"],
        entry_points=project["entry-points"]["ddm_pyro"],
        files={"ddm_pyro_ring.py": (HERE / "ddm_pyro_ring.py").read_text()},
    )
    return make()


def test_one_file_and_five_lines() -> None:
    assert len((HERE / "pyproject.toml").read_text().splitlines()) == 5
    assert sorted(path.name for path in HERE.iterdir() if path.is_file()) == sorted(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_the_page_shows_the_files_that_are_tested(name) -> None:
    assert f"```{'toml' if name.endswith('toml') else 'python'}\n{(HERE / name).read_text()}```" in PAGE.read_text()


def test_the_ring_is_registered(registry) -> None:
    assert registry.ids("rates") == ("ring/ring",)
    assert registry.info("rates", "ring")["summary"] == "jumps to either neighbour on a ring"
    assert registry.provenance("rates", "ring")["entry_point"] == "ring = ddm_pyro_ring"


def test_the_ring_is_a_rate(registry) -> None:
    ring = registry.create("rates", "ring", vocab_size=4)
    assert ring.matrix().tolist() == [[-1, 0.5, 0, 0.5], [0.5, -1, 0.5, 0], [0, 0.5, -1, 0.5], [0.5, 0, 0.5, -1]]
    with pytest.raises(ValueError, match="vocab_size=2 must be at least 3") as caught:
        registry.create("rates", "ring", vocab_size=2)
    assert caught.value.__notes__ == ["While building the rate 'ring/ring' of ddm-pyro-ring 1.0."]


def test_its_plan_runs_and_its_law_is_that_of_a_walk_on_a_ring(registry) -> None:
    here = [one for one in discover() if one.dist == "ddm-pyro-ring"]
    rows = evaluate(Plan.load(HERE / "plan.toml"), registry=Registry(Manager(LoadOptions(), candidates=here))).rows
    assert [row["status"] for row in rows] == ["ok"] * 8
    assert {row["rate_dist"] for row in rows if row["rate"] == "ring/ring"} == {"ddm-pyro-ring 1.0"}
    # Characters of the cyclic group: the eigenvalues of the generator are cos(2 pi k / 5) - 1.
    ring = registry.create("rates", "ring", vocab_size=5)
    found = torch.linalg.eigvalsh(ring.matrix())
    wanted = (2 * torch.pi * torch.arange(5, dtype=torch.float64) / 5).cos().sub(1).sort().values
    assert torch.allclose(found, wanted)


@pytest.mark.slow
def test_a_newcomer_follows_the_page(tmp_path) -> None:
    """Every block of the section, top to bottom: files written, installed by pip, plan run by the command line."""
    section = PAGE.read_text().partition("## Write one")[2].partition("### What a spec says")[0]
    project, module, plan, program = re.findall(r"```(?:toml|python)\n(.*?)```", section, re.DOTALL)
    site = tmp_path / "site"
    (tmp_path / "ring").mkdir()
    files = ["ring/pyproject.toml", "ring/ddm_pyro_ring.py", "plan.toml", "program.py"]
    for name, content in zip(files, (project, module, plan, program), strict=True):
        (tmp_path / name).write_text(content)
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(site), "./ring")
    main = ("-c", "from ddm_pyro.cli import main; main()")
    assert "ring/ring" in run(*main, "plugins", "list")
    assert "jumps to either neighbour" in run(*main, "plugins", "info", "ring")
    assert json.loads(run(*main, "evaluate", "plan.toml", "--json"))["status"] == {"ok": 8}
    run("program.py")
