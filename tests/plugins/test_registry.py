from __future__ import annotations

import json

import pytest

from ddm_pyro.plugins import AmbiguousIdError, BrokenPluginError, ParameterError, PluginError, UnknownIdError, describe

PLUGIN = """
from ddm_pyro.plugins import CommandSpec, MetricSpec, Param, SamplerSpec, hookimpl

@hookimpl
def register_samplers(register):
    register(SamplerSpec(
        "heun", factory="tree_parts:Heun", version=4, summary="second order", reference="a paper",
        params={"order": Param("of the method", default=2), "negative": "what to do", "ghost": "not in the factory"},
        capabilities=["push"], aliases=["heun2"]))
    register(SamplerSpec("needy", factory="tree_parts:needy"))
    register(SamplerSpec("open", factory="tree_parts:takes_all"))
    register(SamplerSpec("native", factory="tree_parts:Native"))

@hookimpl
def register_metrics(register):
    register(MetricSpec("tv", factory="tree_parts:Heun"))

@hookimpl
def register_commands(register):
    register(CommandSpec("prune", factory="tree_parts:takes_all"))
"""
PARTS = """
class Heun:
    def __init__(self, order: int = 2, *, negative: str = "clip"):
        self.order, self.negative = order, negative

def needy(model, num_states, eps=1e-3):
    return model, num_states, eps

def takes_all(**params):
    return params

class Native:
    __signature__ = "unreadable"

    def __init__(self, **params):
        self.params = params
"""


@pytest.fixture
def registry(site, make):
    site.install(
        "ddm-pyro-tree",
        "2.5",
        entry_points={"oak": "tree_plugin"},
        files={"tree_plugin.py": PLUGIN, "tree_parts.py": PARTS},
    )
    return make()


@pytest.mark.parametrize("id", ["tree/heun", "tree/heun2", "heun", "heun2"])
@pytest.mark.parametrize("kind", ["samplers", "sampler"])
def test_full_ids_aliases_and_unique_short_names(registry, kind, id) -> None:
    assert registry.resolve(kind, id) == "tree/heun"
    assert registry.get(kind, id).version == 4
    assert registry.create(kind, id, order=3).order == 3


def test_ids_are_sorted_and_without_aliases(registry) -> None:
    assert registry.ids("samplers") == (
        "core/euler",
        "core/tau-leaping",
        "tree/heun",
        "tree/native",
        "tree/needy",
        "tree/open",
    )
    assert registry.ids("rates") == ()


def test_a_short_name_of_two_providers_is_ambiguous(registry) -> None:
    with pytest.raises(AmbiguousIdError) as caught:
        registry.get("metrics", "tv")
    assert str(caught.value) == (
        "The name 'tv' fits several metrics; write one of core/tv (ddm-pyro 0.1.0), tree/tv (ddm-pyro-tree 2.5)."
    )
    assert registry.resolve("metrics", "core/tv") == "core/tv"


@pytest.mark.parametrize(
    ("id", "sentence"),
    [
        (
            "core/eulr",
            "Unknown sampler 'core/eulr'. Did you mean 'core/euler'? "
            "Known samplers: core/euler, core/tau-leaping, tree/",
        ),
        ("eulr", "Did you mean 'core/euler'?"),
        ("tau_leaping", "Did you mean 'core/tau-leaping'?"),
        ("Euler", "Did you mean 'core/euler'?"),
        ("core/heun", "Did you mean 'tree/heun'?"),
        ("core/tv", "It is a metric; ask for it among the metrics."),
        ("acme/qqqq", "No plugin with the namespace 'acme/' is installed."),
        ("local/qqqq", "known in that process only"),
        ("zzzz", "Unknown sampler 'zzzz'. Known samplers: core/euler"),
        ("", "Unknown sampler ''."),
    ],
)
def test_an_unknown_id(registry, id, sentence) -> None:
    with pytest.raises(UnknownIdError) as caught:
        registry.create("samplers", id)
    assert sentence in str(caught.value)


def test_a_kind_without_components(registry) -> None:
    with pytest.raises(UnknownIdError, match="Known rates: none"):
        registry.get("rates", "ring")


def test_a_short_name_may_be_that_of_a_plugin_that_failed(registry, hostile, make) -> None:
    hostile("import")
    with pytest.raises(UnknownIdError, match="These plugins could not be loaded: import"):
        make().get("samplers", "zzzz")


@pytest.mark.parametrize("id", [None, 3, ("core", "euler")])
def test_an_id_that_is_no_string(registry, id) -> None:
    with pytest.raises(TypeError, match="must be a string like 'core/name'"):
        registry.get("samplers", id)


def test_all_errors_are_value_errors(registry) -> None:
    with pytest.raises(ValueError, match="Unknown kind"):
        registry.ids("smaplers")
    assert issubclass(PluginError, ValueError)


# --- parameters -------------------------------------------------------------------------------------------


def test_create_passes_the_parameters(registry) -> None:
    heun = registry.create("samplers", "tree/heun", order=5, negative="raise")
    assert (type(heun).__name__, heun.order, heun.negative) == ("Heun", 5, "raise")
    assert registry.create("samplers", "needy", model="m", num_states=3) == ("m", 3, 1e-3)
    assert registry.create("samplers", "open", kind=1, id=2, self=3) == {"kind": 1, "id": 2, "self": 3}


def test_a_factory_without_signature_takes_what_it_takes(registry) -> None:
    assert registry.signature("samplers", "native").is_open
    assert registry.create("samplers", "native", any=1).params == {"any": 1}


@pytest.mark.parametrize(
    ("id", "params", "sentence"),
    [
        (
            "heun",
            {"negativ": 1},
            "The sampler 'tree/heun' has no parameter 'negativ'. Did you mean 'negative'? "
            "Its parameters: order, negative, ghost.",
        ),
        (
            "needy",
            {"model": 0, "num-states": 1},
            "The sampler 'tree/needy' has no parameter 'num-states'. Did you mean 'num_states'? "
            "Its parameters: model, num_states, eps.",
        ),
        ("needy", {"qqq": 0}, "has no parameter 'qqq'. Its parameters: model"),
        ("needy", {"model": 0}, "The sampler 'tree/needy' needs the parameter num_states."),
        ("needy", {}, "The sampler 'tree/needy' needs the parameters model, num_states."),
        # Declared, but its factory does not take it.
        ("heun", {"ghost": 1}, "has no parameter 'ghost'. Its parameters: order, negative."),
    ],
)
def test_wrong_parameters(registry, id, params, sentence) -> None:
    for check in (lambda: registry.create("samplers", id, **params), lambda: registry.validate("samplers", id, params)):
        with pytest.raises(ParameterError) as caught:
            check()
        assert sentence in str(caught.value)


def test_declared_names_are_checked_before_the_factory_is_imported(registry, site) -> None:
    (site.path / "tree_parts.py").write_text("raise RuntimeError('imported')")
    with pytest.raises(ParameterError, match="no parameter 'negativ'"):
        registry.create("samplers", "heun", negativ=1)
    with pytest.raises(BrokenPluginError, match="RuntimeError: imported"):
        registry.create("samplers", "heun", negative=1)


def test_validate_builds_nothing_and_may_be_partial(registry) -> None:
    assert registry.validate("samplers", "needy", {"eps": 1}, partial=True) is None
    assert registry.validate("samplers", "open", {"any": 1}) is None


def test_a_command_is_loaded_and_not_created(registry) -> None:
    assert registry.load("commands", "prune")() == {}
    with pytest.raises(PluginError, match=r"command 'tree/prune' is not built with parameters; use load"):
        registry.create("commands", "prune")


# --- what is told about a component -----------------------------------------------------------------------


def test_provenance_needs_no_import(registry, site) -> None:
    (site.path / "tree_parts.py").unlink()
    assert registry.provenance("samplers", "heun2") == {
        "id": "tree/heun",
        "version": 4,
        "dist": "ddm-pyro-tree",
        "dist_version": "2.5",
        "entry_point": "oak = tree_plugin",
    }
    assert registry.provenance("samplers", "core/tau") == {
        "id": "core/tau-leaping",
        "version": 3,
        "dist": "ddm-pyro",
        "dist_version": "0.1.0",
        "entry_point": None,
    }


def test_info_is_plain_and_complete(registry) -> None:
    info = describe("samplers", "heun", registry)
    assert json.loads(json.dumps(info)) == info
    assert info["parameters"] == [
        {"name": "order", "required": False, "default": "2", "annotation": "int", "summary": "of the method"},
        {"name": "negative", "required": False, "default": "'clip'", "annotation": "str", "summary": "what to do"},
    ]
    assert {key: info[key] for key in ("kind", "id", "plugin", "summary", "reference", "capabilities", "aliases")} == {
        "kind": "samplers",
        "id": "tree/heun",
        "plugin": "oak",
        "summary": "second order",
        "reference": "a paper",
        "capabilities": ["push"],
        "aliases": ["heun2"],
    }
    assert info["problem"] == ""


def test_parameters_without_default_are_required(registry) -> None:
    infos = registry.signature("samplers", "needy").infos
    assert [(one.name, one.required, one.default) for one in infos] == [
        ("model", True, ""),
        ("num_states", True, ""),
        ("eps", False, "0.001"),
    ]


def test_records_are_plain_and_complete(registry) -> None:
    rows = [record.as_dict() for record in registry.manager.records]
    assert json.loads(json.dumps(rows)) == rows
    core, tree = rows
    assert core["provides"] == {"metrics": ["core/tv"], "samplers": ["core/euler", "core/tau-leaping"]}
    assert core["hooks"] == ["register_samplers", "register_metrics"]
    assert (tree["name"], tree["namespace"], tree["status"], tree["dist_version"]) == ("oak", "tree", "active", "2.5")
    assert tree["hooks"] == ["register_samplers", "register_metrics", "register_commands"]
    assert tree["provides"]["commands"] == ["tree/prune"]
    assert tree["seconds"] > 0
