"""How rows become groups, lines, tables and labels."""

from __future__ import annotations

import pytest
from report_rows import row

from ddm_pyro.report.labels import Labels
from ddm_pyro.report.numbers import show
from ddm_pyro.report.palette import styles
from ddm_pyro.report.problems import counts, problems_of, violations_of
from ddm_pyro.report.run import latest
from ddm_pyro.report.series import groups_of, lines_of
from ddm_pyro.report.tables import MORE, NEITHER, describe_point, value_table


def table(rows: list[dict[str, object]], **directions: int) -> dict[str, list[str]]:
    """Metric -> samplers in bold."""
    values = value_table(groups_of(rows)[0], directions)
    return {metric: [values.entries[k].sampler for k in sorted(found)] for metric, found in values.best.items()}


def test_rows_that_differ_in_any_shared_part_are_of_different_groups() -> None:
    parts = {
        "target": "core/text",
        "target_params": {"num_states": 2},
        "rate": "core/uniform",
        "schedule": "core/cosine",
        "parameterization": "core/score",
        "loss": "core/nelbo",
        "network": {"kind": "mlp"},
        "train": {"steps": 5},
    }
    rows = [row(), *(row(**{key: value}) for key, value in parts.items())]
    groups = groups_of(rows)
    assert len(groups) == len(rows)
    assert groups_of([row(), row(steps=2), row(metric="core/kl"), row(sampler="core/euler"), row(seed=1)])[1:] == ()


def test_titles_tell_groups_apart() -> None:
    rows = [row(network={"kind": "mlp", "width": width}, rate=rate) for width in (8, 16) for rate in ("a/x", "b/x")]
    titles = [group.title for group in groups_of(rows)]
    assert len(set(titles)) == 4
    assert titles[0] == "potts-chain · a/x · linear · exact · kind=mlp, width=8"


def test_parameters_are_named_only_where_components_differ_in_them() -> None:
    rows = [row(metric_params={"statistic": one, "n": 3}) for one in ("mean", "max")]
    assert [Labels(rows)(one, "metric") for one in rows] == ["tv(statistic=mean)", "tv(statistic=max)"]
    assert Labels(rows[:1])(rows[0], "metric") == "tv"
    assert Labels(rows)(rows[0], "target") == "potts-chain"


def test_a_predictor_with_correctors_is_one_sampler() -> None:
    joined = "core/euler+core/gibbs-corrector"
    rows = [row(sampler=joined, sampler_params=[{}, {"sweeps": n}]) for n in (1, 2)]
    assert groups_of(rows)[0].samplers == ("euler + gibbs-corrector(sweeps=1)", "euler + gibbs-corrector(sweeps=2)")


def test_repetitions_are_one_point_with_the_hull_of_their_limits() -> None:
    rows = [
        row(value=v, lcb=v - 0.1, ucb=v + 0.1, kind="unbiased", repetition=k, null_mean=0.01 * k, nfe=8 + k)
        for k, v in enumerate((0.2, 0.4))
    ]
    (line,) = lines_of(groups_of(rows)[0], "tv")
    (point,) = line.points
    assert point.value == pytest.approx(0.3)
    assert (point.lcb, point.ucb) == pytest.approx((0.1, 0.5))
    assert (point.floor, point.nfe, point.repetitions, point.exact) == (0.01, 8.5, 2, False)


def test_points_are_ordered_by_budget_and_lines_by_first_mention() -> None:
    rows = [row(sampler=s, steps=n, nfe=n) for s in ("core/z", "core/a") for n in (64, 2, 16)]
    lines = lines_of(groups_of(rows)[0], "tv")
    assert [(line.sampler, [point.nfe for point in line.points]) for line in lines] == [
        ("z", [2, 16, 64]),
        ("a", [2, 16, 64]),
    ]


def test_floor_of_the_row_comes_before_the_mean_under_equality() -> None:
    (line,) = lines_of(groups_of([row(floor=0.02, null_mean=0.5)])[0], "tv")
    assert line.points[0].floor == 0.02


def test_best_is_the_smallest_with_all_whose_intervals_meet_it() -> None:
    rows = [
        row(sampler=name, kind="unbiased", value=value, lcb=low, ucb=high)
        for name, value, low, high in (("a", 0.1, 0.05, 0.2), ("b", 0.3, 0.2, 0.4), ("c", 0.5, 0.21, 0.6))
    ]
    assert table(rows) == {"tv": ["a", "b"]}


def test_best_of_exact_values_allows_for_rounding_only() -> None:
    rows = [row(sampler=name, value=value) for name, value in (("a", 1e-16), ("b", 3e-14), ("c", 1e-9), ("d", 0.3))]
    assert table(rows) == {"tv": ["a", "b"]}


def test_nothing_is_best_among_equals_or_alone_or_without_a_direction() -> None:
    assert table([row()]) == {"tv": []}
    assert table([row(sampler="a"), row(sampler="b")]) == {"tv": []}
    rows = [row(sampler="a", value=0.1), row(sampler="b", value=0.2)]
    assert table(rows, tv=NEITHER) == {"tv": []}
    assert table(rows, tv=MORE) == {"tv": ["b"]}


def test_values_that_are_no_numbers_are_never_best() -> None:
    rows = [row(sampler=str(k), value=value) for k, value in enumerate((float("nan"), float("-inf"), 0.2, 0.1))]
    assert table(rows) == {"tv": ["3"]}


def test_a_point_says_what_it_rests_on() -> None:
    (line,) = lines_of(groups_of([row(kind="lower", value=0.2, lcb=0.1, ucb=None)])[0], "tv")
    assert describe_point(line.points[0]) == "at least 0.100 · no upper limit"


def test_a_cell_that_was_run_again_counts_once() -> None:
    rows = [row(row_key="k", status="error", value=None), row(row_key="k", value=0.25)]
    assert [one["value"] for one in latest(rows)] == [0.25]


def test_one_cause_is_one_line_gravest_first() -> None:
    rows = [
        *(row(status="skipped", reason="too large", steps=n) for n in (1, 2, 3)),
        row(status="error", reason="boom", stage="sample"),
        row(status="strange"),
        row(reason="Sampled, because the exact law is refused"),
        row(),
    ]
    found = [(one.status, one.reason, one.count) for one in problems_of(rows)]
    assert found == [
        ("strange", "no reason given", 1),
        ("error", "boom", 1),
        ("skipped", "too large", 3),
        ("note", "Sampled, because the exact law is refused", 1),
    ]
    assert counts(rows) == {"strange": 1, "error": 1, "skipped": 3, "ok": 2}


def test_only_false_is_a_violation() -> None:
    assert len(violations_of([row(holds=held) for held in (True, None, False, 0)])) == 1


@pytest.mark.parametrize(
    ("hypotheses", "fails"),
    [
        (None, 1),
        ({}, 1),
        ("verified", 1),
        ({"a": "verified"}, 1),
        ({"a": "verified", "b": "assumed"}, 0),
        ("assumed", 0),
    ],
)
def test_a_bound_that_assumes_something_fails_nothing(hypotheses, fails) -> None:
    assert len(violations_of([row(holds=False, hypotheses=hypotheses)])) == fails


def test_styles_stay_apart_without_color() -> None:
    chosen = styles([str(k) for k in range(28)])
    assert len({(style.marker, style.dashes) for style in chosen.values()}) == 28


def test_every_number_fits_a_column() -> None:
    for value in (10.0**k * sign for k in range(-320, 308, 7) for sign in (1, -1)):
        text = show(value)
        assert len(text) <= 9
        assert float(text) == pytest.approx(value, rel=0.06)


def test_a_lower_limit_by_itself_is_shown_as_one_and_beats_nothing() -> None:
    limits = [
        row(sampler=f"core/{s}", kind="lower", value=v, lcb=v, ucb=float("inf")) for s, v in [("a", 0.0), ("b", 0.3)]
    ]
    values = value_table(groups_of([*limits, row(sampler="core/c", value=0.5)])[0])
    assert [entry.text("tv") for entry in values.entries] == ["≥0", "≥0.300", "0.500"]
    assert values.best["tv"] == frozenset()
    # With an upper limit it is an estimate like others.
    both = value_table(groups_of([row(kind="lower", value=0.2, lcb=0.1, ucb=0.3)])[0])
    assert both.entries[0].text("tv") == "~0.200"


def test_cells_without_a_value_say_why() -> None:
    rows = [
        row(),
        row(metric="core/kl", value=None, status="error", stage="metric"),
        row(metric="core/nll", value=None, status="skipped", stage="metric"),
        row(steps=16, nfe=16, metric="core/nll", value=0.5),
        row(sampler="core/euler", steps=4, nfe=None, value=None, status="timeout", stage="sample"),
        row(sampler="core/k-unmask", steps=4, nfe=None, value=None, status="skipped", stage="sample"),
    ]
    values = value_table(groups_of(rows)[0])
    found = {(one.sampler, one.steps): [one.text(metric) for metric in ("tv", "kl", "nll")] for one in values.entries}
    assert set(values.metrics) == {"tv", "kl", "nll"}
    assert found == {
        ("ancestral", 8): ["0.0500", "failed", "skipped"],
        ("ancestral", 16): ["", "", "0.500"],
        ("euler", 4): ["timed out", "", ""],
    }
