"""Two runs side by side: what is paired, what is said about a pair."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from report_rows import row
from rich.console import Console

from ddm_pyro.report import Run, compare
from ddm_pyro.report.compare_page import comparison_html, comparison_values, print_comparison

INF = float("inf")


def sampled(value: float | None, lcb: float | None, ucb: float | None, **changes: Any) -> dict[str, Any]:
    return row(value=value, lcb=lcb, ucb=ucb, **{"kind": "upper_biased", **changes})


@pytest.mark.parametrize(
    ("a", "b", "apart", "verdict"),
    [
        (row(value=0.5), row(value=0.25), True, "B better"),
        (row(value=0.25), row(value=0.5), True, "A better"),
        (row(value=0.25), row(value=0.25 + 1e-14), False, "not apart"),
        (row(value=1e-16), row(value=3e-15), False, "not apart"),
        (sampled(0.5, 0.4, 0.6), sampled(0.3, 0.2, 0.35), True, "B better"),
        (sampled(0.5, 0.4, 0.6), sampled(0.3, 0.2, 0.45), False, "not apart"),
        (sampled(0.5, 0.4, 0.6), row(value=0.39), True, "B better"),
        (sampled(0.5, 0.4, 0.6), row(value=0.41), False, "not apart"),
        (sampled(0.5, None, None), sampled(0.1, 0.0, 0.2), None, "not known"),
        # A lower limit by itself can only lie above something.
        (sampled(0.3, 0.3, INF, kind="lower"), sampled(0.1, 0.0, 0.2), True, "B better"),
        (sampled(0.1, 0.1, INF, kind="lower"), sampled(0.3, 0.2, 0.4), False, "not apart"),
        (
            row(metric="core/unigram-entropy", value=2.0),
            row(metric="core/unigram-entropy", value=1.0),
            True,
            "A higher",
        ),
        (row(), row(status="error", value=None), None, ""),
    ],
)
def test_a_pair_says_whether_its_limits_are_apart(a: Any, b: Any, apart: bool | None, verdict: str) -> None:
    (pair,) = compare(Run([a]), Run([b])).pairs
    assert (pair.apart, pair.verdict) == (apart, verdict)
    values = [one["value"] for one in (a, b)]
    assert pair.difference == (None if None in values else values[1] - values[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"target_params": {"num_states": 4}},
        {"rate": "core/uniform"},
        {"schedule": "core/cosine"},
        {"parameterization": "core/x0"},
        {"loss": "core/nelbo"},
        {"sampler": "core/euler"},
        {"sampler_params": {"refresh": 2}},
        {"steps": 9},
        {"metric": "core/kl"},
    ],
)
def test_rows_that_measure_something_else_are_told_apart(changes: dict[str, Any]) -> None:
    found = compare(Run([row()]), Run([row(**changes)]))
    assert found.pairs == ()
    assert (len(found.only_a), len(found.only_b)) == (1, 1)


def test_seeds_settings_and_versions_may_differ() -> None:
    other = row(value=0.1, seed=8, network={"kind": "mlp"}, train={"steps": 9}, sampler_version=2, row_key="other")
    (pair,) = compare(Run([row()]), Run([other])).pairs
    assert (pair.settings, pair.a.text, pair.b.text) == ("", "0.0500", "0.100")


def test_several_models_of_one_run_are_paired_by_their_settings() -> None:
    def rows(*values: float) -> list[dict[str, Any]]:
        return [
            row(value=v, network={"kind": "mlp", "width": w}, row_key=f"{w}")
            for w, v in zip((8, 16), values, strict=True)
        ]

    found = compare(Run(rows(0.1, 0.2)), Run(rows(0.3, 0.4)))
    assert [(pair.settings, pair.difference) for pair in found.pairs] == [
        ("kind=mlp, width=8", pytest.approx(0.2)),
        ("kind=mlp, width=16", pytest.approx(0.2)),
    ]


def test_repetitions_are_one_value_with_the_hull_of_their_limits() -> None:
    twice = [sampled(v, v - 0.05, v + 0.05, repetition=k, row_key=f"r{k}", nfe=8 + k) for k, v in enumerate((0.2, 0.4))]
    (pair,) = compare(Run(twice), Run([sampled(0.42, 0.41, 0.6)])).pairs
    assert pair.a.text == "~0.300 [0.15, 0.45]"
    assert pair.apart is False


@pytest.fixture
def two() -> Any:
    a = [
        row(),
        row(metric="core/nll", status="skipped", value=None),
        row(metric="core/kl", status="timeout", value=None),
        row(steps=16),
        row(steps=16, metric="core/kl"),
    ]
    b = [
        row(value=0.025),
        row(metric="core/nll", status="skipped", value=None),
        row(metric="core/kl"),
        row(sampler="core/<b>", value=0.5),
    ]
    return compare(Run(a, {"name": "first"}), Run(b, {"name": "second <i>"}))


def test_the_terminal_shows_both_values_and_what_only_one_has(two: Any) -> None:
    stream = io.StringIO()
    print_comparison(two, Console(file=stream, width=100), report="here.html")
    words = " ".join(stream.getvalue().split())
    assert "ancestral 8 tv 0.0500 0.0250 -0.0250 B better" in words
    assert "kl timed out 0.0500 -" in words
    assert "Only in A: potts-chain · masked · linear · exact · ancestral · 16 steps: tv, kl" in words
    assert "Only in B: potts-chain · masked · linear · exact · <b> · 8 steps: tv" in words
    assert "2 measurements in both runs: 1 B better, 1 no value. Report: here.html" in words


def test_the_page_escapes_and_loads_nothing(two: Any) -> None:
    page = comparison_html(two)
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "second &lt;i&gt;" in page
    assert "http:" not in page
    assert "https:" not in page
    assert "B better" in page
    assert "Only in A" in page


def test_plain_values_are_json(two: Any) -> None:
    found = json.loads(json.dumps(comparison_values(two)))
    assert found["pairs"][0]["a"]["value"] == 0.05
    assert found["pairs"][0]["metric"] == "tv"
    assert found["pairs"][1]["a"]["status"] == "timeout"
    assert (len(found["only_a"]), len(found["only_b"])) == (1, 1)
    assert found["b"]["name"] == "second <i>"
