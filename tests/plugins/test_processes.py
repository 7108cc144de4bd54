"""What other processes see: light imports, worker processes, a clean first use."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import ddm_pyro.plugins
from ddm_pyro.plugins import LoadOptions, RateSpec, configure, create, default_registry, list_plugins

ROOT = Path(ddm_pyro.plugins.__file__).parents[2]
HEAVY = ("torch", "pyro", "numpy", "scipy")


def run(code: str, *paths: Path, **environ: str) -> dict:
    path = os.pathsep.join([*map(str, paths), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path, **environ}, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


REPORT = """
import json, sys
from ddm_pyro.plugins import Manager, Registry, default_registry
registry = default_registry() if {default} else Registry(Manager(builtins=("ddm_core_stub",)))
ids = {{kind: registry.ids(kind) for kind in ("rates", "samplers")}}
records = [record.as_dict() for record in registry.manager.records]
print(json.dumps(dict(ids=ids, records=records, heavy=[m for m in {heavy} if m in sys.modules],
    ours=sorted(m for m in sys.modules if m.startswith("ddm_pyro.")))))
"""


def test_nothing_heavy_is_imported_by_the_door(site, good) -> None:
    good("ddm-pyro-one", "ring")
    seen = run(REPORT.format(default=False, heavy=HEAVY), site.path, DDM_PYRO_LOAD_PLUGINS="ring")
    assert seen["ids"] == {"rates": ["one/ring"], "samplers": ["core/euler", "core/tau-leaping"]}
    assert seen["heavy"] == []
    # The door imports nothing else of ddm_pyro.
    assert {name for name in seen["ours"] if not name.startswith("ddm_pyro.plugins")} == set()


def test_the_default_registry_is_light_and_has_the_core(site) -> None:
    pytest.importorskip("ddm_pyro.builtins", reason="the core's components are registered elsewhere")
    seen = run(REPORT.format(default=True, heavy=HEAVY), site.path, DDM_PYRO_LOAD_PLUGINS="")
    assert seen["records"][0]["status"] == "active"
    assert "core/euler" in seen["ids"]["samplers"]
    assert seen["heavy"] == []


def test_a_plugin_that_imports_torch_at_registration_is_told_on(site, hostile) -> None:
    # A torch of our own, because the real one takes seconds.
    (site.path / "torch.py").write_text("import time\ntime.sleep(0.2)\n")
    hostile("heavy")
    seen = run(REPORT.format(default=False, heavy=HEAVY), site.path, DDM_PYRO_LOAD_PLUGINS="heavy")
    record = next(record for record in seen["records"] if record["name"] == "heavy")
    assert (record["status"], record["heavy"]) == ("active", ["torch"])
    assert record["seconds"] > 0.2


def test_disabled_by_the_environment_and_never_imported(site, hostile) -> None:
    hostile("untouchable")
    code = REPORT.format(default=False, heavy=("ddm_hostile_untouchable",))
    assert run(code, site.path, DDM_PYRO_DISABLE_PLUGINS="untouchable")["heavy"] == []
    record = run(code, site.path)["records"][-1]
    assert record["status"] == "error"


def test_registration_takes_less_than_50_ms(site, good, make) -> None:
    code = """
import json, time
from ddm_pyro.plugins import Manager, Registry
times = []
for _ in range(3):
    start = time.perf_counter()
    Registry(Manager(builtins=("ddm_core_stub",))).ids("rates")
    times.append(time.perf_counter() - start)
print(json.dumps(min(times)))
"""
    for number in range(5):
        good(f"ddm-pyro-p{number}", "ring", entry=f"p{number}")
    assert run(code, site.path) < 0.05


def test_a_worker_rebuilds_from_kind_id_and_params(site, good) -> None:
    good("ddm-pyro-one", "ring")
    task = pickle.dumps(("rates", "one/ring", {"numerator": 6, "denominator": 4})).hex()
    code = f"""
import json, pickle
from ddm_pyro.plugins import Manager, Registry
kind, id, params = pickle.loads(bytes.fromhex({task!r}))
registry = Registry(Manager(builtins=("ddm_core_stub",)))
print(json.dumps(str(registry.create(kind, id, **params))))
"""
    environ = LoadOptions(only={"ring"}).to_environment()
    assert run(code, site.path, **environ) == "3/2"


def test_the_default_registry_is_one_and_configure_starts_anew(site, good, monkeypatch) -> None:
    good("ddm-pyro-one", "ring")
    monkeypatch.setattr("ddm_pyro.plugins.defaults._registry", None)
    registry = default_registry()
    assert default_registry() is registry
    registry.manager._builtins = ("ddm_core_stub",)
    registry.manager.add(RateSpec("mine", factory="fractions:Fraction"))
    assert create("rates", "one/ring", numerator=1, denominator=4) == 0.25
    assert {record.name for record in list_plugins()} >= {"core", "ring", "rate-mine"}
    other = configure(LoadOptions(disable={"one"}))
    other.manager._builtins = ("ddm_core_stub",)
    assert default_registry() is other
    assert "one/ring" not in other.ids("rates")
    assert "local/mine" not in other.ids("rates")
