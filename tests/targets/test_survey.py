from __future__ import annotations

from importlib.machinery import ModuleSpec

import pytest
import torch

from ddm_pyro.targets import Survey, survey


def test_the_answers():
    pytest.importorskip("statsmodels")
    data = Survey()
    assert data.space.sizes == (5, 6, 7, 6, 4, 6, 6, 6)
    assert [column.kind for column in data.columns] == ["numbers"] * 8
    assert data.columns[5].labels == ("9", "12", "14", "16", "17", "20")
    whole = torch.cat([data.train, data.test])
    assert whole.shape == (6366, 8)
    assert data.encode(data.decode(whole)).equal(whole)


def test_the_columns_are_read_by_name(tmp_path, monkeypatch):
    """A stand-in for the installed package: the file is found without importing it."""
    folder = tmp_path / "datasets" / "fair"
    folder.mkdir(parents=True)
    lines = [",".join(f'"{name}"' for name in (*survey.QUESTIONS, "affairs"))]
    lines += [",".join(str((k + c) % (4 + c % 3)) for c in range(8)) + f",{k / 7}" for k in range(50)]
    (folder / "fair.csv").write_text("\n".join(lines))
    spec = ModuleSpec("statsmodels", None, is_package=True)
    spec.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr(survey, "find_spec", lambda name: spec)
    data = Survey(test_fraction=0.5, split="test")
    assert data.space.sizes == (4, 5, 6, 4, 5, 6, 4, 5)
    assert data.rows.shape == (25, 8)
    assert data.decode(data.encode([[0] * 8])) == [["0"] * 8]


@pytest.mark.parametrize("spec", [None, ModuleSpec("statsmodels", None, is_package=True)])
def test_without_the_package(monkeypatch, spec):
    monkeypatch.setattr(survey, "find_spec", lambda name: spec)
    with pytest.raises(ImportError, match=r"ddm-pyro\[survey\]"):
        Survey()
