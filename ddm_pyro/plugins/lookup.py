"""From what a user wrote to a component, or to the sentence that says why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ddm_pyro.plugins.api import LOCAL
from ddm_pyro.plugins.errors import AmbiguousIdError, BrokenPluginError, UnknownIdError, did_you_mean, listed
from ddm_pyro.plugins.kinds import singular
from ddm_pyro.plugins.records import Component, PluginRecord

#: kind -> id or alias, with namespace -> component.
Index: TypeAlias = dict[str, dict[str, Component]]


def find(index: Index, records: Sequence[PluginRecord], kind: str, id: str) -> Component:
    """The component with this full id, alias, or unique short name.

    Raises:
        AmbiguousIdError: a short name with several providers, all listed.
        BrokenPluginError: it belongs to a plugin that is not active; its original failure is quoted.
        UnknownIdError: nobody has it, with the closest id and all ids of the kind.
        TypeError: the id is not a string.
    """
    if not isinstance(id, str):
        raise TypeError(f"The id of a {singular(kind)} must be a string like 'core/name', but was {id!r}.")
    table = index[kind]
    if id in table:
        return table[id]
    if "/" not in id:
        matches = {component.id: component for full, component in table.items() if full.partition("/")[2] == id}
        if len(matches) == 1:
            return next(iter(matches.values()))
        if matches:
            providers = (f"{full} ({component.plugin.provider})" for full, component in sorted(matches.items()))
            raise AmbiguousIdError(f"The name {id!r} fits several {kind}; write one of {listed(providers)}.")
    what = f"{singular(kind)} {id!r}"
    for record in records:
        if record.status != "active" and _concerns(record, kind, id):
            raise BrokenPluginError(f"The {what} is not available. {record.sentence}")
    raise UnknownIdError(f"Unknown {what}.{_hint(index, records, kind, id)} {_known(kind, table)}")


def _concerns(record: PluginRecord, kind: str, id: str) -> bool:
    """Whether the id is, or may be, one of a plugin that is not active."""
    namespace, slash, _ = id.rpartition("/")
    if slash:
        return namespace == record.namespace
    return any(one == kind and full.partition("/")[2] == id for one, full in record.provides)


def _hint(index: Index, records: Sequence[PluginRecord], kind: str, id: str) -> str:
    for other, table in index.items():
        if other != kind and id in table:
            return f" It is a {singular(other)}; ask for it among the {other}."
    close = did_you_mean(id, index[kind])
    namespace, slash, _ = id.rpartition("/")
    if close or not slash:
        broken = [record.name for record in records if record.status not in ("active", "disabled")]
        return close or (f" These plugins could not be loaded: {listed(broken)}." if broken else "")
    if namespace == LOCAL:
        return " What a process registers under local/ is known in that process only."
    known = {record.namespace for record in records}
    return "" if namespace in known else f" No plugin with the namespace '{namespace}/' is installed."


def _known(kind: str, table: Mapping[str, Component]) -> str:
    return f"Known {kind}: {listed(sorted({component.id for component in table.values()}))}."
