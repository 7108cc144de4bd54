from __future__ import annotations

import sys

import pytest

from ddm_pyro.plugins import AmbiguousIdError, BrokenPluginError, LoadOptions, Manager, PluginError
from ddm_pyro.plugins.discovery import discover


def statuses(registry) -> dict[str, str]:
    return {f"{one.dist}:{one.name}": one.status for one in registry.manager.records if one.namespace != "core"}


# --- switched off -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["untouchable", "ddm-pyro-untouchable", "DDM_Pyro.Untouchable"])
def test_a_disabled_plugin_is_not_imported(name, hostile, good, make) -> None:
    hostile("untouchable")
    good("ddm-pyro-zzz", "omega")
    registry = make(disable={name})
    assert registry.ids("rates") == ("zzz/omega",)
    assert "ddm_hostile_untouchable" not in sys.modules
    (record,) = [one for one in registry.manager.records if one.name == "untouchable"]
    assert record.status == "disabled"
    assert "switched off by the name" in record.reason
    with pytest.raises(BrokenPluginError, match="is disabled: switched off by the name"):
        registry.get("rates", "untouchable/x")


def test_the_entry_point_name_disables_too(hostile, make) -> None:
    hostile("untouchable", dist="acme-models")
    assert statuses(make(disable={"untouchable"})) == {"acme-models:untouchable": "disabled"}
    assert statuses(make(disable={"acme-models"})) == {"acme-models:untouchable": "disabled"}
    assert "ddm_hostile_untouchable" not in sys.modules


def test_an_empty_list_loads_no_plugin(hostile, make) -> None:
    hostile("untouchable")
    registry = make(only=frozenset())
    assert statuses(registry) == {"ddm-pyro-untouchable:untouchable": "disabled"}
    assert registry.ids("samplers") == ("core/euler", "core/tau-leaping")


def test_a_list_loads_those_named_and_disable_beats_it(good, make) -> None:
    for name in ("one", "two", "three"):
        good(f"ddm-pyro-{name}", name)
    assert make(only={"one", "ddm-pyro-two"}).ids("rates") == ("one/one", "two/two")
    assert make(only={"one", "two"}, disable={"two"}).ids("rates") == ("one/one",)


def test_switches_that_match_nothing_are_told(good, make) -> None:
    good("ddm-pyro-one", "one")
    assert make(disable={"onee", "one"}, only={"one", "Six"}).manager.unmatched == ("onee", "six")


# --- made for another core --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requires", "reason"),
    [
        ("ddm-pyro>=1.2,<2", "it needs ddm-pyro<2,>=1.2, and this is ddm-pyro 0.1.0 (plugin API 1.0)"),
        ("DDM_Pyro[ot] (<0.1)", "it needs ddm-pyro<0.1"),
        ("ddm-pyro>=1; python_version>'3'", "it needs ddm-pyro>=1"),
        ("ddm-pyro =>1", "its requirement 'ddm-pyro =>1' cannot be read"),
    ],
)
def test_another_core_is_refused_without_import(requires, reason, hostile, good, make) -> None:
    hostile("untouchable", requires=("numpy>=99", requires))
    good("ddm-pyro-zzz", "omega")
    registry = make()
    (record,) = [one for one in registry.manager.records if one.name == "untouchable"]
    assert record.status == "incompatible"
    assert reason in record.reason
    assert "ddm_hostile_untouchable" not in sys.modules
    assert registry.ids("rates") == ("zzz/omega",)


@pytest.mark.parametrize(
    "requires", ["ddm-pyro", "ddm-pyro>=0.1,<1", "ddm-pyro>=9; extra == 'new'", "ddm-pyro-ring>=9", "%% nonsense"]
)
def test_requirements_that_do_not_exclude_the_core(requires, hostile, make) -> None:
    hostile("factory", requires=(requires,))
    assert statuses(make()) == {"ddm-pyro-factory:factory": "active"}


def test_a_prerelease_of_the_core_counts_as_its_version(hostile, site) -> None:
    hostile("factory", requires=("ddm-pyro>=0.1",))
    here = [one for one in discover() if one.dist == "ddm-pyro-factory"]
    manager = Manager(LoadOptions(), builtins=(), candidates=here, core_version="0.2.dev3")
    assert manager.records[0].status == "active"


# --- clashes ----------------------------------------------------------------------------------------------


def test_one_id_from_two_distributions_refuses_both(good, make) -> None:
    # Both have the namespace "tree".
    good("ddm-pyro-tree", "oak", entry="first", version="1.5")
    good("tree", "oak", entry="second", version="2.0")
    good("ddm-pyro-zzz", "omega")
    registry = make()
    assert statuses(registry) == {
        "ddm-pyro-tree:first": "conflict",
        "tree:second": "conflict",
        "ddm-pyro-zzz:omega": "active",
    }
    assert {one.reason for one in registry.manager.records if one.status == "conflict"} == {
        "the rate 'tree/oak' is registered by ddm-pyro-tree 1.5 (first = good_ddm_pyro_tree) "
        "and by tree 2.0 (second = good_tree)"
    }
    assert registry.ids("rates") == ("zzz/omega",)
    for id in ("tree/oak", "oak"):
        with pytest.raises(BrokenPluginError, match=r"in conflict.*ddm-pyro-tree 1\.5.*tree 2\.0"):
            registry.get("rates", id)
    # The sentence says what to do, and it helps.
    assert make(disable={"second"}).ids("rates") == ("tree/oak", "zzz/omega")


def test_an_alias_clashes_like_a_name(good, site, make) -> None:
    good("ddm-pyro-tree", "oak", entry="first")
    text = (
        "from ddm_pyro.plugins import RateSpec, hookimpl\n@hookimpl\ndef register_rates(register):\n"
        "    register(RateSpec('elm', factory='fractions:Fraction', aliases=['oak']))\n"
    )
    site.install("tree", entry_points={"second": "second_tree"}, files={"second_tree.py": text})
    assert statuses(make()) == {"ddm-pyro-tree:first": "conflict", "tree:second": "conflict"}


def test_the_same_name_in_two_namespaces_is_no_clash(good, make) -> None:
    good("ddm-pyro-one", "ring", entry="plugin", version="1.5")
    good("ddm-pyro-two", "ring", entry="plugin")
    registry = make()
    # pluggy's own loader would drop the second of two equal entry-point names without a word.
    assert statuses(registry) == {"ddm-pyro-one:plugin": "active", "ddm-pyro-two:plugin": "active"}
    assert registry.ids("rates") == ("one/ring", "two/ring")
    with pytest.raises(AmbiguousIdError) as caught:
        registry.get("rates", "ring")
    assert str(caught.value) == (
        "The name 'ring' fits several rates; write one of one/ring (ddm-pyro-one 1.5), two/ring (ddm-pyro-two 1.0)."
    )
    assert make(disable={"plugin"}).ids("rates") == ()


def test_one_entry_point_given_twice_by_a_distribution(site, good, make) -> None:
    module = good("ddm-pyro-one", "ring")
    (site.path / "other.py").write_text((site.path / f"{module}.py").read_text())
    site.install("ddm-pyro-one", entry_points=f"[ddm_pyro]\nring = {module}\nring = other\n")
    registry = make()
    assert [one.status for one in registry.manager.records] == ["active", "conflict", "conflict"]
    assert registry.manager.records[1].reason == "ddm-pyro-one 1.0 has the entry point 'ring' more than once"
    assert registry.ids("rates") == ()


def test_two_entry_points_of_one_distribution_share_its_namespace(site, good, make) -> None:
    module = good("ddm-pyro-one", "ring")
    (site.path / "other.py").write_text((site.path / f"{module}.py").read_text().replace('"ring"', '"line"'))
    site.install("ddm-pyro-one", entry_points={"a": module, "b": "other"})
    assert make().ids("rates") == ("one/line", "one/ring")


def test_one_module_claimed_by_two_distributions(site, good, make) -> None:
    module = good("ddm-pyro-one", "ring")
    site.install("ddm-pyro-two", "3.0", entry_points={"copy": module})
    registry = make()
    assert statuses(registry) == {"ddm-pyro-one:ring": "conflict", "ddm-pyro-two:copy": "conflict"}
    assert f"the module {module} is also the plugin of ddm-pyro-two 3.0" in {r.reason for r in registry.manager.records}
    assert module not in sys.modules


def test_a_disabled_copy_is_no_clash(site, good, make) -> None:
    module = good("ddm-pyro-one", "ring")
    site.install("ddm-pyro-two", "3.0", entry_points={"copy": module})
    assert make(disable={"copy"}).ids("rates") == ("one/ring",)


@pytest.mark.parametrize("dist", ["core", "ddm-pyro-core", "ddm-pyro-local", "DDM_Pyro_Core"])
def test_no_distribution_takes_a_reserved_namespace(dist, good, make) -> None:
    module = good(dist, "euler")
    registry = make()
    assert [one.status for one in registry.manager.records] == ["active", "conflict"]
    assert "/' is reserved; rename the distribution" in registry.manager.records[1].reason
    assert module not in sys.modules
    assert registry.ids("rates") == ()


def test_the_cores_module_is_no_plugin_of_others(site, make) -> None:
    site.install("ddm-pyro-thief", entry_points={"thief": "ddm_core_stub"})
    registry = make()
    assert registry.manager.records[1].reason == "ddm_core_stub is a module of the core"
    assert registry.resolve("samplers", "euler") == "core/euler"


def test_a_clash_within_the_core_is_an_error(site) -> None:
    (site.path / "ddm_core_stub2.py").write_text((site.path / "ddm_core_stub.py").read_text())
    manager = Manager(LoadOptions(), builtins=("ddm_core_stub", "ddm_core_stub2"), candidates=())
    with pytest.raises(PluginError, match="core's own components clash: the metric 'core/tv'"):
        _ = manager.records


# --- metadata ---------------------------------------------------------------------------------------------


def test_order_is_by_entry_point_then_distribution(good, make) -> None:
    good("ddm-pyro-b", "x", entry="same")
    good("ddm-pyro-a", "x", entry="same")
    good("ddm-pyro-c", "x", entry="first")
    assert list(statuses(make())) == ["ddm-pyro-c:first", "ddm-pyro-a:same", "ddm-pyro-b:same"]


def test_a_torn_entry_points_file_hides_no_other(site, good, make) -> None:
    site.install("ddm-pyro-torn", entry_points="[ddm_pyro]\nthis line has no value\n")
    site.install("ddm-pyro-odd", entry_points={"odd": "not a module!"})
    good("ddm-pyro-zzz", "omega")
    registry = make()
    reasons = {record.namespace: (record.status, record.reason) for record in registry.manager.records}
    assert reasons["torn"][0] == "error"
    assert "the metadata of ddm-pyro-torn cannot be read" in reasons["torn"][1]
    assert reasons["odd"] == ("error", "its entry point 'not a module!' is not 'package.module'")
    assert registry.ids("rates") == ("zzz/omega",)


def test_a_distribution_without_a_name(site, good, make) -> None:
    info = site.install("ddm-pyro-anon", entry_points={"anon": "anon"})
    (info / "METADATA").write_text("Metadata-Version: 2.1\n")
    good("ddm-pyro-zzz", "omega")
    registry = make()
    assert "has no name" in registry.manager.records[1].reason
    assert registry.ids("rates") == ("zzz/omega",)


def test_of_two_copies_on_the_path_the_first_counts(good, site, tmp_path, monkeypatch) -> None:
    good("ddm-pyro-one", "ring", version="2.0")
    old = type(site)(tmp_path / "old")
    old.install("ddm_pyro_one", "1.0", entry_points={"old": "old_module"})
    monkeypatch.setattr(sys, "path", [*sys.path, str(old.path)])
    assert [(one.name, one.dist_version) for one in discover() if one.namespace == "one"] == [("ring", "2.0")]


def test_requirement_lines(site, good, make) -> None:
    good("ddm-pyro-one", "ring")
    site.install("ddm-pyro-two", entry_points={"two": "two"}, direct_url={"url": "file:///somewhere/two"})
    site.install(
        "ddm-pyro-three",
        entry_points={"three": "three"},
        direct_url={"url": "https://example.org/three", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
    )
    for name in ("two", "three"):
        (site.path / f"{name}.py").write_text("")
    from ddm_pyro.plugins import requirements

    assert requirements(make()) == (
        "ddm-pyro-one==1.0",
        "ddm-pyro-three @ git+https://example.org/three@abc",
        "ddm-pyro-two @ file:///somewhere/two",
    )


def test_entry_points_are_read_once(good, site, monkeypatch) -> None:
    good("ddm-pyro-one", "ring")
    calls = []

    def counted():
        calls.append(1)
        return ()

    monkeypatch.setattr("ddm_pyro.plugins.discovery.discover", counted)
    manager = Manager(LoadOptions(), builtins=("ddm_core_stub",))
    for _ in range(3):
        _ = manager.records, manager.components, manager.generation, manager.unmatched
    assert calls == [1]


def test_module_with_a_lazy_heavy_attribute_is_not_made_to_load_it(site, make) -> None:
    text = (
        "from ddm_pyro.plugins import hookimpl\n__all__ = ['Heavy']\n"
        "def __dir__(): return [*globals(), 'Heavy']\n"
        "def __getattr__(name):\n    if name == 'Heavy': raise RuntimeError('loaded')\n    raise AttributeError(name)\n"
        "@hookimpl\ndef register_rates(register): pass\n"
    )
    site.install("ddm-pyro-lazy", entry_points={"lazy": "lazy_plugin"}, files={"lazy_plugin.py": text})
    assert statuses(make()) == {"ddm-pyro-lazy:lazy": "active"}
