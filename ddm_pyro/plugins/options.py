"""Switches that decide which plugins are loaded, read before any plugin is imported."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ddm_pyro.plugins.api import CORE, DISTRIBUTION

DISABLE: Final = "DDM_PYRO_DISABLE_PLUGINS"
LOAD: Final = "DDM_PYRO_LOAD_PLUGINS"
STRICT: Final = "DDM_PYRO_STRICT_PLUGINS"
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"", "0", "false", "no", "off"})


def normalize(name: str) -> str:
    """The spelling in which distribution and plugin names are compared.

    Example:
        >>> normalize("DDM_Pyro.Ring")
        'ddm-pyro-ring'
    """
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


@dataclass(frozen=True)
class LoadOptions:
    """Which plugins to load; a name is a distribution, its namespace, or an entry point.

    Precedence: a plugin is loaded if ``only`` is None or names it, and ``disable`` does not; so ``disable`` beats
    ``only``. On the command line ``--no-plugins`` beats ``DDM_PYRO_LOAD_PLUGINS``, and ``--disable-plugin`` adds to
    ``DDM_PYRO_DISABLE_PLUGINS``. The built-ins are always loaded. ``strict`` raises at the first broken,
    incompatible or conflicting plugin instead of going on without it.

    Raises:
        ValueError: the core is named in ``disable``.

    Example:
        >>> options = LoadOptions(disable={"ring"})
        >>> options.refusal({"ddm-pyro-ring", "ring"})
        "switched off by the name 'ring'"
        >>> options.refusal({"ddm-pyro-tree", "tree"})
        ''
    """

    disable: frozenset[str] = frozenset()
    only: frozenset[str] | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "disable", _names("disable", self.disable))
        if self.only is not None:
            object.__setattr__(self, "only", _names("only", self.only))
        for name in sorted(self.disable & {CORE, DISTRIBUTION}):
            raise ValueError(f"The built-ins ({name!r}) cannot be disabled; name a plugin.")

    def refusal(self, names: Iterable[str]) -> str:
        """Why a plugin known by these names is not to be loaded; empty when it is."""
        known = {normalize(name) for name in names}
        if self.only is not None and not known & self.only:
            return "no plugins are to be loaded" if not self.only else "not among the plugins to be loaded"
        hits = sorted(known & self.disable)
        return f"switched off by the name {hits[0]!r}" if hits else ""

    def unmatched(self, names: Iterable[str]) -> tuple[str, ...]:
        """Names given to the switches that no installed plugin has, most likely misspelt."""
        asked = self.disable | (self.only or frozenset())
        return tuple(sorted(asked - {normalize(name) for name in names}))

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> LoadOptions:
        """Read ``DDM_PYRO_DISABLE_PLUGINS``, ``DDM_PYRO_LOAD_PLUGINS`` (empty: none), ``DDM_PYRO_STRICT_PLUGINS``.

        Raises:
            ValueError: the strict switch is neither on nor off.

        Example:
            >>> LoadOptions.from_environment({"DDM_PYRO_LOAD_PLUGINS": ""}).only
            frozenset()
        """
        environ = os.environ if environ is None else environ
        strict = environ.get(STRICT, "").strip().lower()
        if strict not in _TRUE | _FALSE:
            raise ValueError(f"{STRICT}={environ[STRICT]!r} must be 1 or 0.")
        return cls(
            disable=_split(environ.get(DISABLE, "")),
            only=_split(environ[LOAD]) if LOAD in environ else None,
            strict=strict in _TRUE,
        )

    @classmethod
    def build(cls, argv: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> LoadOptions:
        """The environment's switches with ``--disable-plugin NAME`` (repeatable) and ``--no-plugins`` on top.

        Other arguments are ignored, and nothing is read after ``--``.

        Raises:
            ValueError: ``--disable-plugin`` without a name.

        Example:
            >>> sorted(LoadOptions.build(["--disable-plugin", "ring", "--disable-plugin=tree"], {}).disable)
            ['ring', 'tree']
        """
        base = cls.from_environment(environ)
        disable, only = set(base.disable), base.only
        arguments = iter(argv)
        for argument in arguments:
            if argument == "--":
                break
            if argument == "--no-plugins":
                only = frozenset()
            flag, equals, value = argument.partition("=")
            if flag == "--disable-plugin":
                names = _split(value if equals else next(arguments, ""))
                if not names or any(name.startswith("-") for name in names):
                    raise ValueError("--disable-plugin needs the name of a distribution or an entry point.")
                disable |= names
        return cls(frozenset(disable), only, base.strict)

    def to_environment(self) -> dict[str, str]:
        """Variables under which another process loads the same plugins.

        Example:
            >>> options = LoadOptions(disable={"ring"}, only={"tree"})
            >>> LoadOptions.from_environment(options.to_environment()) == options
            True
        """
        variables = {DISABLE: ",".join(sorted(self.disable)), STRICT: "1" if self.strict else "0"}
        return variables if self.only is None else {**variables, LOAD: ",".join(sorted(self.only))}


def _split(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def _names(field: str, names: Iterable[str]) -> frozenset[str]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{field}={names!r} must be a set of names.")
    return frozenset(normalize(name) for name in names)
