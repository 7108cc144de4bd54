from __future__ import annotations

import json
import math

import pytest

from ddm_pyro.evaluation import ROW_FIELDS, PlanError, RowsError, evaluate, read_rows
from ddm_pyro.evaluation.rows import ROWS, RowLog, decode, encode

CONTRACT = (
    "row_key sample_key train_key schema_version target rate schedule parameterization loss sampler steps nfe calls "
    "metric value kind lcb ucb stderr null_mean method n floor bound bound_terms hypotheses holds ratio status stage "
    "reason seconds seed repetition target_params sampler_version metric_dist"
)


def test_infinities_travel_as_words_and_json_stays_strict():
    row = {"row_key": "k", "value": math.inf, "lcb": -math.inf, "ucb": math.nan, "extra": {"a": math.inf}, "n": 3}
    line = encode(row)
    json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not strict JSON"))
    back = decode(line)
    assert math.isnan(back.pop("ucb"))
    assert back == {key: value for key, value in row.items() if key != "ucb"}


def test_words_stay_words_where_no_number_is_meant():
    assert decode('{"reason": "nan", "target": "inf"}') == {"reason": "nan", "target": "inf"}
    with pytest.raises(ValueError, match="no number"):
        decode('{"value": NaN}')
    with pytest.raises(ValueError, match="no number"):
        decode('{"value": "big"}')


def test_the_last_of_each_key_counts_in_the_order_of_first_mention(tmp_path):
    with RowLog(tmp_path / ROWS) as log:
        log.append([{"row_key": "a", "value": 1.0}, {"row_key": "b", "value": 2.0}])
        log.append([{"row_key": "a", "value": 3.0}])
    assert [(row["row_key"], row["value"]) for row in read_rows(tmp_path)] == [("a", 3.0), ("b", 2.0)]


def test_a_torn_last_line_is_ignored_then_cut_off(tmp_path):
    file = tmp_path / ROWS
    file.write_text('{"row_key": "a"}\n{"row_key": "b", "val')
    assert [row["row_key"] for row in read_rows(file)] == ["a"]
    with RowLog(file) as log:
        log.append([{"row_key": "c"}])
    assert file.read_text() == '{"row_key": "a"}\n{"row_key": "c"}\n'


@pytest.mark.parametrize("line", ['{"row_key": "b", "val', "[]", '{"value": 1.0}', '{"row_key": "a", "value": NaN}'])
def test_a_corrupt_line_is_named(tmp_path, plan, line):
    file = tmp_path / ROWS
    file.write_text(f'{{"row_key": "a"}}\n{line}\n{{"row_key": "c"}}\n')
    with pytest.raises(RowsError, match=rf"{ROWS}:2 "):
        read_rows(tmp_path)
    with pytest.raises(RowsError, match=rf"{ROWS}:2 "):
        evaluate(plan(), out=tmp_path)
    assert file.read_text().count("\n") == 3


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / ROWS).write_bytes(b"\xff\xff\n")
    with pytest.raises(RowsError, match=f"{ROWS}:1 "):
        read_rows(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(RowsError, match="cannot be read"):
        read_rows(tmp_path)


def test_one_writer_at_a_time(tmp_path):
    pytest.importorskip("fcntl")
    with RowLog(tmp_path / ROWS), pytest.raises(RowsError, match="Another evaluation is writing"):
        RowLog(tmp_path / ROWS)


def test_a_file_in_place_of_the_directory(tmp_path, plan):
    (tmp_path / "run").write_text("")
    with pytest.raises(PlanError, match="run' cannot be made"):
        evaluate(plan(), out=tmp_path / "run")


def test_every_row_has_every_key_and_lines_are_strict(tmp_path, plan):
    results = evaluate(
        plan(rate=["core/masked", "core/uniform"], samplers=["core/euler", "core/first-hitting"], metrics=["core/kl"]),
        out=tmp_path,
    )
    assert results.counts == {"ok": 2, "skipped": 2}
    assert set(CONTRACT.split()) <= set(ROW_FIELDS)
    for row in results.rows:
        assert list(row) == list(ROW_FIELDS)
    for line in (tmp_path / ROWS).read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(word))
    assert results.rows == read_rows(tmp_path)
