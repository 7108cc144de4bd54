"""The reference names every public object, and nothing that does not exist."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

import ddm_pyro as ddm
from ddm_pyro.evaluation import ROW_FIELDS
from ddm_pyro.evaluation.plan import EXPERIMENT_KEYS, PLAN_KEYS

DOCS = Path(__file__).parents[2] / "docs"
SHOWN = {name for page in (DOCS / "api").glob("*.md") for name in re.findall(r"^::: ([\w.]+)$", page.read_text(), re.M)}


def public(module: str) -> set[str]:
    """Classes and functions that a module offers under its own name: what its package exports, or it defines."""
    found = vars(import_module(f"ddm_pyro.{module}"))
    return {
        f"ddm_pyro.{module}.{name}"
        for name, value in found.items()
        if not name.startswith(("_", "check_curve", "check_steps"))
        and (inspect.isclass(value) or inspect.isfunction(value))
        and (value.__module__ or "").startswith(f"ddm_pyro.{module}")
    }


@pytest.mark.parametrize("module", sorted(ddm._MODULES))
def test_every_public_object_has_an_entry(module) -> None:
    missing = public(module) - SHOWN
    assert not missing, f"add to docs/api: {', '.join(f'::: {name}' for name in sorted(missing))}"


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_every_entry_exists(name) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(import_module(module), attribute)


def test_the_evaluation_page_names_every_key() -> None:
    page = (DOCS / "evaluation.md").read_text()
    named = set(re.findall(r"`(\w+)`", page))
    parts = {"target", "rate", "schedule", "parameterization", "loss", "sampler", "metric"}
    rows = {key for key in ROW_FIELDS if key.split("_")[0] not in parts}
    assert {*PLAN_KEYS, *EXPERIMENT_KEYS, *rows, *parts} <= named
