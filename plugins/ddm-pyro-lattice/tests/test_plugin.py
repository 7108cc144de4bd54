"""The plugin through the door: ids, a light hook module, and plans run by the default machinery."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ddm_pyro as ddm
from ddm_pyro.report import HtmlReport, load_run

HERE = Path(__file__).parents[1]


def run(registry, out=None, **experiment):
    plan = {"name": "lattice", "samples": 200, "experiments": [experiment]}
    return ddm.evaluate(ddm.Plan.from_dict(plan), registry=registry, out=out).rows


def test_the_ids(registry):
    kinds = "rates", "parameterizations", "samplers", "targets", "metrics", "bounds"
    assert {kind: [one for one in registry.ids(kind) if one.startswith("lattice/")] for kind in kinds} == {
        "rates": ["lattice/cyclic-walk", "lattice/immigration-death"],
        "parameterizations": ["lattice/exact-poisson-score", "lattice/score"],
        "samplers": ["lattice/leap"],
        "targets": [
            "lattice/boxed-poisson-mixture",
            "lattice/digit-counts",
            "lattice/poisson-mixture",
            "lattice/two-modes",
        ],
        "metrics": ["lattice/w1"],
        "bounds": ["lattice/path-kl"],
    }
    assert repr(registry.create("rates", "cyclic-walk", vocab_size=5)) == "CyclicWalk(5, rate=1)"


def test_the_hook_module_is_light():
    code = "import sys, ddm_pyro_lattice.plugin; print([m for m in ('torch', 'scipy', 'pyro') if m in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": f"{HERE}:{HERE.parents[1]}"}, capture_output=True, text=True
    )
    assert out.stdout.strip() == "[]", out.stderr


def test_a_torus_is_evaluated_exactly_with_its_certificate(registry):
    rows = run(
        registry,
        target={"id": "lattice/two-modes", "size": 6},
        rate="lattice/cyclic-walk",
        schedule={"id": "core/constant", "total": 12.0},
        parameterization="core/exact",
        samplers=["lattice/leap", "core/gillespie"],
        steps=[16, 64],
        metrics=["core/tv", {"id": "lattice/w1", "cyclic": True}],
        bounds=["lattice/path-kl"],
    )
    assert [(row["status"], row["kind"]) for row in rows] == [("ok", "exact")] * 8
    leaps = [row for row in rows if row["sampler"] == "lattice/leap"]
    assert all(row["holds"] and row["bound_id"] == "lattice/path-kl" for row in leaps)
    assert all(row["bounds"][0]["status"] == "skipped" for row in rows if row["sampler"] == "core/gillespie")


def test_counts_are_evaluated_on_the_natural_numbers(registry):
    rows = run(
        registry,
        target={"id": "lattice/poisson-mixture", "weights": [0.5, 0.5], "means": [[1.0, 6.0], [7.0, 2.0]]},
        rate={"id": "lattice/immigration-death", "birth": 4.0},
        schedule={"id": "core/constant", "total": 6.0},
        parameterization="lattice/exact-poisson-score",
        samplers=["lattice/leap", "core/gillespie"],
        steps=[24],
        metrics=["lattice/w1"],
    )
    assert [row["status"] for row in rows] == ["ok", "ok"], [row["reason"] for row in rows]
    assert all(0.0 < row["value"] < 4.0 for row in rows)


def test_a_boxed_mixture_is_evaluated_exactly(registry):
    (row,) = run(
        registry,
        target={"id": "lattice/boxed-poisson-mixture", "weights": [0.5, 0.5], "means": [1.0, 6.0], "maximum": 30},
        rate={"id": "lattice/immigration-death", "birth": 4.0},
        schedule={"id": "core/constant", "total": 6.0},
        parameterization="core/exact",
        samplers=["core/gillespie"],
        steps=[64],
        metrics=["lattice/w1"],
    )
    assert (row["status"], row["kind"]) == ("ok", "exact"), row["reason"]
    assert 0.0 < row["value"] < 0.5


def test_real_counts_are_learned_evaluated_and_reported(registry, tmp_path):
    rows = run(
        registry,
        target="lattice/digit-counts",
        rate={"id": "lattice/immigration-death", "birth": 4.0},
        schedule={"id": "core/constant", "total": 4.0},
        parameterization="lattice/score",
        network={"kind": "mlp", "width": 32, "depth": 1},
        loss="core/score-entropy",
        train={"steps": 20, "batch_size": 32},
        samplers=["lattice/leap", "core/tau-leaping"],
        steps=[8],
        metrics=["lattice/w1"],
        out=tmp_path,
    )
    assert [row["status"] for row in rows] == ["ok", "ok"], [row["reason"] for row in rows]
    assert all(row["value"] > row["floor"] > 0.0 for row in rows)
    (page,) = HtmlReport()(load_run(tmp_path), tmp_path)
    # The real images and those of both samplers.
    assert page.read_text(encoding="utf-8").count("images of 8 by 8 pixels") == 3
