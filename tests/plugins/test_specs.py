from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

import pytest

from ddm_pyro.plugins import KINDS, Param, RateSpec, Spec

FACTORY = "package.module:Thing"


def full(kind: str) -> Spec:
    return KINDS[kind](
        "tau-leaping2",
        factory="a.b:C.d",
        version=7,
        summary="s",
        reference="r",
        params={"eps": 1e-3, "steps": "how many", "mode": Param("how", default="clip"), "grid": [1, 2]},
        capabilities={"push", "exact", "plan"},
        requires=["ot"],
        aliases=["tau"],
        test_params=[{"eps": 0.5}],
    )


@pytest.mark.parametrize("kind", KINDS)
def test_specs_pickle_hash_and_keep_their_fields(kind: str) -> None:
    spec = full(kind)
    again = pickle.loads(pickle.dumps(spec))
    assert again == spec
    assert hash(again) == hash(spec)
    assert again.kind == kind
    assert repr(again) == repr(spec)
    assert again.capabilities == ("exact", "plan", "push")
    assert again.params["eps"].default == 1e-3
    assert again.params["steps"].summary == "how many"
    assert again.params["mode"] == Param("how", default="clip")
    assert again != dataclasses.replace(spec, version=8)


def test_specs_of_different_kinds_differ() -> None:
    assert full("rates") != full("metrics")


def test_specs_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        full("rates").version = 2


def test_repr_is_the_same_under_every_hash_seed() -> None:
    code = (
        "from ddm_pyro.plugins import RateSpec;"
        "print(RateSpec('r', factory='a:b', capabilities={'x', 'y', 'z', 'w', 'v'}, params={'b': 1, 'a': 2}))"
    )
    shown = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(shown) == 1
    assert "('v', 'w', 'x', 'y', 'z')" in shown.pop()


@pytest.mark.parametrize("name", ["", "Euler", "tau_leaping", "tau--leaping", "-a", "a-", "a b", "é", 3, None])
def test_bad_names_are_refused_with_the_name(name: object) -> None:
    with pytest.raises(ValueError, match=r"name=.*must be lower-case letters and digits joined by hyphens"):
        RateSpec(name, factory=FACTORY)


def test_a_namespace_in_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"name='core/tv' must not carry a namespace.*core/ belongs to the core"):
        RateSpec("core/tv", factory=FACTORY)


@pytest.mark.parametrize(
    "factory", ["", "module", "module:", ":Thing", "a.b.C", "a..b:C", "a:b:c", "a b:C", dict, None]
)
def test_bad_factories_are_refused(factory: object) -> None:
    with pytest.raises(ValueError, match=r"factory=.* of 'ring' must be a string 'package.module:attribute'"):
        RateSpec("ring", factory=factory)


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, True, None])
def test_bad_versions_are_refused(version: object) -> None:
    with pytest.raises(ValueError, match=r"version=.* of 'ring' must be an integer from 1 on"):
        RateSpec("ring", factory=FACTORY, version=version)


@pytest.mark.parametrize(
    ("fields", "error", "sentence"),
    [
        ({"capabilities": "push"}, TypeError, "capabilities='push' of 'ring' must be a collection of strings"),
        ({"requires": [1]}, TypeError, "requires="),
        ({"aliases": ["Ring"]}, ValueError, "alias='Ring' must be lower-case"),
        ({"aliases": ["ring"]}, ValueError, "name the same thing twice"),
        ({"aliases": ["a", "a"]}, ValueError, "name the same thing twice"),
        ({"summary": None}, TypeError, "summary=None of 'ring' must be a string"),
        ({"reference": 3}, TypeError, "reference=3"),
        ({"params": ["eps"]}, TypeError, "must be a mapping of parameter names, or None"),
        ({"params": {"not a name": 1}}, ValueError, "has the key 'not a name', which cannot be a keyword"),
        ({"params": {"f": len}}, TypeError, "must be None, a bool, number, string, or a list of those"),
        ({"test_params": {"a": 1}}, TypeError, "must be a list of mappings"),
        ({"test_params": [3]}, TypeError, "must be a list of mappings"),
    ],
)
def test_bad_fields_are_refused(fields: dict, error: type, sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        RateSpec("ring", factory=FACTORY, **fields)


def test_everything_but_the_name_is_a_keyword() -> None:
    with pytest.raises(TypeError, match="positional"):
        RateSpec("ring", FACTORY)


def test_the_common_part_is_not_a_spec() -> None:
    with pytest.raises(TypeError, match="use RateSpec"):
        Spec("ring", factory=FACTORY)
