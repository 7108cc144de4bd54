"""Targets that read a file: their keys follow its content, and a bad one stops a plan before anything runs."""

from __future__ import annotations

import hashlib

import pytest

from ddm_pyro.evaluation import Plan, PlanError, evaluate
from ddm_pyro.evaluation.cells import cells_of
from ddm_pyro.plugins import default_registry


@pytest.fixture
def own(tmp_path):
    (tmp_path / "my.csv").write_text("a,b\n" + "".join(f"{k % 2},{k % 3}\n" for k in range(12)))
    return lambda **settings: Plan.from_dict(
        {
            "experiments": [
                {
                    "target": {"id": "core/file", "path": str(tmp_path / "my.csv"), **settings},
                    "rate": ["core/masked", "core/uniform"],
                    "schedule": "core/log-linear",
                    "parameterization": "core/x0",
                    "loss": "core/nelbo",
                    "network": {"kind": "mlp", "width": 4, "depth": 1},
                    "train": {"steps": 1, "batch_size": 4},
                    "samplers": ["core/ancestral", "core/tau-leaping"],
                    "steps": [2],
                    "metrics": ["core/tv", "core/position-tv"],
                }
            ]
        }
    )


def test_columns_of_different_sizes_are_learned_and_judged(own):
    rows = evaluate(own()).rows
    assert len(rows) == 8
    assert {row["status"] for row in rows} == {"ok"}


def test_keys_follow_the_content(own, tmp_path):
    registry = default_registry()
    first = cells_of(own(), registry)
    assert first[0].line.target.content == hashlib.sha256((tmp_path / "my.csv").read_bytes()).hexdigest()[:32]
    assert [cell.row_keys for cell in cells_of(own(), registry)] == [cell.row_keys for cell in first]
    (tmp_path / "my.csv").write_text("a,b\n0,0\n1,2\n0,1\n")
    changed = cells_of(own(), registry)
    assert not {key for cell in first for key in cell.row_keys} & {key for cell in changed for key in cell.row_keys}
    assert first[0].line.train_key != changed[0].line.train_key


@pytest.mark.parametrize(
    ("text", "settings", "says"),
    [
        (None, {}, "cannot be read: No such file"),
        ("a,b\n1,2\n3\n", {}, "experiments\\[0\\]: target: .*line 3 has 1 cells"),
        ("a,b\n1,2\n3,NA\n", {}, "line 3 has 'NA' in column 'b'"),
        ("a,b\n1,2\n3,4\n", {"header": 3}, "header=3"),
        ("a,b\n1,2\n3,4\n", {"path": 3}, "path"),
    ],
)
def test_a_bad_file_stops_the_plan(own, tmp_path, text, settings, says):
    (tmp_path / "my.csv").unlink()
    if text is not None:
        (tmp_path / "my.csv").write_text(text)
    with pytest.raises(PlanError, match=says):
        evaluate(own(**settings))
