"""Parameters of a component: declared by its spec, else read from its factory's signature."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ddm_pyro.plugins.errors import ParameterError, did_you_mean, listed
from ddm_pyro.plugins.specs import UNSTATED, Param


@dataclass(frozen=True)
class ParameterInfo:
    """One keyword of a factory; ``default`` and ``annotation`` are shown as text.

    Example:
        >>> [info.name for info in signature_of(lambda num_states, eps=1e-3: None).infos]
        ['num_states', 'eps']
    """

    name: str
    required: bool
    default: str = ""
    annotation: str = ""
    summary: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Signature:
    """Keywords that a factory takes; ``is_open`` when it takes any (``**kwargs``)."""

    infos: tuple[ParameterInfo, ...]
    is_open: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Their names in order."""
        return tuple(info.name for info in self.infos)


def signature_of(factory: Any, declared: Mapping[str, Param] | None = None) -> Signature:
    """Read a factory's keywords, with the summaries that the spec declares."""
    declared = declared or {}
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        # Some callables written in C have no signature: the declaration, if any, is all there is.
        infos = tuple(ParameterInfo(name, False, _stated(one), "", one.summary) for name, one in declared.items())
        return Signature(infos, is_open=True)
    keywords = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    is_open = any(one.kind is one.VAR_KEYWORD for one in parameters)
    return Signature(
        tuple(
            ParameterInfo(
                one.name,
                one.default is one.empty,
                "" if one.default is one.empty else repr(one.default),
                "" if one.annotation is one.empty else inspect.formatannotation(one.annotation).strip("'"),
                declared[one.name].summary if one.name in declared else "",
            )
            for one in keywords
        ),
        is_open,
    )


def check_names(given: Iterable[str], known: Collection[str], what: str) -> None:
    """Refuse a parameter that is not among the known ones.

    Raises:
        ParameterError: with the closest known name and all of them.

    Example:
        >>> check_names(["epss"], ["eps"], "schedule 'core/log-linear'")
        Traceback (most recent call last):
        ddm_pyro.plugins.errors.ParameterError: The schedule 'core/log-linear' has no parameter 'epss'. \
Did you mean 'eps'? Its parameters: eps.
    """
    for name in given:
        if name not in known:
            raise ParameterError(
                f"The {what} has no parameter {name!r}.{_similar(name, known)} Its parameters: {listed(known)}."
            )


def check_required(given: Collection[str], signature: Signature, what: str) -> None:
    """Refuse a call that leaves out a parameter without default.

    Raises:
        ParameterError: naming what is missing.
    """
    missing = [info.name for info in signature.infos if info.required and info.name not in given]
    if missing:
        raise ParameterError(f"The {what} needs the parameter{'s' * (len(missing) > 1)} {listed(missing)}.")


def _similar(name: str, known: Collection[str]) -> str:
    # Hyphens are how the same word is spelt in ids and options.
    respelt = {one.replace("_", "-"): one for one in known}
    hint = did_you_mean(name.replace("_", "-"), respelt)
    for spelling, one in respelt.items():
        hint = hint.replace(f"'{spelling}'", f"'{one}'")
    return hint


def _stated(param: Param) -> str:
    return "" if param.default is UNSTATED else repr(param.default)
