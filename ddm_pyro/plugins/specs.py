"""What a plugin hands over: frozen descriptions whose factory is imported only when something is built."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import KW_ONLY, dataclass
from enum import Enum
from typing import Any, ClassVar, final

from ddm_pyro.plugins.frozen import FrozenDict

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
FACTORY = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


class Unstated(Enum):
    """The default that a spec leaves to the factory's signature."""

    UNSTATED = "unstated"

    def __repr__(self) -> str:
        return "UNSTATED"


UNSTATED = Unstated.UNSTATED


@final
@dataclass(frozen=True)
class Param:
    """One declared parameter: a sentence about it and, if it can be said without importing, its default.

    Example:
        >>> Param("distance from zero noise", default=1e-3).default
        0.001
    """

    summary: str = ""
    default: Any = UNSTATED

    def __post_init__(self) -> None:
        if not isinstance(self.summary, str):
            raise TypeError(f"summary={self.summary!r} must be a string.")
        if not _is_plain(self.default):
            raise TypeError(f"default={self.default!r} must be None, a bool, number, string, or a list of those.")


@dataclass(frozen=True)
class Spec:
    """Common part of the ten specs below; use one of those.

    Args:
        name: lower-case words joined by hyphens. The id is ``namespace/name``; the namespace comes from the
            distribution (``ddm-pyro-ring`` gives ``ring/``) and is never written in a spec.
        factory: ``"package.module:attribute"``, a class or function called with the parameters as keywords.
        version: raised whenever results change; evaluation rows carry it and caches key on it.
        summary: one sentence for ``ddm-pyro plugins list``.
        reference: where the law or method is from.
        params: name -> ``Param``, a description (a string), or a default (anything else plain). None means that
            the factory's signature says it all; declared names are checked before anything is imported.
        capabilities: names of what the component promises, verified by the conformance suite.
        requires: extras of the plugin's distribution that the factory needs.
        aliases: other names of the same component, under the same rules as ``name``.
        test_params: parameter sets with which the conformance suite builds it.

    Raises:
        ValueError, TypeError: a field does not follow these rules.

    Example:
        >>> spec = RateSpec("ring", factory="ddm_pyro_ring.rates:Ring", capabilities={"reversible"})
        >>> spec.name, spec.kind, spec.version, spec.capabilities
        ('ring', 'rates', 1, ('reversible',))
    """

    kind: ClassVar[str]

    name: str
    _: KW_ONLY
    factory: str
    version: int = 1
    summary: str = ""
    reference: str = ""
    params: Mapping[str, Any] | None = None
    capabilities: Collection[str] = ()
    requires: Collection[str] = ()
    aliases: Collection[str] = ()
    test_params: Collection[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if type(self) is Spec:
            raise TypeError("Spec describes nothing by itself; use RateSpec, SamplerSpec or another spec of a kind.")
        _check_name(self.name, "name")
        if not isinstance(self.factory, str) or not FACTORY.fullmatch(self.factory):
            raise ValueError(
                f"factory={self.factory!r} of {self.name!r} must be a string 'package.module:attribute', "
                "so that nothing is imported before it is used."
            )
        if not isinstance(self.version, int) or isinstance(self.version, bool) or self.version < 1:
            raise ValueError(f"version={self.version!r} of {self.name!r} must be an integer from 1 on.")
        for field in ("summary", "reference"):
            if not isinstance(getattr(self, field), str):
                raise TypeError(f"{field}={getattr(self, field)!r} of {self.name!r} must be a string.")
        # Tuples, not sets: a spec's repr enters cache keys and must not change with PYTHONHASHSEED.
        object.__setattr__(self, "capabilities", tuple(sorted(set(self._words("capabilities")))))
        object.__setattr__(self, "requires", self._words("requires"))
        object.__setattr__(self, "aliases", self._words("aliases"))
        for alias in self.aliases:
            _check_name(alias, "alias")
        if len({self.name, *self.aliases}) <= len(self.aliases):
            raise ValueError(f"aliases={self.aliases!r} of {self.name!r} name the same thing twice.")
        if self.params is not None:
            object.__setattr__(self, "params", FrozenDict(_declared(self.name, self.params)))
        if isinstance(self.test_params, Mapping) or not all(isinstance(one, Mapping) for one in self.test_params):
            raise TypeError(f"test_params={self.test_params!r} of {self.name!r} must be a list of mappings.")
        object.__setattr__(self, "test_params", tuple(FrozenDict(one) for one in self.test_params))

    def _words(self, field: str) -> tuple[str, ...]:
        value = getattr(self, field)
        if isinstance(value, str) or not all(isinstance(word, str) for word in value):
            raise TypeError(f"{field}={value!r} of {self.name!r} must be a collection of strings.")
        return tuple(value)


@final
class RateSpec(Spec):
    """A ``RateMatrix``: generator of a token-level chain."""

    kind = "rates"


@final
class ScheduleSpec(Spec):
    """A ``NoiseSchedule``: alpha(t) on [0, 1]."""

    kind = "schedules"


@final
class ParameterizationSpec(Spec):
    """A ``Parameterization``: what a network's output means."""

    kind = "parameterizations"


@final
class LossSpec(Spec):
    """A loss ``(model, x0, xt, t) -> (B,)``."""

    kind = "losses"


@final
class SamplerSpec(Spec):
    """A ``Sampler``: a grid and a step law."""

    kind = "samplers"


@final
class TargetSpec(Spec):
    """A law to learn and to be judged on."""

    kind = "targets"


@final
class MetricSpec(Spec):
    """A distance or statistic of two laws, ``(p, q) -> Estimate``."""

    kind = "metrics"


@final
class BoundSpec(Spec):
    """A certificate: an upper bound on a metric with its hypotheses."""

    kind = "bounds"


@final
class RendererSpec(Spec):
    """A report: rows of an evaluation -> files."""

    kind = "renderers"


@final
class CommandSpec(Spec):
    """A subcommand of ``ddm-pyro``; the factory is a click command."""

    kind = "commands"


def _check_name(name: object, what: str) -> None:
    if isinstance(name, str) and "/" in name:
        raise ValueError(
            f"{what}={name!r} must not carry a namespace: a plugin's ids start with its distribution's name, "
            "and core/ belongs to the core."
        )
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(
            f"{what}={name!r} must be lower-case letters and digits joined by hyphens, like 'tau-leaping'."
        )


def _declared(owner: str, params: Mapping[str, Any]) -> dict[str, Param]:
    if not isinstance(params, Mapping):
        raise TypeError(f"params={params!r} of {owner!r} must be a mapping of parameter names, or None.")
    declared = {}
    for key, value in params.items():
        if not isinstance(key, str) or not key.isidentifier():
            raise ValueError(f"params of {owner!r} has the key {key!r}, which cannot be a keyword argument.")
        if isinstance(value, Param):
            declared[key] = value
        else:
            declared[key] = Param(value) if isinstance(value, str) else Param(default=value)
    return declared


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str | Unstated)
