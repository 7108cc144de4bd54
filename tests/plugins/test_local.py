from __future__ import annotations

from types import SimpleNamespace

import pytest

from ddm_pyro.plugins import MetricSpec, PluginError, RateSpec, UnknownIdError, hookimpl


def plugin(*names: str, version: int = 1) -> SimpleNamespace:
    @hookimpl
    def register_rates(register):
        for name in names:
            register(RateSpec(name, factory="fractions:Fraction", version=version))

    return SimpleNamespace(register_rates=register_rates)


def test_a_notebook_registers_and_the_registry_sees_it(make) -> None:
    registry = make()
    assert registry.ids("rates") == ()
    before = registry.manager.generation
    record = registry.manager.register(plugin("ring", "line"), "mine")
    assert registry.manager.generation == before + 1
    assert (record.name, record.namespace, record.status, record.dist) == ("mine", "local", "active", None)
    assert registry.ids("rates") == ("local/line", "local/ring")
    assert registry.create("rates", "ring", numerator=3) == 3
    assert registry.provenance("rates", "ring") == {
        "id": "local/ring",
        "version": 1,
        "dist": None,
        "dist_version": None,
        "entry_point": None,
    }


def test_unregister(make) -> None:
    registry = make()
    registry.manager.register(plugin("ring"), "mine")
    before = registry.manager.generation
    registry.manager.unregister("mine")
    assert registry.manager.generation == before + 1
    assert registry.ids("rates") == ()
    with pytest.raises(PluginError, match="registered no plugin 'mine'"):
        registry.manager.unregister("mine")
    with pytest.raises(PluginError, match="registered no plugin 'core'"):
        registry.manager.unregister("core")


def test_running_a_cell_again_needs_replace(make) -> None:
    registry = make()
    mine = plugin("ring")
    registry.manager.register(mine, "mine")
    with pytest.raises(PluginError, match="already registered 'mine'; pass replace=True"):
        registry.manager.register(plugin("other"), "mine")
    assert registry.ids("rates") == ("local/ring",)
    # The same object again, then another.
    registry.manager.register(mine, "mine", replace=True)
    registry.manager.register(plugin("ring", version=2), "mine", replace=True)
    assert registry.get("rates", "ring").version == 2
    assert [record.name for record in registry.manager.records] == ["core", "mine"]


def test_one_local_id_from_two_plugins_is_refused_and_the_first_stays(make) -> None:
    registry = make()
    registry.manager.register(plugin("ring", version=7), "mine")
    before = registry.manager.generation
    with pytest.raises(PluginError, match=r"rate 'local/ring' is registered by mine .* and by yours"):
        registry.manager.register(plugin("line", "ring"), "yours")
    assert (registry.ids("rates"), registry.get("rates", "ring").version) == (("local/ring",), 7)
    assert registry.manager.generation == before


@pytest.mark.parametrize("replace", [False, True])
def test_a_local_plugin_that_fails_leaves_all_as_it_was(make, replace) -> None:
    registry = make()
    registry.manager.register(plugin("ring"), "mine")
    bad = plugin("line")
    bad.register_samplers = hookimpl(lambda register: 1 / 0)
    before = registry.manager.generation
    with pytest.raises(PluginError, match=r"ZeroDivisionError.*raised in register_samplers") as caught:
        registry.manager.register(bad, "mine" if replace else "bad", replace=replace)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert registry.manager.generation == before
    assert registry.ids("rates") == ("local/ring",)


def test_a_single_spec(make) -> None:
    registry = make()
    record = registry.manager.add(MetricSpec("mine", factory="fractions:Fraction"))
    assert (record.name, record.provides) == ("metric-mine", (("metrics", "local/mine"),))
    assert registry.create("metric", "mine", numerator=2) == 2
    with pytest.raises(PluginError, match=r"'local/mine' was not registered.*pass replace=True"):
        registry.manager.add(MetricSpec("mine", factory="fractions:Fraction"))
    registry.manager.add(MetricSpec("mine", factory="decimal:Decimal"), replace=True)
    assert registry.load("metric", "mine").__name__ == "Decimal"
    registry.manager.unregister("metric-mine")
    with pytest.raises(UnknownIdError, match="metric 'mine'"):
        registry.get("metric", "mine")


def test_what_cannot_be_registered(make) -> None:
    manager = make().manager
    with pytest.raises(TypeError, match=r"Register an instance, Mine\(\), not the class Mine"):
        manager.register(type("Mine", (), {}), "mine")
    with pytest.raises(PluginError, match="Plugin name 'Not Good' must be lower-case"):
        manager.register(plugin("ring"), "Not Good")
    with pytest.raises(TypeError, match=r"add\(\) takes a spec"):
        manager.add("ring")
    with pytest.raises(PluginError, match="it defines no hook of ddm_pyro"):
        manager.register(SimpleNamespace(), "empty")


def test_a_method_is_a_hook(make) -> None:
    class Mine:
        @hookimpl
        def register_rates(self, register):
            register(RateSpec("ring", factory="fractions:Fraction"))

    registry = make()
    registry.manager.register(Mine(), "mine")
    assert registry.ids("rates") == ("local/ring",)
