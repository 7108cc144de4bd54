"""Imports go one way, and importing changes nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ddm_pyro

PACKAGE = Path(ddm_pyro.__file__).parent
LAYERS = [
    {"plugins"},
    {"arrays", "progress", "spaces", "random", "schedules"},
    {"rates", "distributions"},
    {"paths"},
    {"processes"},
    {"parameterizations"},
    {"losses", "samplers", "networks", "planning"},
    {"sampling"},
    {"training", "likelihood"},
    {"targets"},
    {"bounds", "infer"},
    {"metrics"},
    {"evaluation"},
    {"report"},
    {"reproduce"},
    {"builtins"},
    {"cli"},
]
# Beyond the order of the layers: who may know whom at all.
ONLY = {
    "plugins": set(),
    "builtins": {"plugins"},
    "metrics": {"arrays", "spaces", "random", "distributions"},
    "targets": {"arrays", "spaces", "random", "distributions", "processes", "parameterizations"},
    "sampling": {"arrays", "spaces", "random", "distributions", "processes", "parameterizations", "samplers"},
}
# The version is a constant of the package's root.
FREE = {"__version__"}


def level(part):
    found = [i for i, layer in enumerate(LAYERS) if part in layer]
    assert found, f"{part} is in no layer; add it to LAYERS in this test"
    return found[0]


def imported_parts(path):
    """Top-level parts of ddm_pyro imported by a file, imports inside functions included, type-only ones not."""
    tree = ast.parse(path.read_text())
    type_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in type_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ddm_pyro":
            parts = node.module.split(".")[1:]
            yield from parts[:1] if parts else (alias.name for alias in node.names if alias.name not in FREE)
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("ddm_pyro."))


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    part = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for other in set(imported_parts(path)) - {part}:
        assert level(other) <= level(part), f"{part} imports {other}, which stands above it"
        assert other in ONLY.get(part, {other}), f"{part} must not know {other}"


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_import_is_light():
    assert run("import ddm_pyro, sys; print([m for m in ('torch', 'pyro', 'numpy') if m in sys.modules])") == "[]"


def test_import_leaves_global_state_alone():
    code = """
import torch, pyro, warnings
def state():
    d = torch.distributions.Distribution
    return (d._validate_args, torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),
            torch.get_num_threads(), torch.random.get_rng_state().sum().item(), pyro.settings.get(),
            len(warnings.filters))
before = state()
import ddm_pyro
for name in ddm_pyro.__all__:
    getattr(ddm_pyro, name)
print(before == state())
"""
    assert run(code) == "True"


def test_all_public_names_exist():
    for name in ddm_pyro.__all__:
        assert getattr(ddm_pyro, name) is not None
