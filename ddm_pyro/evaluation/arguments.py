"""Arguments of a plan's components, checked before anything runs: by type, and by building what can stand alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ddm_pyro.evaluation.errors import NotApplicable, PlanError
from ddm_pyro.plugins import BrokenPluginError, Registry

#: Annotations that a plan's values can be held against; a parameter with any other part in its annotation passes.
_TYPES: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "None": (type(None),),
}
_WORDS: Mapping[str, str] = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
}


def check_types(registry: Registry, kind: str, id: str, params: Mapping[str, Any], where: str) -> None:
    """Refuse a value whose type is not the one that the component's signature states.

    Raises:
        PlanError: naming the parameter, the value and what would be right.
    """
    for info in registry.signature(kind, id).infos:
        if info.name in params and (wanted := mismatch(params[info.name], info.annotation)):
            raise PlanError(f"{where}: {info.name}={params[info.name]!r} of {id!r} must be {wanted}.")


def mismatch(value: Any, annotation: str) -> str:
    """What a value should have been, in words; empty when it fits, or when the annotation says too little.

    Example:
        >>> mismatch("x", "int"), mismatch(2.5, "int | None"), mismatch(2, "float"), mismatch("x", "Any")
        ('a whole number', 'a whole number', '', '')
    """
    names = [part.strip() for part in annotation.strip("'\"").split("|")]
    if not all(name in _TYPES for name in names):
        return ""
    types = tuple(one for name in names for one in _TYPES[name])
    fits = bool in types if isinstance(value, bool) else isinstance(value, types)
    return "" if fits else " or ".join(_WORDS[name] for name in names if name in _WORDS)


def check_buildable(registry: Registry, kind: str, id: str, params: Mapping[str, Any], where: str) -> None:
    """Build a component of the core by itself, and drop it.

    What no combination could mend (a pmf of mass 1.3, a matrix that is no generator) is the plan's fault, and no
    reason to skip. Plugins' components are not built here: what they raise costs their own cells.

    Raises:
        PlanError: it cannot be built.
    """
    try:
        registry.create(kind, id, **params)
    except (BrokenPluginError, NotApplicable):
        return  # a missing extra, or another combination's business: the rows will tell
    except Exception as error:
        raise PlanError(f"{where}: {refusal(error, id, params)}") from None


def refusal(error: Exception, id: str, params: Mapping[str, Any]) -> str:
    """A component's own sentence; what Python said is set in one of ours.

    Example:
        >>> refusal(TypeError("bad operand"), "core/product", {"probs": "x"})
        "'core/product' cannot be built with {'probs': 'x'} (TypeError: bad operand)."
        >>> refusal(ValueError("probs must be a table."), "core/product", {})
        'probs must be a table.'
    """
    message = " ".join(str(error).split())
    if isinstance(error, ValueError) and message.endswith((".", "?")):
        return message
    return f"{id!r} cannot be built with {dict(params)} ({type(error).__name__}: {message.rstrip('.')})."
