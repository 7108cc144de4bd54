"""A plugin that fails, at whatever moment, costs its own cells and nothing else."""

from __future__ import annotations

import pytest

from ddm_pyro.evaluation import Plan, evaluate

from .conftest import registry_on, small_plan, values

HOSTILE = """
import math, time
from dataclasses import dataclass

from ddm_pyro.plugins import BoundSpec, MetricSpec, SamplerSpec, RateSpec, hookimpl

HERE = __name__

@hookimpl
def register_samplers(register):
    for name in ("Construct", "Leave", "Step", "Shape", "Tokens", "Refuse", "ValueFault", "Missing", "Random", "Crash"):
        register(SamplerSpec(name.lower(), factory=f"{HERE}:{name}"))

@hookimpl
def register_metrics(register):
    for name in ("NotANumber", "Wrong", "Tensor"):
        register(MetricSpec(name.lower(), factory=f"{HERE}:{name}"))

@hookimpl
def register_bounds(register):
    for name in ("Good", "Bad", "Low", "Void"):
        register(BoundSpec(name.lower(), factory=f"{HERE}:{name}"))

def __getattr__(name):
    # Heavy things only when something is built.
    import torch
    from ddm_pyro.evaluation import NotApplicable
    from ddm_pyro.metrics import Estimate, Metric
    from ddm_pyro.samplers import Ancestral
    from ddm_pyro.samplers.base import Sampler

    class Base(Sampler):
        def __init__(self, level=1):
            pass
        def step(self, model, x, t, s):
            return Ancestral().step(model, x, t, s)

    class Construct(Base):
        def __init__(self):
            raise KeyError("weights.bin")

    class Leave(Base):
        def step(self, model, x, t, s):
            raise SystemExit(3)

    class Step(Base):
        def step(self, model, x, t, s):
            return 1 / 0

    class ValueFault(Base):
        def step(self, model, x, t, s):
            raise ValueError("a bug that looks like a refusal")

    class Crash(Base):
        def step(self, model, x, t, s):
            import os
            os._exit(9)

    class Refuse(Base):
        def step(self, model, x, t, s):
            raise NotApplicable("this sampler needs a ring")

    class Law:
        def __init__(self, value):
            self.value = value
        def sample(self):
            return self.value
        def log_prob(self, value):
            raise NotImplementedError("no density")

    class Shape(Base):
        def step(self, model, x, t, s):
            return Law(x[:1, :2])

    class Tokens(Base):
        def step(self, model, x, t, s):
            return Law(x * 0 + 77)

    class Random(Base):
        def step(self, model, x, t, s):
            torch.manual_seed(0)
            return Ancestral().step(model, x, t, s)

    class NotANumber(Metric):
        def __call__(self, p, q, **options):
            return Estimate(math.nan, "exact")

    class Wrong(Metric):
        def __call__(self, p, q, **options):
            return 0.5

    class Tensor(Metric):
        def __call__(self, p, q, **options):
            return Estimate(torch.tensor(0.5), "exact", torch.tensor(0.5), extra={"a": torch.tensor(1.0)})

    class Certificate:
        def __init__(self, value, hypotheses):
            self.value, self.hypotheses, self.terms = value, hypotheses, {"loss": value}

    class Good:
        def __call__(self, *, target, model, sampler, steps):
            return Certificate(0.9, {"model": "verified"})

    class Low:
        def __call__(self, *, target, model, sampler, steps, seed=None):
            return Certificate(1e-6, {"model": "verified"})

    class Void:
        def __call__(self, *, target, model, sampler, steps, seed=None):
            return Certificate(0.0, {"never violated": "verified", "model": "violated"})

    class Bad:
        def __call__(self, **given):
            raise OSError("no disk")

    found = locals().get(name)
    if found is None or name.startswith("_"):
        raise AttributeError(name)
    return found
"""

BROKEN = """
from ddm_pyro.plugins import SamplerSpec, hookimpl
raise RuntimeError("no licence found")
"""

IN_HOOK = """
from ddm_pyro.plugins import SamplerSpec, hookimpl

@hookimpl
def register_samplers(register):
    raise KeyError("weights.bin")
"""

NO_IMPORT = """
from ddm_pyro.plugins import SamplerSpec, hookimpl

@hookimpl
def register_samplers(register):
    register(SamplerSpec("lost", factory="ddm_nowhere:Lost"))
    register(SamplerSpec("extra", factory="ddm_nowhere:Lost", requires=("gpu",)))
"""


def with_core(*samplers, **changes) -> Plan:
    return Plan.from_dict(small_plan(samplers=["core/ancestral", *samplers, "core/euler"], **changes))


@pytest.fixture
def core_rows():
    return values(evaluate(with_core()).rows)


@pytest.mark.parametrize(
    ("name", "status", "stage", "pieces"),
    [
        ("construct", "error", "sample", ["KeyError", "weights.bin", "hostile/construct of ddm-pyro-hostile 0.9"]),
        ("leave", "error", "sample", ["SystemExit", "hostile/leave"]),
        ("step", "error", "sample", ["ZeroDivisionError", "hostile/step"]),
        ("valuefault", "error", "sample", ["ValueError", "looks like a refusal"]),
        ("shape", "error", "sample", ["hostile/shape"]),
        ("tokens", "error", "sample", ["77", "hostile/tokens"]),
        ("refuse", "skipped", "sample", ["this sampler needs a ring"]),
        ("missing", "error", "load", ["cannot be loaded", "Missing", "ddm-pyro-hostile 0.9"]),
    ],
)
def test_a_sampler_of_a_plugin_costs_its_own_cells(install, core_rows, name, status, stage, pieces):
    results = evaluate(with_core(f"hostile/{name}"), registry=install(HOSTILE, "hostile"))
    first, bad, last = results.rows
    assert (bad["status"], bad["stage"]) == (status, stage), bad["reason"]
    for piece in pieces:
        assert piece in bad["reason"]
    assert "\n" not in bad["reason"]
    assert values([first, last]) == core_rows
    assert bad["plugin"] == ("hostile" if status == "error" else None)


@pytest.mark.parametrize(
    ("source", "status", "pieces"),
    [
        (BROKEN, "error", ["RuntimeError: no licence found"]),
        (IN_HOOK, "error", ["KeyError: 'weights.bin'", "register_samplers"]),
    ],
)
def test_a_plugin_that_does_not_load_costs_its_own_cells(install, core_rows, source, status, pieces, tmp_path):
    registry = install(source, "broken")
    results = evaluate(with_core("broken/thing"), registry=registry, out=tmp_path / "run")
    first, bad, last = results.rows
    assert (bad["status"], bad["stage"], bad["plugin"], bad["sampler"]) == (status, "load", "broken", "broken/thing")
    for piece in [*pieces, "ddm-pyro-broken 0.9"]:
        assert piece in bad["reason"]
    assert values([first, last]) == core_rows
    assert [one["status"] for one in results.meta["plugins"] if one["name"] == "broken"] == ["error"]


def test_a_missing_extra_is_a_skip_and_a_missing_module_an_error(install, tmp_path):
    plan, registry = with_core("lost/lost", "lost/extra"), install(NO_IMPORT, "lost")
    rows = evaluate(plan, registry=registry, out=tmp_path / "run").rows
    assert [row["status"] for row in rows] == ["ok", "error", "skipped", "ok"]
    assert "pip install 'ddm-pyro-lost[gpu]'" in rows[2]["reason"]
    # Both are tried again: the extra may have been installed meanwhile.
    events = []
    evaluate(plan, registry=registry, out=tmp_path / "run", progress=events.append)
    assert [row["sampler"] for event in events for row in event.rows] == ["lost/lost", "lost/extra"]


def test_a_disabled_plugin_is_a_skip(install, site, core_rows):
    install(HOSTILE, "hostile")
    rows = evaluate(with_core("hostile/step", disable=["hostile"]), registry=registry_on(site)).rows
    assert [row["status"] for row in rows] == ["ok", "skipped", "ok"]
    assert "is disabled" in rows[1]["reason"]
    assert values([rows[0], rows[2]]) == core_rows


def test_metrics_of_a_plugin_cost_their_own_rows(install):
    plan = Plan.from_dict(
        small_plan(metrics=["hostile/notanumber", "core/tv", "hostile/wrong", "hostile/tensor", "core/kl"])
    )
    rows = evaluate(plan, registry=install(HOSTILE, "hostile")).rows
    assert [row["status"] for row in rows] == ["error", "ok", "error", "ok", "ok"]
    assert "NaN" in rows[0]["reason"]
    assert "returned float" in rows[2]["reason"]
    assert (rows[3]["value"], rows[3]["lcb"], rows[3]["extra"]) == (0.5, 0.5, {"a": 1.0})


def test_bounds_of_a_plugin_stand_beside_the_value(install):
    registry = install(HOSTILE, "hostile")
    plan = Plan.from_dict(
        small_plan(bounds=["hostile/bad", "hostile/good"], metrics=["core/tv", "core/w1-hamming", "core/kl"])
    )
    tv, w1, kl = evaluate(plan, registry=registry).rows
    assert (tv["bound"], tv["bound_id"], tv["holds"]) == (0.9, "hostile/good", True)
    assert tv["ratio"] == pytest.approx(tv["value"] / 0.9)
    assert (tv["bound_terms"], tv["hypotheses"]) == ({"loss": 0.9}, {"model": "verified"})
    # W1-Hamming on three positions has diameter 3.
    assert w1["bound"] == pytest.approx(2.7)
    assert (kl["bound"], kl["holds"]) == (None, None)
    assert [(one["id"], one["status"]) for one in tv["bounds"]] == [("hostile/bad", "error"), ("hostile/good", "ok")]
    assert "OSError: no disk" in tv["bounds"][0]["reason"]


def test_a_violated_hypothesis_never_hides_a_bound(install):
    registry = install(HOSTILE, "hostile")
    plan = Plan.from_dict(small_plan(bounds=["hostile/void", "hostile/low"]))
    (row,) = evaluate(plan, registry=registry).rows
    assert (row["bound_id"], row["holds"]) == ("hostile/low", False)
    (alone,) = evaluate(Plan.from_dict(small_plan(bounds=["hostile/void"])), registry=registry).rows
    assert (alone["bound"], alone["holds"]) == (0.0, None)


def test_a_bound_below_the_value_does_not_hold(install):
    plan = Plan.from_dict(small_plan(bounds=["hostile/low"]))
    (row,) = evaluate(plan, registry=install(HOSTILE, "hostile")).rows
    assert row["holds"] is False
    assert row["lcb"] > row["bound"]


@pytest.mark.slow
def test_workers_load_plugins_by_themselves_and_may_die(install, core_rows):
    registry = install(HOSTILE, "hostile")
    rows = evaluate(with_core("hostile/step", "hostile/crash"), registry=registry, jobs=2).rows
    assert [row["status"] for row in rows] == ["ok", "error", "error", "ok"]
    assert "ZeroDivisionError" in rows[1]["reason"]
    assert "worker process ended" in rows[2]["reason"]
    assert "hostile/crash" in rows[2]["reason"]
    assert values([rows[0], rows[3]]) == core_rows


def test_a_plugin_that_seeds_the_global_generator_changes_no_other_cell(install, core_rows):
    rows = evaluate(with_core("hostile/random"), registry=install(HOSTILE, "hostile")).rows
    assert rows[1]["status"] == "ok", rows[1]["reason"]
    assert values([rows[0], rows[2]]) == core_rows
