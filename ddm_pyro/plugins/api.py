"""What this core offers to plugins: names that other distributions rely on, and the version of the door."""

from __future__ import annotations

from typing import Final

#: Project name of the pluggy markers, and the entry-point group.
PROJECT: Final = "ddm_pyro"
#: The core's own distribution.
DISTRIBUTION: Final = "ddm-pyro"
#: Distributions named with this prefix have it cut from their namespace.
PREFIX: Final = "ddm-pyro-"
#: Version of the door: the first number changes when a plugin can break, the second when something is added.
API: Final = (1, 0)
#: Namespace of the built-ins.
CORE: Final = "core"
#: Namespace of what a notebook or a script registers in its own process.
LOCAL: Final = "local"
#: Namespaces that no distribution can take.
RESERVED: Final = frozenset({CORE, LOCAL})
#: The light module that registers the built-ins; named, never imported, by this package.
BUILTINS: Final = ("ddm_pyro.builtins",)
