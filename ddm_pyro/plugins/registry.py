"""Components by kind and id: look up, describe, build."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from functools import reduce
from typing import Any

from ddm_pyro.plugins.errors import BrokenPluginError, PluginError, quote_exception, stop
from ddm_pyro.plugins.kinds import KINDS, canonical_kind, singular
from ddm_pyro.plugins.loader import PLUGIN_FAULTS
from ddm_pyro.plugins.lookup import Index, find
from ddm_pyro.plugins.manager import Manager
from ddm_pyro.plugins.parameters import Signature, check_names, check_required, signature_of
from ddm_pyro.plugins.records import Component
from ddm_pyro.plugins.specs import Spec


class Registry:
    """Everything that can be named in a plan, whoever wrote it.

    A kind may be written in the plural or the singular. An id is ``namespace/name``; the bare name will do while
    one provider has it. Only ``load``, ``create``, ``signature`` and ``validate`` import a factory. Another
    process rebuilds a component from (kind, id, params); send those, not the registry.

    Raises:
        UnknownIdError, AmbiguousIdError, BrokenPluginError, ParameterError: all ``PluginError``, a ``ValueError``.

    Example:
        >>> from ddm_pyro.plugins import LoadOptions, MetricSpec
        >>> registry = Registry(Manager(LoadOptions(only=frozenset()), builtins=()))
        >>> registry.manager.add(MetricSpec("ratio", factory="fractions:Fraction", summary="a ratio")).status
        'active'
        >>> registry.ids("metrics"), registry.get("metric", "ratio").summary
        (('local/ratio',), 'a ratio')
        >>> registry.create("metrics", "local/ratio", numerator=1, denominator=2)
        Fraction(1, 2)
    """

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self._lock = threading.Lock()
        self._cached: tuple[int, Index] | None = None

    def ids(self, kind: str) -> tuple[str, ...]:
        """Ids of a kind, sorted; aliases are not listed."""
        table = self._index()[canonical_kind(kind)]
        return tuple(sorted(id for id, component in table.items() if component.id == id))

    def component(self, kind: str, id: str) -> Component:
        """The spec with its provider."""
        kind = canonical_kind(kind)
        return find(self._index(), self.manager.records, kind, id)

    def get(self, kind: str, id: str) -> Spec:
        """The spec."""
        return self.component(kind, id).spec

    def resolve(self, kind: str, id: str) -> str:
        """The full id of a short name or an alias."""
        return self.component(kind, id).id

    def provenance(self, kind: str, id: str) -> dict[str, Any]:
        """``id, version, dist, dist_version, entry_point``, from metadata."""
        return self.component(kind, id).provenance()

    def load(self, kind: str, id: str) -> Any:
        """Import the factory and return it uncalled (a command is used this way).

        Raises:
            BrokenPluginError: it cannot be imported; the message quotes the exception and names the provider.
        """
        return self._load(self.component(kind, id))

    def signature(self, kind: str, id: str) -> Signature:
        """Parameters of a component, from its factory and its spec."""
        component = self.component(kind, id)
        return signature_of(self._load(component), component.spec.params)

    def validate(self, kind: str, id: str, params: Mapping[str, Any], *, partial: bool = False) -> None:
        """Check parameter names, and unless ``partial`` that none is missing, without building anything.

        Declared names are checked before the factory is imported.
        """
        self._validated(self.component(kind, id), params, partial)

    def create(self, kind: str, id: str, /, **params: Any) -> Any:
        """Build a component.

        What the factory itself raises passes through with a note that names the component and its provider.

        Raises:
            PluginError: a command (use ``load``), or one of the errors of the class.
        """
        component = self.component(kind, id)
        if component.kind == "commands":
            raise PluginError(f"The command {component.id!r} is not built with parameters; use load('commands', id).")
        factory = self._validated(component, params, partial=False)
        try:
            return factory(**params)
        except SystemExit as exc:
            raise BrokenPluginError(f"{_says(component)} tried to end the program: {quote_exception(exc)}.") from exc
        except Exception as exc:
            exc.add_note(f"While building the {_named(component)}.")
            raise

    def info(self, kind: str, id: str) -> dict[str, Any]:
        """All that is known about a component as plain values; a factory that fails is told under ``problem``."""
        component = self.component(kind, id)
        spec = component.spec
        row: dict[str, Any] = {
            "kind": component.kind,
            **component.provenance(),
            **{field: getattr(spec, field) for field in ("factory", "summary", "reference")},
            **{field: list(getattr(spec, field)) for field in ("capabilities", "requires", "aliases")},
            "plugin": component.plugin.name,
            "problem": "",
        }
        try:
            row["parameters"] = [one.as_dict() for one in self.signature(kind, id).infos]
        except BrokenPluginError as exc:
            row.update(parameters=[], problem=str(exc))
        return row

    def _index(self) -> Index:
        # Outside the lock: it may load plugins, and one that asks for components then must get an error, not wait.
        generation = self.manager.generation
        with self._lock:
            if self._cached is None or self._cached[0] != generation:
                index: Index = {kind: {} for kind in KINDS}
                for component in self.manager.components:
                    index[component.kind].update(dict.fromkeys(component.ids, component))
                self._cached = generation, index
            return self._cached[1]

    def _validated(self, component: Component, params: Mapping[str, Any], partial: bool) -> Any:
        what = f"{singular(component.kind)} '{component.id}'"
        if component.spec.params is not None:
            check_names(params, component.spec.params, what)
        factory = self._load(component)
        signature = signature_of(factory, component.spec.params)
        if not signature.is_open:
            check_names(params, signature.names, what)
        if not partial:
            check_required(params, signature, what)
        return factory

    def _load(self, component: Component) -> Any:
        spec = component.spec
        module, _, attribute = spec.factory.partition(":")
        try:
            factory = reduce(getattr, attribute.split("."), importlib.import_module(module))
        except PLUGIN_FAULTS as exc:
            hint = ""
            if spec.requires and isinstance(exc, ImportError):
                dist = component.plugin.dist
                hint = f" It needs an extra: pip install '{dist}[{','.join(spec.requires)}]'."
            raise BrokenPluginError(
                f"{_says(component)} cannot be loaded from {spec.factory}: {stop(quote_exception(exc))}{hint}"
            ) from exc
        if not callable(factory):
            raise BrokenPluginError(f"{_says(component)} cannot be built: {spec.factory} is not callable.")
        return factory


def _named(component: Component) -> str:
    return f"{singular(component.kind)} '{component.id}' of {component.plugin.provider}"


def _says(component: Component) -> str:
    return f"The {_named(component)}"
