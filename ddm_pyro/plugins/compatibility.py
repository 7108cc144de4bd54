"""Whether a plugin was made for this core: asked of its metadata first, of its module second."""

from __future__ import annotations

from collections.abc import Iterable

from ddm_pyro.plugins.api import API, DISTRIBUTION
from ddm_pyro.plugins.options import normalize


def requirement_problem(requires: Iterable[str], version: str | None) -> str:
    """Why ``Requires-Dist`` lines exclude this version of the core; empty when they do not.

    Lines for other distributions, for extras or for other platforms do not count. A core without metadata
    (``version`` None) cannot be compared, and then nothing is excluded.

    Example:
        >>> requirement_problem(["ddm-pyro>=2,<3"], "0.1.0")
        'it needs ddm-pyro<3,>=2, and this is ddm-pyro 0.1.0 (plugin API 1.0)'
        >>> requirement_problem(["ddm-pyro<3", "numpy>=99"], "0.1.0")
        ''
    """
    from packaging.requirements import InvalidRequirement, Requirement

    for line in requires:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            if normalize(line).startswith(DISTRIBUTION):
                return f"its requirement {line!r} cannot be read"
            continue
        if normalize(requirement.name) != DISTRIBUTION or version is None:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            return (
                f"it needs {DISTRIBUTION}{requirement.specifier}, and this is {DISTRIBUTION} {version} "
                f"(plugin API {dotted(API)})"
            )
    return ""


def api_problem(plugin: object) -> str:
    """Why the module's own ``ddm_pyro_api = (major, minor)`` excludes this core; empty when it does not.

    Example:
        >>> from types import SimpleNamespace
        >>> api_problem(SimpleNamespace(ddm_pyro_api=(9, 0)))
        'it needs plugin API 9.0, and this core has 1.0'
        >>> api_problem(SimpleNamespace())
        ''
    """
    needed = getattr(plugin, "ddm_pyro_api", API)
    if not (isinstance(needed, tuple | list) and len(needed) == 2 and all(isinstance(part, int) for part in needed)):
        return f"its ddm_pyro_api={needed!r} must be a pair of integers like {API}"
    if needed[0] != API[0] or needed[1] > API[1]:
        return f"it needs plugin API {dotted(needed)}, and this core has {dotted(API)}"
    return ""


def dotted(api: Iterable[int]) -> str:
    """``1.0`` for (1, 0)."""
    return ".".join(map(str, api))
