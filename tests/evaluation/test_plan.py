from __future__ import annotations

import datetime

import pytest

from ddm_pyro.evaluation import Experiment, Plan, PlanError, Ref, check_plan
from ddm_pyro.plugins import default_registry

from .conftest import small_plan, trained_plan

PLAN = """
name = "one"
seed = 3
samples = 10
confidence = 0.9
timeout = 5
disable = ["nobody"]
metrics = ["core/tv", { id = "core/mmd-hamming", bandwidth = 4.0 }]

[[experiments]]
name = "chains"
target = [{ id = "core/potts-chain", num_states = 2, length = 3, coupling = 1.0 }, "core/digits"]
rate = "core/masked"
schedule = "core/linear"
parameterization = "core/exact"
samplers = ["core/ancestral", ["core/euler", "core/gibbs-corrector"], { id = "core/k-unmask", sizes = [2, 1] }]
steps = [2, 4]
"""


def test_a_file_is_read(tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN)
    plan = Plan.load(tmp_path / "plan.toml")
    assert (plan.name, plan.seed, plan.confidence, plan.timeout, plan.disable) == ("one", 3, 0.9, 5.0, ("nobody",))
    (one,) = plan.experiments
    assert (one.name, one.samples, one.steps) == ("chains", 10, (2, 4))
    assert [ref.id for ref in one.targets] == ["core/potts-chain", "core/digits"]
    assert one.targets[0].params == {"num_states": 2, "length": 3, "coupling": 1.0}
    assert one.metrics == (Ref("core/tv"), Ref("core/mmd-hamming", {"bandwidth": 4.0}))
    assert [[ref.id for ref in sampler] for sampler in one.samplers] == [
        ["core/ancestral"],
        ["core/euler", "core/gibbs-corrector"],
        ["core/k-unmask"],
    ]
    assert Plan.from_dict(plan.to_dict()) == plan
    check_plan(plan, default_registry())


def test_defaults_of_the_plan_are_overridden_by_an_experiment():
    table = small_plan(samples=7)
    table["metrics"] = ["core/kl"]
    del table["experiments"][0]["metrics"]
    table["experiments"].append({**table["experiments"][0], "metrics": ["core/tv"], "samples": 9})
    first, second = Plan.from_dict(table).experiments
    assert [(one.samples, one.metrics) for one in (first, second)] == [(7, (Ref("core/kl"),)), (9, (Ref("core/tv"),))]


def test_the_built_in_plan_is_valid_and_has_every_core_metric():
    plan = Plan.default()
    check_plan(plan, default_registry())
    used = {ref.id for one in plan.experiments for ref in one.metrics}
    assert used == set(default_registry().ids("metrics"))


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [
        ({"smaples": 3}, ["experiments[0] has no key 'smaples'", "Did you mean 'samples'"]),
        ({"samples": 0}, ["samples = 0 must be a whole number of at least 1"]),
        ({"samples": True}, ["samples = True"]),
        ({"seed": -1}, ["seed = -1"]),
        ({"confidence": 1.0}, ["confidence = 1.0", "below 1"]),
        ({"timeout": 0}, ["timeout = 0", "above 0"]),
        ({"repetitions": 0}, ["repetitions = 0"]),
        ({"disable": [3]}, ["disable = 3 must be a string"]),
        ({"steps": [4, 0]}, ["steps = 0"]),
        ({"samplers": []}, ["samplers is an empty list"]),
        ({"target": None}, ["experiments[0] needs the key 'target'"]),
        ({"metrics": None}, ["experiments[0] needs the key 'metrics'"]),
        ({"rate": 3}, ["rate = 3 must be an id"]),
        ({"rate": {"vocab_size": 3}}, ["names no component", "id ="]),
        ({"rate": {"id": "core/masked", "vocab_size": datetime.date(2026, 1, 1)}}, ["must be a finite number"]),
        ({"schedule": {"id": "core/log-linear", "eps": float("nan")}}, ["eps = nan must be a finite number"]),
        ({"network": "mlp"}, ["network = 'mlp' must be a table"]),
    ],
)
def test_a_bad_value_is_one_sentence(changes, pieces):
    with pytest.raises(PlanError) as caught:
        Plan.from_dict(small_plan(**changes))
    for piece in pieces:
        assert piece in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "piece"),
    [
        ({}, "no experiments"),
        ({"experiments": []}, "no experiments"),
        ({"experiments": [3]}, "experiments[0] = 3 must be a table"),
        ({"experimnts": []}, "no key 'experimnts'. Did you mean 'experiments'?"),
        ([], "A plan is a table"),
    ],
)
def test_a_bad_table_is_one_sentence(table, piece):
    with pytest.raises(PlanError) as caught:
        Plan.from_dict(table)
    assert piece in str(caught.value)


def test_unreadable_files(tmp_path):
    with pytest.raises(PlanError, match=r"nowhere.toml' cannot be read: No such file"):
        Plan.load(tmp_path / "nowhere.toml")
    with pytest.raises(PlanError, match="cannot be read"):
        Plan.load(tmp_path)
    (tmp_path / "bad.toml").write_text("steps = [1,")
    with pytest.raises(PlanError, match=r"bad.toml' is no TOML file"):
        Plan.load(tmp_path / "bad.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match="is no TOML file"):
        Plan.load(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    ("table", "pieces"),
    [
        (small_plan(samplers=["core/eulr"]), ["samplers: Unknown sampler 'core/eulr'", "Did you mean 'core/euler'?"]),
        (small_plan(target="core/digitz"), ["target: Unknown target 'core/digitz'", "Did you mean 'core/digits'?"]),
        (small_plan(metrics=["core/euler"]), ["It is a sampler"]),
        (
            small_plan(schedule={"id": "core/log-linear", "epss": 0.1}),
            ["no parameter 'epss'", "Did you mean 'eps'?"],
        ),
        (small_plan(samplers=["core/k-unmask"]), ["sampler 'core/k-unmask' needs the parameter sizes"]),
        (small_plan(target="core/potts-chain"), ["needs the parameters num_states, length, coupling"]),
        (small_plan(rate="core/dense"), ["needs the parameter"]),
        (small_plan(bounds=["core/nothing"]), ["bounds: Unknown bound 'core/nothing'"]),
        (small_plan(steps=None), ["steps is missing", "'core/ancestral' needs it"]),
        (small_plan(parameterization="core/mask-predictor"), ["is trained, but there is no loss"]),
        (trained_plan(network=None), ["'core/mask-predictor' needs a network"]),
        (trained_plan(network={"width": 8}), ["network has no kind"]),
        (trained_plan(network={"kind": "mpl"}), ["'mpl' is unknown", "Did you mean 'mlp'?"]),
        (trained_plan(network={"kind": "mlp", "widht": 8}), ["no key 'widht'. Did you mean 'width'?"]),
        (trained_plan(network={"kind": "mlp", "length": 8}), ["no key 'length'"]),
        (trained_plan(train={"stepz": 8}), ["train has no key 'stepz'. Did you mean 'steps'?"]),
        (trained_plan(train={"steps": 3, "seed": 8}), ["train has no key 'seed'"]),
        (trained_plan(train={"lr": 0.1}), ["train has no steps"]),
        (trained_plan(loss="core/nelb"), ["Did you mean 'core/nelbo'?"]),
    ],
)
def test_what_does_not_exist_is_refused(table, pieces):
    with pytest.raises(PlanError) as caught:
        check_plan(Plan.from_dict(table), default_registry())
    for piece in pieces:
        assert piece in str(caught.value)


def test_a_sampler_that_fixes_its_steps_needs_no_budget():
    plan = Plan.from_dict(small_plan(steps=None, samplers=["core/first-hitting"]))
    assert check_plan(plan, default_registry()) is None


def test_an_experiment_reads_what_it_writes():
    (one,) = Plan.from_dict(trained_plan(bounds=[], name="n")).experiments
    assert Experiment.read(one.plain, "here", {}) == one
