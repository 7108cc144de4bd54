"""What can never be built is refused before anything runs; what does not combine is skipped."""

from __future__ import annotations

import pytest

from ddm_pyro.evaluation import Plan, PlanError, evaluate

from .conftest import CHAIN, registry_on, small_plan, trained_plan

MATRIX = [[-1.0, 2.0], [1.0, -1.0]]


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [
        (
            {"target": {**CHAIN, "length": "x"}},
            ["experiments[0]: target", "length='x' of 'core/potts-chain' must be a whole number"],
        ),
        ({"target": {**CHAIN, "length": True}}, ["length=True of"]),
        ({"target": {**CHAIN, "length": 0}}, ["target", "length"]),
        ({"target": {"id": "core/product", "probs": [[0.5, 0.8]]}}, ["target", "1.3"]),
        ({"target": {"id": "core/product", "probs": "x"}}, ["'core/product' cannot be built with {'probs': 'x'}"]),
        ({"rate": {"id": "core/dense", "matrix": MATRIX}}, ["rate", "row"]),
        ({"rate": {"id": "core/rank-one", "stationary": [0.5, 0.8]}}, ["rate", "1.3"]),
        ({"schedule": {"id": "core/constant", "total": -1.0}}, ["schedule", "total=-1.0"]),
        ({"schedule": {"id": "core/constant", "total": "6"}}, ["total='6' of 'core/constant' must be a number"]),
        ({"samplers": [{"id": "core/first-hitting", "refresh": 0}]}, ["samplers", "refresh=0"]),
        ({"samplers": [{"id": "core/euler", "negative": "no"}]}, ["samplers", "negative='no'"]),
        ({"samplers": [{"id": "core/k-unmask", "sizes": "halves"}]}, ["samplers", "core/k-unmask"]),
        ({"metrics": [{"id": "core/position-tv", "reduce": "median"}]}, ["metrics", "reduce='median'"]),
    ],
)
def test_a_component_that_cannot_be_built_is_refused_before_anything_runs(tmp_path, changes, pieces):
    with pytest.raises(PlanError) as refused:
        evaluate(Plan.from_dict(small_plan(**changes)), out=tmp_path / "run")
    assert all(piece in str(refused.value) for piece in pieces), str(refused.value)
    assert str(refused.value).startswith("experiments[0]: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [
        ({"network": {"kind": "mlp", "width": "x"}}, ["network", "width"]),
        ({"network": {"kind": "mlp", "width": 0}}, ["network", "width"]),
        ({"train": {"steps": 0}}, ["train", "steps=0"]),
        ({"train": {"steps": 5, "lr": -1.0}}, ["train", "lr=-1.0"]),
        ({"train": {"steps": 5, "lr": "fast"}}, ["train", "fast"]),
        ({"train": {"steps": 5, "precision": "float8"}}, ["train", "precision='float8'"]),
        ({"loss": {"id": "core/score-entropy", "kind": "fancy"}}, ["loss", "fancy"]),
    ],
)
def test_settings_of_a_training_are_refused_before_anything_runs(changes, pieces):
    with pytest.raises(PlanError) as refused:
        evaluate(Plan.from_dict(trained_plan(**changes)))
    assert all(piece in str(refused.value) for piece in pieces), str(refused.value)


def test_what_only_a_cell_knows_is_left_to_it():
    explicit = {"id": "core/score-entropy", "kind": "explicit"}
    noise = {"rate": "core/uniform", "schedule": "core/log-linear", "parameterization": "core/x0"}
    (row,) = evaluate(Plan.from_dict(trained_plan(loss=explicit, **noise))).rows
    assert row["status"] == "ok", row["reason"]
    # Three tokens of noise for a target of two: each is right, together they are not.
    (row,) = evaluate(Plan.from_dict(small_plan(rate={"id": "core/uniform", "vocab_size": 3}))).rows
    assert (row["status"], row["stage"]) == ("skipped", "model"), row["reason"]


def test_a_plugin_that_cannot_be_built_costs_its_own_cells(install, site):
    source = """
from ddm_pyro.plugins import TargetSpec, hookimpl

@hookimpl
def register_targets(register):
    register(TargetSpec("tilted", factory=f"{__name__}:tilted"))

def tilted(mass: float = 1.3):
    from ddm_pyro.targets import Product
    return Product([[mass / 2, mass / 2]])
"""
    registry = install(source, "tilted")
    plan = Plan.from_dict(small_plan(target=[CHAIN, "tilted/tilted"]))
    rows = evaluate(plan, registry=registry).rows
    assert [row["status"] for row in rows] == ["ok", "error"]
    assert rows[1]["plugin"] == "tilted"
    with pytest.raises(PlanError, match="mass='x' of 'tilted/tilted' must be a number"):
        evaluate(Plan.from_dict(small_plan(target={"id": "tilted/tilted", "mass": "x"})), registry=registry_on(site))


def test_a_factory_that_returns_something_else_is_told_what_to_return(install):
    source = """
from ddm_pyro.plugins import RateSpec, hookimpl

@hookimpl
def register_rates(register):
    register(RateSpec("bare", factory=f"{__name__}:bare"))
    register(RateSpec("needy", factory=f"{__name__}:needy"))

def bare(vocab_size):
    import torch
    return torch.zeros(vocab_size, vocab_size)

def needy(num_states):
    raise AssertionError
"""
    registry = install(source, "bare")
    (row,) = evaluate(Plan.from_dict(small_plan(rate="bare/bare")), registry=registry).rows
    assert row["status"] == "error"
    assert "'bare/bare' returned Tensor; it must return a RateMatrix, such as Dense(matrix)." in row["reason"]
    with pytest.raises(PlanError, match=r"needs the parameter num_states\. An evaluation fills in vocab_size"):
        evaluate(Plan.from_dict(small_plan(rate="bare/needy")), registry=registry)


def test_a_target_that_fails_when_its_cell_is_run_is_an_error_not_a_combination_to_skip(monkeypatch):
    # As when a file changes after the plan was checked.
    monkeypatch.setattr("ddm_pyro.evaluation.validation.check_buildable", lambda *_: None)
    (row,) = evaluate(Plan.from_dict(small_plan(target={**CHAIN, "length": 0}))).rows
    assert (row["status"], row["stage"], row["error"]) == ("error", "model", "ValueError")
    assert "length=0" in row["reason"]
