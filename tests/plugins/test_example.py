"""The example of docs/plugins.md, installed from its own pyproject, does what the page says."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "example_plugin"
PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
SHOWN = ["pyproject.toml", "ddm_pyro_ring/plugin.py", "ddm_pyro_ring/rates.py"]


@pytest.fixture
def registry(site, make):
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    site.install(
        project["name"],
        project["version"],
        entry_points=project["entry-points"]["ddm_pyro"],
        requires=project["dependencies"],
        files={str(path.relative_to(HERE)): path.read_text() for path in HERE.rglob("*.py")},
    )
    return make()


def test_the_ring_is_registered(registry) -> None:
    assert registry.ids("rates") == ("ring/ring",)
    assert registry.info("rates", "ring")["summary"] == "nearest neighbours on a ring"
    assert registry.provenance("rates", "ring")["entry_point"] == "ring = ddm_pyro_ring.plugin"


def test_the_ring_is_a_rate(registry) -> None:
    ring = registry.create("rates", "ring", num_states=4)
    assert ring.matrix().tolist() == [[-1, 0.5, 0, 0.5], [0.5, -1, 0.5, 0], [0, 0.5, -1, 0.5], [0.5, 0, 0.5, -1]]
    with pytest.raises(ValueError, match="num_states=2 must be at least 3") as caught:
        registry.create("rates", "ring", num_states=2)
    assert caught.value.__notes__ == ["While building the rate 'ring/ring' of ddm-pyro-ring 1.0."]


@pytest.mark.parametrize("name", SHOWN)
def test_the_page_shows_the_files_that_are_tested(name) -> None:
    assert (HERE / name).read_text().strip() in PAGE.read_text()
