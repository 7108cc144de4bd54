"""Reading the values of a plan, each refusal a sentence that says where and what would be right."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from ddm_pyro.evaluation.errors import PlanError
from ddm_pyro.plugins import did_you_mean

T = TypeVar("T")


def check_keys(table: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Refuse a key that a plan does not have.

    Raises:
        PlanError: with the closest known key.

    Example:
        >>> check_keys({"smaples": 3}, ["samples", "seed"], "The plan")
        Traceback (most recent call last):
        ddm_pyro.evaluation.errors.PlanError: The plan has no key 'smaples'. Did you mean 'samples'? \
Its keys: samples, seed.
    """
    for key in table:
        if key not in known:
            raise PlanError(f"{where} has no key {key!r}.{did_you_mean(str(key), known)} Its keys: {', '.join(known)}.")


def whole(value: Any, what: str, least: int = 0) -> int:
    """A whole number of at least ``least``, or PlanError.

    Example:
        >>> whole(3, "steps", 1)
        3
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise PlanError(f"{what} = {value!r} must be a whole number of at least {least}.")
    return value


def number(value: Any, what: str, low: float, high: float = math.inf) -> float:
    """A number strictly between two others, or PlanError.

    Example:
        >>> number(1, "timeout", 0.0)
        1.0
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low < value < high:
        raise PlanError(
            f"{what} = {value!r} must be a number above {low:g}{'' if high == math.inf else f' and below {high:g}'}."
        )
    return float(value)


def text(value: Any, what: str) -> str:
    """A string that is not empty, or PlanError.

    Example:
        >>> text("digits", "name")
        'digits'
    """
    if not isinstance(value, str) or not value:
        raise PlanError(f"{what} = {value!r} must be a string.")
    return value


def mapping(value: Any, what: str) -> dict[str, Any]:
    """A table of plain values (bool, number, string, lists and tables of those), or PlanError.

    Example:
        >>> mapping({"width": 64}, "network")
        {'width': 64}
    """
    if not isinstance(value, Mapping):
        raise PlanError(f"{what} = {value!r} must be a table, like {{ key = value }}.")
    return {str(key): plain(one, f"{what}.{key}") for key, one in value.items()}


def plain(value: Any, what: str) -> Any:
    """The value as plain JSON data; PlanError for dates, objects and numbers that are not finite.

    Example:
        >>> plain((1, 2.5), "sizes")
        [1, 2.5]
    """
    if isinstance(value, Mapping):
        return mapping(value, what)
    if isinstance(value, list | tuple):
        return [plain(one, what) for one in value]
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise PlanError(
        f"{what} = {value!r} must be a finite number, a string, true or false, or a list or table of those."
    )


def each(value: Any, read: Callable[[Any, str], T], what: str) -> tuple[T, ...]:
    """One value or a list of them, each read by ``read``; PlanError for an empty list.

    Example:
        >>> each(3, whole, "steps"), each([3, 4], whole, "steps")
        ((3,), (3, 4))
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        if not value:
            raise PlanError(f"{what} is an empty list; name at least one, or leave it out.")
        return tuple(read(one, what) for one in value)
    return (read(value, what),)
