from __future__ import annotations

import pickle

import pytest

from ddm_pyro.plugins import LoadOptions


@pytest.mark.parametrize(
    ("argv", "environ", "expected"),
    [
        ([], {}, LoadOptions()),
        (["evaluate", "--jobs", "2"], {}, LoadOptions()),
        (["--disable-plugin", "a"], {}, LoadOptions({"a"})),
        (["--disable-plugin=a,b", "plugins", "--disable-plugin", "c"], {}, LoadOptions({"a", "b", "c"})),
        (["--", "--no-plugins", "--disable-plugin"], {}, LoadOptions()),
        (["--no-plugins"], {}, LoadOptions(only=frozenset())),
        ([], {"DDM_PYRO_DISABLE_PLUGINS": "a, DDM_Pyro.B,"}, LoadOptions({"a", "ddm-pyro-b"})),
        ([], {"DDM_PYRO_DISABLE_PLUGINS": ""}, LoadOptions()),
        ([], {"DDM_PYRO_LOAD_PLUGINS": ""}, LoadOptions(only=frozenset())),
        ([], {"DDM_PYRO_LOAD_PLUGINS": "a,b"}, LoadOptions(only={"a", "b"})),
        ([], {"DDM_PYRO_STRICT_PLUGINS": "1"}, LoadOptions(strict=True)),
        ([], {"DDM_PYRO_STRICT_PLUGINS": "off"}, LoadOptions()),
        # The command line on top of the environment.
        (["--disable-plugin", "a"], {"DDM_PYRO_DISABLE_PLUGINS": "b"}, LoadOptions({"a", "b"})),
        (["--no-plugins"], {"DDM_PYRO_LOAD_PLUGINS": "a"}, LoadOptions(only=frozenset())),
        (["--disable-plugin", "a"], {"DDM_PYRO_LOAD_PLUGINS": "a,b"}, LoadOptions({"a"}, only={"a", "b"})),
    ],
)
def test_switches(argv, environ, expected) -> None:
    options = LoadOptions.build(argv, environ)
    assert options == expected
    assert LoadOptions.from_environment(options.to_environment()) == options
    assert pickle.loads(pickle.dumps(options)) == options


@pytest.mark.parametrize("argv", [["--disable-plugin"], ["--disable-plugin="], ["--disable-plugin", "--no-plugins"]])
def test_a_switch_without_a_name(argv) -> None:
    with pytest.raises(ValueError, match="--disable-plugin needs the name"):
        LoadOptions.build(argv, {})


def test_a_strict_switch_that_is_neither() -> None:
    with pytest.raises(ValueError, match="DDM_PYRO_STRICT_PLUGINS='maybe' must be 1 or 0"):
        LoadOptions.from_environment({"DDM_PYRO_STRICT_PLUGINS": "maybe"})


@pytest.mark.parametrize("name", ["core", "ddm_pyro"])
def test_the_core_stays_on(name) -> None:
    with pytest.raises(ValueError, match=r"built-ins .* cannot be disabled"):
        LoadOptions(disable={name})


def test_a_string_is_not_a_set_of_names() -> None:
    with pytest.raises(TypeError, match="disable='ring' must be a set of names"):
        LoadOptions(disable="ring")


def test_the_process_environment_is_the_default(monkeypatch) -> None:
    monkeypatch.setenv("DDM_PYRO_DISABLE_PLUGINS", "ring")
    assert LoadOptions.build().disable == {"ring"}
