"""``evaluate --target my.csv``, ``train my.csv`` and ``sample``: a user's own file is one argument."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ddm_pyro.cli import main

TINY = ("--network", "mlp{width=8, depth=1}", "--batch-size", "8", "--steps", "2")
ROWS = "".join(f"{'xyz'[k % 3]},{k % 5},{'a, b' if k % 2 else 'c'}\n" for k in range(40)).replace("a, b", '"a, b"')


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.csv").write_text("kind,size,note\n" + ROWS)
    return tmp_path


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan of ``--target`` with hardly any training."""
    from ddm_pyro.evaluation import Plan

    whole = Plan.for_target.__func__

    def hasty(cls, target, length, name):
        table = whole(cls, target, length, name).to_dict()
        for one in table["experiments"]:
            one.update(train={"steps": 2, "batch_size": 8}, samples=20, metrics=["core/position-tv"])
        return Plan.from_dict(table)

    monkeypatch.setattr(Plan, "for_target", classmethod(hasty))


def test_a_table_is_evaluated_with_an_alphabet_a_column(folder: Path, short: None) -> None:
    result = invoke("evaluate", "--target", "my.csv", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["plan"] == "my"
    rows = [json.loads(line) for line in (folder / told["rows"]).read_text().splitlines()]
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["steps"] for row in rows} == {2, 3}  # budgets are cut to the length
    assert {row["target_params"]["path"] for row in rows} == {"my.csv"}


def test_rows_follow_the_content_of_the_file(folder: Path, short: None) -> None:
    told = json.loads(invoke("evaluate", "--target", "my.csv", "--json").stdout)
    log = folder / told["rows"]
    first = log.read_text().splitlines()
    assert json.loads(invoke("evaluate", "--target", "my.csv", "--json").stdout)["rows"] == told["rows"]
    assert log.read_text().splitlines() == first
    (folder / "my.csv").write_text("kind,size,note\n" + ROWS.replace("x", "w"))
    again = invoke("evaluate", "--target", "my.csv", "--json")
    assert again.exit_code == 0, again.stderr
    keys = [json.loads(line)["row_key"] for line in log.read_text().splitlines()]
    assert len(set(keys)) == 2 * len(first)


def test_samples_are_written_as_the_file_had_them(folder: Path) -> None:
    trained = invoke("train", "my.csv", "--out", "m.ckpt", *TINY)
    assert trained.exit_code == 0, trained.stderr
    (folder / "my.csv").unlink()  # the model knows how to write its rows
    lines = invoke("sample", "m.ckpt", "-n", 30, "--steps", 2).stdout.splitlines()
    assert len(lines) == 30
    for line in lines:
        kind, size, note = line.split(",", 2)
        assert kind in "xyz"
        assert size in "01234"
        assert note in ("c", '"a, b"')


def test_texts_and_uniform_noise(folder: Path) -> None:
    (folder / "song.txt").write_text("ab\ncab" * 30)
    text = invoke("train", "song.txt{window=5}", "--out", "t.ckpt", "--rate", "uniform", *TINY)
    assert text.exit_code == 0, text.stderr
    lines = invoke("sample", "t.ckpt", "-n", 9, "--steps", 2).stdout.splitlines()
    assert [len(line.replace("\\n", "n")) for line in lines] == [5] * 9
    table = invoke("train", "my.csv", "--out", "m.ckpt", "--rate", "uniform", "--schedule", "log-linear", *TINY)
    assert table.exit_code == 0, table.stderr


def test_dropped_rows_are_told(folder: Path) -> None:
    (folder / "holes.csv").write_text("kind,size,note\n" + ROWS + "x,,c\ny,?,c\n")
    told = invoke("train", 'holes.csv{missing="drop"}', "--out", "m.ckpt", *TINY)
    assert told.exit_code == 0, told.stderr
    assert "2 rows with missing values left out" in told.stderr


@pytest.mark.parametrize("command", [("evaluate", "--target"), ("train", "--out", "m.ckpt")])
@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("absent.csv", "'absent.csv' cannot be read: No such file"),
        ("holes.csv", "line 3 has an empty cell in column 'b'"),
        ("ragged.csv", "line 3 has 1 cells"),
        ("my.csv{bin=3}", "Did you mean 'bins'?"),
        ('my.csv{missing="mean"}', "missing='mean'"),
        ("core/digts", "Did you mean 'core/digits'?"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(folder: Path, command: tuple[str, ...], source: str, says: str) -> None:
    (folder / "holes.csv").write_text("a,b\n1,2\n3,\n")
    (folder / "ragged.csv").write_text("a,b\n1,2\n3\n")
    result = invoke(*command, source)
    assert result.exit_code in (1, 2)
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (folder / "runs").exists()


def test_a_plan_and_a_target_are_too_much(folder: Path) -> None:
    result = invoke("evaluate", "plan.toml", "--target", "my.csv")
    assert result.exit_code == 2
    assert "not both" in result.stderr


def test_how_a_file_was_read_is_told_once_with_what_may_have_been_meant_otherwise(folder: Path) -> None:
    (folder / "odd.csv").write_text("kind,size\n" + "x,1\ny,none\nx,2\n" * 8)
    told = invoke("evaluate", "--target", "odd.csv{columns=[1, 'size']}")
    assert (told.exit_code, told.stdout) == (2, "")  # the column twice
    told = invoke("train", "odd.csv", "--out", "m.ckpt", *TINY)
    assert told.exit_code == 0, told.stderr
    lines = told.stderr.splitlines()
    assert lines[0] == (
        "odd.csv: 24 rows, 5 of them held out; the first line is a header; kind: 2 categories, size: 3 categories."
    )
    assert lines[1].startswith("Note: 'odd.csv': column 'size' holds numbers and others, such as 'none'")
    assert lines[2].startswith("Note: 'odd.csv': column 'size' holds 'none', a category; if it stands for a missing")
    assert len(lines) == 4
