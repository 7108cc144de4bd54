"""Sites with fake distributions, and managers that see only them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakedist import Site, site_on_path

from ddm_pyro.plugins import LoadOptions, Manager, Registry
from ddm_pyro.plugins.discovery import discover

HERE = Path(__file__).parent
#: Modules of plugins, imported by tests from a copy on a temporary site, never by pytest's collection.
collect_ignore_glob = ["hostile/*", "example_plugin/*"]

CORE_STUB = """
from ddm_pyro.plugins import MetricSpec, SamplerSpec, hookimpl

@hookimpl
def register_samplers(register):
    register(SamplerSpec("euler", factory="fractions:Fraction", summary="a stub"))
    register(SamplerSpec("tau-leaping", factory="fractions:Fraction", aliases=("tau",), version=3))

@hookimpl
def register_metrics(register):
    register(MetricSpec("tv", factory="fractions:Fraction"))
"""

GOOD = """
from ddm_pyro.plugins import RateSpec, hookimpl

@hookimpl
def register_rates(register):
    register(RateSpec("{name}", factory="{factory}"))
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_on_path(tmp_path / "site") as site:
        site.install("ddm-core-stub", files={"ddm_core_stub.py": CORE_STUB})
        yield site


@pytest.fixture
def hostile(site: Site) -> Callable[..., str]:
    """Install one hostile module as a distribution; returns the distribution's name."""

    def install(name: str, *, dist: str | None = None, requires: tuple[str, ...] = ()) -> str:
        module = f"ddm_hostile_{name}"
        dist = dist or f"ddm-pyro-{name}"
        text = (HERE / "hostile" / f"{module}.py").read_text()
        site.install(dist, "0.9", entry_points={name: module}, files={f"{module}.py": text}, requires=requires)
        return dist

    return install


@pytest.fixture
def good(site: Site) -> Callable[..., str]:
    """Install a plugin that works and registers one rate; returns its module's name."""

    def install(
        dist: str, name: str = "ring", *, entry: str | None = None, version: str = "1.0", factory="fractions:Fraction"
    ) -> str:
        module = f"good_{dist.replace('-', '_')}"
        text = GOOD.format(name=name, factory=factory)
        site.install(dist, version, entry_points={entry or name: module}, files={f"{module}.py": text})
        return module

    return install


@pytest.fixture
def make(site: Site) -> Callable[..., Registry]:
    """A registry of the stub core and of the plugins installed on the site, version 0.1.0 of the core."""

    def registry(**switches) -> Registry:
        ours = {path.name.partition("-")[0] for path in site.path.glob("*.dist-info")}
        here = [one for one in discover() if one.problem or one.dist.replace("-", "_") in ours]
        options = LoadOptions(**switches)
        return Registry(Manager(options, builtins=("ddm_core_stub",), candidates=here, core_version="0.1.0"))

    return registry
