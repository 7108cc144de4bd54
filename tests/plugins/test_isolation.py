from __future__ import annotations

import sys

import pytest

from ddm_pyro.plugins import BrokenPluginError, PluginError

#: module -> status and pieces of the reason.
FAULTS = {
    "import": ("error", ["RuntimeError: no licence found", "while importing ddm_hostile_import"]),
    "exit": ("error", ["SystemExit: 3", "while importing"]),
    "message": ("error", ["Unspeakable", "its message cannot be shown"]),
    "hook": ("error", ["KeyError: 'weights.bin'", "raised in register_samplers"]),
    "payload": ("error", ["register_metrics takes MetricSpec(...)", "LossSpec"]),
    "usurper": ("error", ["name='core/euler' must not carry a namespace", "raised in register_samplers"]),
    "twice": ("error", ["register_rates was given 'same' twice"]),
    "yield": ("error", ["register_rates returned a generator; call register(...)"]),
    "unmarked": ("error", ["register_rates without @hookimpl"]),
    "impatient": ("error", ["while plugins are being loaded"]),
    "misspelt": ("incompatible", ["unknown hook 'register_rate'. Did you mean 'register_rates'?"]),
    "arguments": ("incompatible", ["wrong signature", "'schedule'"]),
    "wrapper": ("incompatible", ["register_rates is a hook wrapper"]),
    "api": ("incompatible", ["it needs plugin API 1.99, and this core has 1.0"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_its_own_plugin_only(fault, hostile, good, make, monkeypatch, caplog) -> None:
    # Before and after it in the order of loading.
    good("ddm-pyro-aaa", "alpha")
    good("ddm-pyro-zzz", "omega")
    dist = hostile(fault)
    registry = make()
    if fault == "impatient":
        monkeypatch.setattr("ddm_pyro.plugins.defaults._registry", registry)
    records = {record.name: record for record in registry.manager.records}
    status, pieces = FAULTS[fault]
    assert records[fault].status == status
    for piece in pieces:
        assert piece in records[fault].reason
    assert "\n" not in records[fault].reason
    assert (records["alpha"].status, records["omega"].status, records["core"].status) == ("active",) * 3
    assert registry.ids("rates") == ("aaa/alpha", "zzz/omega")
    assert registry.create("rates", "zzz/omega", numerator=1, denominator=2) == 0.5
    # One line for the log, and the id answers with the original failure.
    assert [line.getMessage().count(records[fault].reason) for line in caplog.records] == [1]
    with pytest.raises(BrokenPluginError) as caught:
        registry.get("rates", f"{fault}/anything")
    for piece in [*pieces, f"{dist} 0.9", fault]:
        assert piece in str(caught.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_strict_loading_raises_the_same_reason(fault, hostile, make, monkeypatch) -> None:
    hostile(fault)
    registry = make(strict=True)
    monkeypatch.setattr("ddm_pyro.plugins.defaults._registry", registry)
    with pytest.raises(PluginError) as caught:
        registry.ids("rates")
    for piece in FAULTS[fault][1]:
        assert piece in str(caught.value)


def test_all_faults_at_once(hostile, good, make, monkeypatch) -> None:
    for fault in FAULTS:
        hostile(fault)
    good("ddm-pyro-zzz", "omega")
    registry = make()
    monkeypatch.setattr("ddm_pyro.plugins.defaults._registry", registry)
    assert {one.name: one.status for one in registry.manager.records if one.name in FAULTS} == {
        fault: status for fault, (status, _) in FAULTS.items()
    }
    assert registry.ids("rates") == ("zzz/omega",)
    assert registry.ids("samplers") == ("core/euler", "core/tau-leaping")


def test_the_traceback_is_kept_as_text(hostile, make) -> None:
    hostile("hook")
    (record,) = [one for one in make().manager.records if one.name == "hook"]
    assert "ddm_hostile_hook.py" in record.traceback
    assert 'KeyError("weights.bin")' in record.traceback


def test_a_hook_that_raises_rolls_back_the_others_of_its_plugin(hostile, make) -> None:
    hostile("hook")
    registry = make()
    assert registry.ids("rates") == ()
    (record,) = [one for one in registry.manager.records if one.name == "hook"]
    assert record.provides == ()
    with pytest.raises(BrokenPluginError, match=r"weights\.bin"):
        registry.get("rates", "hook/good")


class TestFactories:
    @pytest.fixture
    def registry(self, hostile, make):
        hostile("factory", requires=("ddm-pyro>=0.1",))
        return make()

    def test_a_plugin_with_bad_factories_is_active(self, registry) -> None:
        assert registry.manager.records[-1].status == "active"
        assert len(registry.ids("samplers")) == 2 + 6

    @pytest.mark.parametrize(
        ("name", "sentence"),
        [
            (
                "missing-module",
                "The sampler 'factory/missing-module' of ddm-pyro-factory 0.9 cannot be loaded from "
                "ddm_hostile_nowhere:Sampler: ModuleNotFoundError: No module named 'ddm_hostile_nowhere'. "
                "It needs an extra: pip install 'ddm-pyro-factory[gpu]'.",
            ),
            ("missing-attribute", "AttributeError: module 'ddm_hostile_factory' has no attribute 'Nothing'"),
            ("not-callable", "ddm_hostile_factory:CONSTANT is not callable"),
            ("exits", "tried to end the program: SystemExit: 4"),
        ],
    )
    def test_a_factory_that_fails_is_named_with_its_provider(self, registry, name, sentence) -> None:
        with pytest.raises(BrokenPluginError) as caught:
            registry.create("samplers", f"factory/{name}")
        assert sentence in str(caught.value)
        assert "ddm-pyro-factory 0.9" in str(caught.value)

    def test_what_a_constructor_raises_passes_with_a_note(self, registry) -> None:
        with pytest.raises(ZeroDivisionError, match="width=5") as caught:
            registry.create("samplers", "factory/raises", width=5)
        assert caught.value.__notes__ == ["While building the sampler 'factory/raises' of ddm-pyro-factory 0.9."]

    def test_its_good_factory_works(self, registry) -> None:
        assert registry.create("samplers", "factory/works", steps=3) == (3, 2)

    def test_info_tells_the_problem_and_raises_nothing(self, registry) -> None:
        info = registry.info("samplers", "factory/missing-attribute")
        assert "no attribute 'Nothing'" in info["problem"]
        assert info["parameters"] == []


def test_what_a_plugin_prints_does_not_reach_stdout(site, make, capsys) -> None:
    text = "from ddm_pyro.plugins import hookimpl\nprint('hello')\n@hookimpl\ndef register_rates(): print('hook')\n"
    site.install("ddm-pyro-talk", entry_points={"talk": "talk_plugin"}, files={"talk_plugin.py": text})
    assert make().manager.records[-1].status == "active"
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "hello\nhook\n"


def test_a_core_that_fails_is_an_error(site, make) -> None:
    (site.path / "ddm_core_stub.py").write_text("raise ImportError('torn')")
    with pytest.raises(
        PluginError, match="core's own components in ddm_core_stub cannot be registered: ImportError: torn"
    ):
        make().ids("rates")
    # It is not half loaded: mended, it loads.
    sys.modules.pop("ddm_core_stub", None)


def test_loading_is_tried_again_after_a_failure(hostile, site, make) -> None:
    hostile("import")
    registry = make(strict=True)
    for _ in range(2):
        with pytest.raises(PluginError, match="no licence"):
            registry.ids("rates")
