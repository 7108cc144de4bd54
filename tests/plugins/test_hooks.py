from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest

from ddm_pyro.plugins import (
    API,
    KINDS,
    LoadOptions,
    Manager,
    PluginError,
    Registry,
    canonical_kind,
    hookimpl,
    hookspecs,
)

HOOKS = [name for name, value in vars(hookspecs).items() if name.startswith("register_") and callable(value)]
ASKED_FOR = {
    "register_rates",
    "register_schedules",
    "register_parameterizations",
    "register_losses",
    "register_samplers",
    "register_targets",
    "register_metrics",
    "register_bounds",
    "register_renderers",
    "register_commands",
}


def alone() -> Registry:
    return Registry(Manager(LoadOptions(only=frozenset()), builtins=(), candidates=()))


def plugin(hook: str, function) -> SimpleNamespace:
    function.__name__ = hook
    return SimpleNamespace(**{hook: hookimpl(function)})


def test_the_hooks_are_those_of_the_design() -> None:
    assert set(HOOKS) == ASKED_FOR
    assert {f"register_{kind}" for kind in KINDS} == ASKED_FOR


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_has_one_argument_and_one_sentence(hook: str) -> None:
    function = getattr(hookspecs, hook)
    assert list(inspect.signature(function).parameters) == ["register"]
    assert inspect.getdoc(function).count("\n") == 0


@pytest.mark.parametrize("hook", HOOKS)
def test_what_a_hook_registers_is_found_under_its_kind(hook: str) -> None:
    kind = hook.removeprefix("register_")
    registry = alone()
    seen = {}

    def implementation(register):
        seen.update(kind=register.kind, namespace=register.namespace, api=register.api)
        register(KINDS[kind]("thing", factory="fractions:Fraction"))

    record = registry.manager.register(plugin(hook, implementation), "one")
    assert seen == {"kind": kind, "namespace": "local", "api": API}
    assert (record.hooks, record.provides) == ((hook,), ((kind, "local/thing"),))
    assert registry.ids(kind) == ("local/thing",)
    assert all(registry.ids(other) == () for other in KINDS if other != kind)
    assert registry.load(kind, "thing").__name__ == "Fraction"


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_takes_no_spec_of_another_kind(hook: str) -> None:
    kind = hook.removeprefix("register_")
    other = next(one for one in KINDS if one != kind)
    with pytest.raises(PluginError, match=f"{hook} takes {KINDS[kind].__name__}"):
        alone().manager.register(
            plugin(hook, lambda register: register(KINDS[other]("thing", factory="fractions:Fraction"))), "one"
        )


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_need_not_take_the_argument(hook: str) -> None:
    assert alone().manager.register(plugin(hook, lambda: None), "one").hooks == (hook,)


def test_register_is_closed_when_the_hook_has_returned() -> None:
    kept = []
    alone().manager.register(plugin("register_rates", lambda register: kept.append(register)), "one")
    with pytest.raises(ValueError, match="called after the hook had returned"):
        kept[0](KINDS["rates"]("late", factory="fractions:Fraction"))


def test_a_newer_optional_hook_is_let_pass() -> None:
    module = SimpleNamespace(register_planners=hookimpl(lambda register: 1 / 0, optionalhook=True))
    assert alone().manager.register(module, "newer").hooks == ()


def test_an_implementation_may_have_another_name() -> None:
    registry = alone()
    function = hookimpl(
        lambda register: register(KINDS["rates"]("thing", factory="fractions:Fraction")), specname="register_rates"
    )
    registry.manager.register(SimpleNamespace(my_rates=function), "one")
    assert registry.ids("rates") == ("local/thing",)


@pytest.mark.parametrize(
    ("kind", "plural"),
    [
        ("rate", "rates"),
        ("loss", "losses"),
        ("parameterization", "parameterizations"),
        ("samplers", "samplers"),
        ("renderer", "renderers"),
    ],
)
def test_a_kind_has_two_spellings(kind: str, plural: str) -> None:
    assert canonical_kind(kind) == plural


@pytest.mark.parametrize(("kind", "meant"), [("sampelrs", "samplers"), ("Metrics", "metrics"), ("losss", "losses")])
def test_an_unknown_kind_is_refused(kind: str, meant: str) -> None:
    with pytest.raises(PluginError, match=f"Unknown kind of component '{kind}'. Did you mean '{meant}'?"):
        canonical_kind(kind)
