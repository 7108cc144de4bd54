"""The same numbers whatever the order, the number of jobs, or an interruption; only what is missing is computed."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.evaluation import Plan, PlanError, Results, evaluate, read_rows
from ddm_pyro.evaluation.rows import ROWS
from ddm_pyro.plugins import default_registry

from .conftest import trained_plan, values

#: Small spaces, so exact laws; one large space, so samples with their randomness; trained and exact models.
MIXED = {
    "samples": 40,
    "metrics": ["core/tv", "core/position-tv", "core/kl"],
    "experiments": [
        {
            "target": {"id": "core/potts-chain", "num_states": 2, "length": 3, "coupling": 1.0},
            "rate": ["core/masked", "core/uniform"],
            "schedule": "core/linear",
            "parameterization": ["core/exact", "core/x0"],
            "network": {"kind": "mlp", "width": 8, "depth": 1},
            "loss": "core/nelbo",
            "train": {"steps": 4, "batch_size": 16},
            "samplers": ["core/ancestral", "core/euler"],
            "steps": [2],
        },
        {
            "target": {"id": "core/potts-chain", "num_states": 3, "length": 16, "coupling": 1.0},
            "rate": "core/masked",
            "schedule": "core/cosine",
            "parameterization": "core/exact",
            "samplers": ["core/ancestral", {"id": "core/first-hitting", "refresh": 4}, "core/gillespie"],
            "steps": [2, 3],
        },
    ],
}


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    return folder, evaluate(Plan.from_dict(MIXED), out=folder)


def reversed_plan() -> Plan:
    table = json.loads(json.dumps(MIXED))
    for one in table["experiments"]:
        for key, value in one.items():
            if isinstance(value, list):
                one[key] = value[::-1]
    return Plan.from_dict({**table, "experiments": table["experiments"][::-1], "metrics": MIXED["metrics"][::-1]})


def by_key(rows):
    return {row["row_key"]: row for row in values(rows)}


def test_the_plan_is_mixed_indeed(mixed):
    rows = mixed[1].rows
    assert {row["kind"] for row in rows} == {"exact", "upper_biased", "lower", None}
    assert {row["status"] for row in rows} == {"ok", "skipped"}
    assert len({row["train_key"] for row in rows}) == 5


def test_order_does_not_matter(mixed, tmp_path):
    again = evaluate(reversed_plan(), out=tmp_path)
    assert [row["row_key"] for row in again.rows] != [row["row_key"] for row in mixed[1].rows]
    assert by_key(again.rows) == by_key(mixed[1].rows)


def test_keeping_nothing_gives_the_same_rows(mixed):
    results = evaluate(Plan.from_dict(MIXED))
    assert results.path is None
    assert by_key(results.rows) == by_key(mixed[1].rows)


def test_two_jobs_and_four_threads_give_the_same_rows(mixed, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        results = evaluate(Plan.from_dict(MIXED), out=tmp_path, jobs=2)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    assert values(results.rows) == values(mixed[1].rows)


@pytest.mark.parametrize("after", [1, 4, 9])
def test_an_interruption_costs_nothing_but_time(mixed, tmp_path, after):
    plan, seen = Plan.from_dict(MIXED), []

    def interrupt(event):
        seen.append(event)
        if sum(bool(one.rows) for one in seen) == after:
            raise Stop

    with pytest.raises(Stop):
        evaluate(plan, out=tmp_path, progress=interrupt)
    kept = read_rows(tmp_path)
    assert 0 < len(kept) < len(mixed[1].rows)
    assert not Results.load(tmp_path).meta["complete"]
    # A line that was being written when the machine went down.
    with (tmp_path / ROWS).open("a") as stream:
        stream.write('{"row_key": "torn')
    events = []
    results = evaluate(plan, out=tmp_path, progress=events.append)
    assert values(results.rows) == values(mixed[1].rows)
    computed = {row["row_key"] for event in events for row in event.rows}
    assert computed.isdisjoint(row["row_key"] for row in kept)
    assert Results.load(tmp_path).rows == results.rows


def test_training_goes_on_where_it_stopped(tmp_path, trained):
    plan = trained(train={"steps": 6, "batch_size": 8})
    whole = evaluate(plan, out=tmp_path / "whole")

    def interrupt(event):
        if event.stage == "train" and event.part >= 0.5:
            raise Stop

    with pytest.raises(Stop):
        evaluate(plan, out=tmp_path / "cut", progress=interrupt)
    assert list((tmp_path / "cut/models").glob("*.partial"))
    parts = []
    cut = evaluate(plan, out=tmp_path / "cut", progress=lambda event: parts.append(event.part))
    assert min(part for part in parts if part) > 0.5
    assert values(cut.rows) == values(whole.rows)
    assert [path.suffix for path in (tmp_path / "cut/models").iterdir()] == [".safetensors"]


def test_a_damaged_checkpoint_is_trained_anew(tmp_path, trained):
    first = evaluate(trained(), out=tmp_path)
    (model,) = (tmp_path / "models").iterdir()
    model.rename(model.with_suffix(".partial"))
    model.with_suffix(".partial").write_bytes(b"no checkpoint")
    for file in (*(tmp_path / "samples").iterdir(), tmp_path / ROWS):
        file.unlink()
    assert values(evaluate(trained(), out=tmp_path).rows) == values(first.rows)


def test_a_second_run_computes_nothing(mixed):
    folder, first = mixed
    size, events = (folder / ROWS).stat().st_size, []
    again = evaluate(Plan.from_dict(MIXED), out=folder, progress=events.append)
    assert (events, again.rows) == ([], first.rows)
    assert (folder / ROWS).stat().st_size == size


def test_extending_a_plan_computes_what_is_new(tmp_path, trained):
    small = trained(metrics=["core/tv"])
    evaluate(small, out=tmp_path)
    model = next((tmp_path / "models").iterdir())
    sample = next((tmp_path / "samples").iterdir())
    stamps = model.stat().st_mtime_ns, sample.stat().st_mtime_ns
    events = []
    large = trained(metrics=["core/tv", "core/kl"], steps=[2, 3])
    results = evaluate(large, out=tmp_path, progress=events.append)
    new = [(row["metric"], row["steps"]) for event in events for row in event.rows]
    assert new == [("core/kl", 2), ("core/tv", 3), ("core/kl", 3)]
    assert (model.stat().st_mtime_ns, sample.stat().st_mtime_ns) == stamps
    assert len(results.rows) == 4
    assert values(results.rows) == values(evaluate(large).rows)


def test_force_computes_everything(tmp_path, trained):
    first = evaluate(trained(), out=tmp_path)
    stamp = next((tmp_path / "models").iterdir()).stat().st_mtime_ns
    events = []
    again = evaluate(trained(), out=tmp_path, force=True, progress=events.append)
    assert sum(len(event.rows) for event in events) == 1
    assert next((tmp_path / "models").iterdir()).stat().st_mtime_ns != stamp
    assert values(again.rows) == values(first.rows)


def test_a_damaged_model_or_sample_is_made_again(tmp_path, trained):
    first = evaluate(trained(), out=tmp_path)
    for file in (*(tmp_path / "models").iterdir(), *(tmp_path / "samples").iterdir()):
        file.write_bytes(file.read_bytes()[:-7])
    (tmp_path / ROWS).unlink()
    assert values(evaluate(trained(), out=tmp_path).rows) == values(first.rows)


def keys(**changes):
    (row,) = evaluate(Plan.from_dict(trained_plan(**changes))).rows
    return row["train_key"], row["sample_key"], row["row_key"]


def test_keys_depend_on_inputs_stage_by_stage():
    base = keys()
    assert keys(name="other") == base
    depth = {}
    for what, changes in {
        "metric": {"metrics": [{"id": "core/position-tv", "reduce": "max"}]},
        "confidence": {"confidence": 0.9},
        "samples": {"samples": 60},
        "steps": {"steps": [3]},
        "sampler": {"samplers": ["core/euler"]},
        "train": {"train": {"steps": 6, "batch_size": 16}},
        "network": {"network": {"kind": "mlp", "width": 9, "depth": 1}},
        "seed": {"seed": 1},
        "schedule": {"schedule": "core/cosine"},
    }.items():
        depth[what] = sum(a == b for a, b in zip(keys(**changes), base, strict=True))
    # How many of (train, sample, row) keys stay.
    assert depth == {
        "metric": 2,
        "confidence": 2,
        "samples": 1,
        "steps": 1,
        "sampler": 1,
        "train": 0,
        "network": 0,
        "seed": 0,
        "schedule": 0,
    }


def test_repetitions_differ_in_seed_only(trained):
    rows = evaluate(trained(repetitions=2, metrics=["core/tv", "core/duplicates"])).rows
    assert [row["repetition"] for row in rows] == [0, 0, 1, 1]
    assert rows[0]["value"] != rows[2]["value"]
    assert len({row["row_key"] for row in rows}) == 4


VERSIONED = """
from ddm_pyro.plugins import SamplerSpec, hookimpl

@hookimpl
def register_samplers(register):
    register(SamplerSpec("twin", factory="ddm_pyro.samplers:Ancestral", version={version}))
"""


def test_a_new_version_recomputes_exactly_its_cells(install, plan, tmp_path):
    both = plan(samplers=["core/ancestral", "twin/twin"], metrics=["core/tv", "core/kl"])
    first = evaluate(both, out=tmp_path / "run", registry=install(VERSIONED.format(version=1), "twin"))
    assert [row["sampler_version"] for row in first.rows] == [1, 1, 1, 1]
    assert first.rows[2]["sampler_dist"] == "ddm-pyro-twin 0.9"

    del sys.modules["ddm_twin_plugin"]
    events = []
    registry = install(VERSIONED.format(version=2), "twin")
    second = evaluate(both, out=tmp_path / "run", registry=registry, progress=events.append)
    assert [(row["sampler"], row["metric"]) for event in events for row in event.rows] == [
        ("twin/twin", "core/tv"),
        ("twin/twin", "core/kl"),
    ]
    assert second.rows[:2] == first.rows[:2]
    # The seed knows the component, not its version: the same algorithm gives the same numbers.
    assert [row["value"] for row in second.rows] == [row["value"] for row in first.rows]


def test_labels_are_no_part_of_a_key(plan, tmp_path):
    evaluate(plan(), out=tmp_path)
    events = []
    one = plan()
    renamed = replace(one, experiments=(replace(one.experiments[0], name="chains"),))
    results = evaluate(renamed, out=tmp_path, progress=events.append)
    assert (events, results.rows[0]["experiment"]) == ([], "chains")


def test_equal_cells_of_two_experiments_run_once(plan):
    one = plan(metrics=["core/tv"])
    two = replace(one, experiments=(*one.experiments, *plan(metrics=["core/kl", "core/tv"]).experiments))
    events = []
    results = evaluate(two, progress=events.append)
    assert [row["metric"] for row in results.rows] == ["core/tv", "core/kl"]
    assert sum(bool(event.rows) for event in events) == 1


@pytest.mark.parametrize("jobs", [0, 1.5, True, "2"])
def test_a_bad_number_of_jobs(plan, jobs):
    with pytest.raises(PlanError, match=f"jobs = {jobs!r} must be"):
        evaluate(plan(), jobs=jobs)


def test_the_global_generator_is_left_as_found(trained):
    state = torch.random.get_rng_state()
    evaluate(trained(metrics=["core/tv", "core/kl"]))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_meta_and_results(mixed):
    folder, results = mixed
    meta = results.meta
    assert meta["plan"] == Plan.from_dict(MIXED).to_dict() == json.loads((folder / "plan.json").read_text())
    assert meta["row_keys"] == [row["row_key"] for row in results.rows]
    assert meta["complete"]
    assert meta["environment"]["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert meta["plugins"][0]["name"] == "core"
    assert results.counts == meta["counts"]
    assert results.failures == []
    tv = results.where(metric="core/tv", sampler="core/gillespie")
    assert [row["steps"] for row in tv] == [2, 3]
    assert default_registry().resolve("metrics", "tv") == "core/tv"


@pytest.mark.slow
def test_matrix_products_are_the_same_in_a_worker(plan):
    # Large enough for the BLAS of NumPy to share a product among threads, here but not in a worker.
    chain = {"id": "core/potts-chain", "num_states": 3, "length": 20, "coupling": 1.0}
    large = plan(target=chain, samples=600, metrics=[{"id": "core/mmd-hamming", "bandwidth": 8.0}])
    assert values(evaluate(large).rows) == values(evaluate(large, jobs=2).rows)


def test_the_models_of_a_run_are_what_the_library_loads(trained, tmp_path):
    (row,) = evaluate(trained(), out=tmp_path).rows
    model = ddm.load(tmp_path / "models" / f"{row['train_key']}.safetensors")
    assert model.meta["target"]["id"] == "core/potts-chain"
    assert len(model.meta["losses"]) == 5
    law = ddm.push(ddm.samplers.Ancestral(), model, steps=row["steps"])
    target = ddm.targets.PottsChain(num_states=2, length=3, coupling=1.0)
    assert ddm.metrics.TotalVariation()(law, target).value == pytest.approx(row["value"], abs=1e-12)
