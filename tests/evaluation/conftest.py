"""Small plans, and a registry with the real built-ins and plugins installed on a temporary site."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakedist import Site, site_on_path

from ddm_pyro.evaluation import Plan
from ddm_pyro.plugins import LoadOptions, Manager, Registry
from ddm_pyro.plugins.discovery import discover

CHAIN = {"id": "core/potts-chain", "num_states": 2, "length": 3, "coupling": 1.0}


def small_plan(**changes) -> dict:
    """A plan of one experiment with the exact score; keys of the plan or of the experiment may be changed."""
    experiment = {
        "target": CHAIN,
        "rate": "core/masked",
        "schedule": "core/linear",
        "parameterization": "core/exact",
        "samplers": ["core/ancestral"],
        "steps": [2],
        "metrics": ["core/tv"],
    }
    plan: dict = {"samples": 50}
    top = {"name", "seed", "samples", "confidence", "repetitions", "timeout", "disable"}
    for key, value in changes.items():
        (plan if key in top else experiment)[key] = value
    return {**plan, "experiments": [{key: value for key, value in experiment.items() if value is not None}]}


def trained_plan(**changes) -> dict:
    """The same with a tiny trained model."""
    return small_plan(
        **{
            "parameterization": "core/mask-predictor",
            "network": {"kind": "mlp", "width": 8, "depth": 1},
            "loss": "core/nelbo",
            "train": {"steps": 5, "batch_size": 16},
            **changes,
        }
    )


@pytest.fixture
def plan() -> Callable[..., Plan]:
    return lambda **changes: Plan.from_dict(small_plan(**changes))


@pytest.fixture
def trained() -> Callable[..., Plan]:
    return lambda **changes: Plan.from_dict(trained_plan(**changes))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_on_path(tmp_path / "site") as site:
        yield site


@pytest.fixture
def install(site: Site) -> Callable[..., Registry]:
    """Install a module of source as a plugin; returns a registry of the built-ins and everything installed so far."""

    def add(source: str, name: str, *, core: str | None = None) -> Registry:
        module = f"ddm_{name}_plugin"
        site.install(f"ddm-pyro-{name}", "0.9", entry_points={name: module}, files={f"{module}.py": source})
        return registry_on(site)

    return add


def registry_on(site: Site, **switches) -> Registry:
    ours = {path.name.partition("-")[0] for path in site.path.glob("*.dist-info")}
    here = [one for one in discover() if one.dist.replace("-", "_") in ours]
    return Registry(Manager(LoadOptions(**switches), candidates=here))


def values(rows) -> list[dict]:
    """Rows without what a clock wrote."""
    return [{key: value for key, value in row.items() if not key.endswith("seconds")} for row in rows]
