"""The numbers beside a figure are what its script computes today."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

FIGURES = Path(__file__).parents[2] / "docs" / "figures"


@pytest.fixture(scope="module")
def curves():
    spec = importlib.util.spec_from_file_location("sampler_curves", FIGURES / "sampler_curves.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize("most", [4, pytest.param(128, marks=pytest.mark.slow)])
def test_sampler_curves_are_reproduced(curves, most) -> None:
    stored = {row[:3]: row[3] for row in curves.read(FIGURES / "sampler_curves.csv")}
    computed = {row[:3]: row[3] for row in curves.curves(most)}
    assert len(computed) > 30
    assert computed.keys() == {point for point in stored if point[2] <= most}
    for point, tv in computed.items():
        assert tv == pytest.approx(stored[point], rel=1e-8, abs=curves.EXACT), point


def test_every_sampler_has_a_panel(curves) -> None:
    shown = {type(one) for entry in curves.ENTRIES for item in entry.at.values() for one in _flat(item)}
    public = {cls for cls in vars(curves.samplers).values() if isinstance(cls, type)}
    assert shown == public - {curves.samplers.Sampler}


def _flat(item):
    return item if isinstance(item, list) else [item]
