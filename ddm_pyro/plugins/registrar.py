"""The ``register`` callable of a hook: collects, and nothing counts until the plugin's last hook returned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from ddm_pyro.plugins.api import API
from ddm_pyro.plugins.kinds import KINDS, hook_of
from ddm_pyro.plugins.specs import Spec


@final
@dataclass
class Registrar:
    """Takes the specs of one kind from one plugin.

    ``namespace`` is the plugin's, ``api`` the core's version of the door, so that a plugin can look before it
    registers something new.

    Example:
        >>> from ddm_pyro.plugins import RateSpec
        >>> register = Registrar("rates", "ring")
        >>> register(RateSpec("ring", factory="ddm_pyro_ring.rates:Ring"))
        >>> [spec.name for spec in register.specs]
        ['ring']
    """

    kind: str
    namespace: str
    api: tuple[int, int] = API
    specs: list[Spec] = field(default_factory=list)
    closed: bool = False

    def __call__(self, spec: Spec) -> None:
        """Collect one spec.

        Raises:
            TypeError: not a spec of this hook's kind.
            ValueError: a name given twice, or the hook has returned already.
        """
        expected = KINDS[self.kind]
        if self.closed:
            raise ValueError(f"register() of {hook_of(self.kind)} was called after the hook had returned.")
        if not isinstance(spec, expected):
            given = f"{type(spec).__name__} {spec.name!r}" if isinstance(spec, Spec) else repr(spec)
            raise TypeError(f"{hook_of(self.kind)} takes {expected.__name__}(...), but was given {given}.")
        taken = {name for other in self.specs for name in (other.name, *other.aliases)}
        for name in (spec.name, *spec.aliases):
            if name in taken:
                raise ValueError(f"{hook_of(self.kind)} was given {name!r} twice.")
        self.specs.append(spec)
