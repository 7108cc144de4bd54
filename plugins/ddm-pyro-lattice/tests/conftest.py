"""The plugin as if it were installed: its folder on the path, its metadata on a site of its own."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]
sys.path.insert(0, str(HERE))


@pytest.fixture
def registry(tmp_path):
    """A registry of the core and of this plugin, read from its pyproject."""
    from fakedist import site_on_path

    from ddm_pyro.plugins import LoadOptions, Manager, Registry
    from ddm_pyro.plugins.discovery import discover

    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    with site_on_path(tmp_path / "site") as site:
        site.install(
            project["name"],
            project["version"],
            entry_points=project["entry-points"]["ddm_pyro"],
            requires=project["dependencies"],
        )
        ours = [one for one in discover() if one.dist == project["name"]]
        yield Registry(Manager(LoadOptions(), candidates=ours))
