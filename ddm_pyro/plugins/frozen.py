"""A mapping that hashes, pickles and prints the same in every process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, final

_V = TypeVar("_V")


@final
class FrozenDict(Mapping[str, _V]):
    """An immutable mapping with string keys, in the order they were given.

    Equal to any mapping with the same items; the hash uses the keys only, so values need not be hashable.

    Example:
        >>> params = FrozenDict({"eps": 0.001})
        >>> params, params == {"eps": 0.001}, hash(params) == hash(FrozenDict({"eps": 1}))
        ({'eps': 0.001}, True, True)
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, _V] | None = None) -> None:
        self._items = dict(items or {})

    def __getitem__(self, key: str) -> _V:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items))

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (self._items,)
