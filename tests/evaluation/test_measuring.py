"""What a row says: laws, evaluations of the network, floors, refusals, bounds."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.evaluation import Plan, evaluate
from ddm_pyro.evaluation.artifacts import read_json, read_tensors

from .conftest import CHAIN, small_plan

LONG = {"id": "core/potts-chain", "num_states": 3, "length": 16, "coupling": 1.0}


def test_an_exact_cell_is_the_push(plan):
    (row,) = evaluate(plan(steps=[3], target=CHAIN)).rows
    target = ddm.targets.PottsChain(num_states=2, length=3, coupling=1.0)
    forward = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), length=3)
    law = ddm.push(ddm.samplers.Ancestral(), target.denoiser(forward), steps=3).pmf
    assert row["value"] == pytest.approx(0.5 * float((law - target.tabular().pmf).abs().sum()), abs=1e-14)
    assert (row["kind"], row["n"], row["floor"], row["lcb"]) == ("exact", None, 0.0, row["value"])
    assert row["method"].startswith("exact law")


def test_a_trained_model_on_a_small_space_is_pushed_too(trained):
    rows = evaluate(trained(metrics=["core/tv", "core/nll"])).rows
    assert [row["kind"] for row in rows] == ["exact", "exact"]
    # The floor of a metric that is no distance is its value at the target: here the entropy.
    entropy = float(ddm.targets.PottsChain(num_states=2, length=3, coupling=1.0).entropy())
    assert rows[1]["floor"] == pytest.approx(entropy, abs=1e-12)
    assert rows[1]["value"] > entropy
    assert all(row["train_seconds"] > 0 for row in rows)


@pytest.mark.parametrize(
    ("sampler", "steps", "nfe", "calls"),
    [
        # 16 masks, one network row a hit, or one a block of four.
        ("core/first-hitting", 16, 16.0, 16.0),
        ({"id": "core/first-hitting", "refresh": 4}, 4, 4.0, 4.0),
        ({"id": "core/k-unmask", "sizes": [8, 4, 4]}, 3, 3.0, 3.0),
        ({"id": "core/k-unmask", "sizes": "balanced"}, 5, 5.0, 5.0),
        # Steps that reveal nothing cost nothing: 5 steps reveal 16 masks in E[occupied steps] = 5 (1 - (4/5)^16).
        ("core/ancestral", 5, 5 * (1 - 0.8**16), 5.0),
    ],
)
def test_network_evaluations_are_counted(plan, sampler, steps, nfe, calls):
    n = 1024
    (row,) = evaluate(plan(target=LONG, samplers=[sampler], steps=[5], samples=n, metrics=["core/duplicates"])).rows
    assert (row["steps"], row["calls"]) == (steps, calls)
    assert row["nfe"] == pytest.approx(nfe, abs=0.0 if nfe == int(nfe) else 5 * 0.4 / math.sqrt(n))


def test_uniform_samplers_run_the_network_every_step(plan):
    rows = evaluate(plan(rate="core/uniform", schedule="core/log-linear", samplers=["core/ancestral", "core/euler"]))
    assert [(row["nfe"], row["calls"]) for row in rows.rows] == [(2.0, 2.0), (2.0, 2.0)]


def test_large_spaces_are_sampled_and_samples_are_kept(plan, tmp_path):
    (row,) = evaluate(plan(target=LONG, samples=300, metrics=["core/position-tv"]), out=tmp_path).rows
    assert (row["n"], row["kind"]) == (300, "upper_biased")
    assert row["lcb"] <= row["value"] <= row["ucb"]
    assert row["method"].startswith("300 samples")
    tensors, facts = read_tensors(tmp_path / "samples" / f"{row['sample_key']}.safetensors")
    assert tensors["samples"].shape == (300, 16)
    assert facts["nfe"] == row["nfe"]


def test_the_floor_of_duplicates_is_of_as_many_rows_as_the_value(plan, tmp_path):
    # A law on 8 states known exactly: of n draws at least n - 8 repeat an earlier one. Both plans share a directory.
    few, many = (evaluate(plan(samples=n, metrics=["core/duplicates"]), out=tmp_path).rows[0] for n in (10, 1000))
    assert few["kind"] == many["kind"] == "unbiased"
    assert few["floor"] <= 0.9
    assert few["value"] <= 0.9
    assert many["floor"] >= 0.992
    assert many["value"] >= 0.992


def test_the_floor_is_the_same_for_every_cell_and_of_the_same_size(plan, tmp_path):
    both = plan(target=LONG, samples=300, samplers=["core/ancestral", "core/first-hitting"], metrics=["core/block-tv"])
    first, second = evaluate(both, out=tmp_path).rows
    assert first["value"] != second["value"]
    assert first["floor"] == second["floor"] > 0.0
    assert len(list((tmp_path / "floors").iterdir())) == 1
    # The noise of 300 rows against the exact law is of the size that a redraw has on average.
    assert 0.3 < first["floor"] / first["null_mean"] < 3.0


def test_every_metric_has_its_floor_from_the_same_reference_rows(plan):
    metrics = [{"id": "core/position-tv", "reduce": how} for how in ("sum", "mean")]
    total, mean = evaluate(plan(target=LONG, samples=200, metrics=metrics)).rows
    assert total["floor"] == pytest.approx(16 * mean["floor"], rel=1e-12)


def test_the_floor_of_a_data_set_is_train_against_test(plan):
    digits = plan(target="core/digits", parameterization="core/x0", network={"kind": "mlp", "width": 4, "depth": 1},
                  loss="core/nelbo", train={"steps": 1}, samples=200, metrics=["core/position-tv"])  # fmt: skip
    (row,) = evaluate(digits).rows
    data = ddm.targets.Digits()
    assert row["status"] == "ok", row["reason"]
    assert 0.0 < row["floor"] < row["value"]
    # Its size: half the mean absolute difference of two empirical pixel laws.
    a, b = (torch.nn.functional.one_hot(x, 17).double().mean(0) for x in (data.train, data.test))
    assert row["floor"] > 0.5 * float((a - b).abs().sum(-1).mean())


def test_the_floor_of_an_exact_law_beside_held_out_rows_is_train_against_test(plan, tmp_path):
    # Five rows are held out: even a sampler of the true law is far from them, and 0 would hide it.
    rows = torch.randint(0, 2, (25, 3), generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "rows.npy", rows.numpy())
    small = plan(target={"id": "core/file", "path": str(tmp_path / "rows.npy")}, parameterization="core/x0",
                 network={"kind": "mlp", "width": 4, "depth": 1}, loss="core/nelbo", train={"steps": 1},
                 metrics=["core/tv", "core/nll"])  # fmt: skip
    total, nll = evaluate(small, out=tmp_path / "run").rows
    data = ddm.targets.File(tmp_path / "rows.npy")
    weights = torch.tensor([4, 2, 1])
    p, q = (torch.bincount(x @ weights, minlength=8) / len(x) for x in (data.train, data.test))
    assert total["method"].startswith("exact law")
    assert total["floor"] == pytest.approx(0.5 * float((p - q).abs().sum()), abs=1e-6)
    assert total["floor"] > 0.1
    cross = -float((q[q > 0] * p[q > 0].log()).sum())
    assert nll["floor"] == (pytest.approx(cross, abs=1e-6) if math.isfinite(cross) else None)
    (kept,) = (read_json(file) for file in (tmp_path / "run" / "positions").iterdir())
    a, b = (x.double().mean(0) for x in (data.train, data.test))
    assert kept["floor"] == pytest.approx((a - b).abs().tolist(), abs=1e-12)


@pytest.mark.parametrize(
    ("changes", "stage", "piece"),
    [
        ({"rate": "core/uniform", "samplers": ["core/first-hitting"]}, "sample", "reveals masks"),
        ({"rate": "core/uniform", "samplers": ["core/euler"]}, "sample", "is infinite at t=1"),
        ({"samplers": [{"id": "core/k-unmask", "sizes": "balanced"}], "steps": [4]}, "sample", "into 4 blocks"),
        ({"samplers": [{"id": "core/k-unmask", "sizes": [1]}]}, "sample", "must sum to 3"),
        ({"target": LONG, "metrics": ["core/nll"]}, "metric", "NLL needs log p exactly"),
        ({"target": "core/digits"}, "model", "has no known density"),
    ],
)
def test_a_combination_that_does_not_exist_is_skipped_with_the_reason(plan, tmp_path, changes, stage, piece):
    (row,) = evaluate(plan(**changes), out=tmp_path).rows
    assert (row["status"], row["stage"]) == ("skipped", stage), row["reason"]
    assert piece in row["reason"]
    assert row["value"] is None
    events = []
    evaluate(plan(**changes), out=tmp_path, progress=events.append)
    assert events == []


def test_a_law_that_cannot_be_pushed_is_sampled_and_says_so(trained):
    # First hitting with a model that depends on time has no plain step.
    (row,) = evaluate(trained(parameterization="core/x0", samplers=["core/first-hitting"], samples=80)).rows
    assert (row["status"], row["n"]) == ("ok", 80)
    assert "exact law is refused" in row["reason"]
    assert "time-free" in row["reason"]


def test_a_predictor_with_a_corrector(plan):
    pair = ["core/ancestral", ["core/ancestral", "core/gibbs-corrector"]]
    rows = evaluate(plan(rate="core/uniform", schedule="core/log-linear", samplers=pair)).rows
    assert rows[1]["sampler"] == "core/ancestral+core/gibbs-corrector"
    assert rows[1]["status"] == "ok", rows[1]["reason"]
    assert rows[1]["value"] < rows[0]["value"]


def test_per_position_alphabets_get_a_rate_each(plan):
    target = {"id": "core/product", "probs": [[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]]}
    (row,) = evaluate(plan(target=target, samplers=["core/first-hitting"])).rows
    assert row["status"] == "ok", row["reason"]
    assert row["value"] < 1e-12


def test_a_time_limit_stops_a_cell(monkeypatch):
    from ddm_pyro.metrics import TotalVariation

    def slow(self, p, q, **options):
        time.sleep(5)

    monkeypatch.setattr(TotalVariation, "__call__", slow)
    plan = Plan.from_dict(small_plan(timeout=0.2, metrics=["core/tv", "core/kl"]))
    start = time.perf_counter()
    tv, kl = evaluate(plan).rows
    assert time.perf_counter() - start < 4
    assert (tv["status"], tv["stage"], tv["error"]) == ("timeout", "metric", "CellTimeout")
    assert "0.2 seconds" in tv["reason"]
    assert kl["status"] == "ok"


def test_a_fault_of_the_core_is_an_error_not_a_refusal(monkeypatch, plan, tmp_path):
    from ddm_pyro.metrics import TotalVariation

    monkeypatch.setattr(TotalVariation, "__call__", lambda self, p, q, **options: {}["missing"])
    (row,) = evaluate(plan(), out=tmp_path).rows
    assert (row["status"], row["error"], row["plugin"]) == ("error", "KeyError", None)
    assert len(row["traceback_hash"]) == 12
    with pytest.raises(RuntimeError, match=r"1 of 1 rows failed.*KeyError"):
        evaluate(plan(), out=tmp_path, allow_errors=False)
    # Retried, and fine once the fault is gone.
    monkeypatch.undo()
    (row,) = evaluate(plan(), out=tmp_path).rows
    assert row["status"] == "ok"
