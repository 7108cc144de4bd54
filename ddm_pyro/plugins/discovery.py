"""Which plugins are installed, read from metadata; nothing of them is imported."""

from __future__ import annotations

import importlib.metadata as metadata
import json
import re
from dataclasses import dataclass
from typing import Any

from ddm_pyro.plugins.api import DISTRIBUTION, PREFIX, PROJECT
from ddm_pyro.plugins.errors import quote_exception
from ddm_pyro.plugins.options import normalize
from ddm_pyro.plugins.records import PluginRecord, Status

_GROUP = re.compile(rf"^\s*\[\s*{PROJECT}\s*\]", re.MULTILINE)
_VALUE = re.compile(r"[\w.]+(\s*:\s*[\w.]+)?(\s*\[.*\])?")


@dataclass(frozen=True)
class Candidate:
    """One entry point of the group ``ddm_pyro`` with what its distribution says about itself.

    ``problem`` is set when the distribution's metadata cannot be used.

    Example:
        >>> Candidate("ring", "ddm_pyro_ring.plugin", "ddm-pyro-ring", "1.0").namespace
        'ring'
        >>> Candidate("plugin", "acme.ddm", "Acme_Models", "1.0").namespace
        'acme-models'
    """

    name: str
    value: str
    dist: str
    dist_version: str
    requires: tuple[str, ...] = ()
    requirement: str = ""
    problem: str = ""

    @property
    def namespace(self) -> str:
        """The distribution's name without ``ddm-pyro-``."""
        return normalize(self.dist).removeprefix(PREFIX)

    @property
    def names(self) -> frozenset[str]:
        """The names by which the switches know it."""
        return frozenset({normalize(self.name), normalize(self.dist), self.namespace})

    @property
    def provider(self) -> str:
        """Distribution and version."""
        return f"{self.dist} {self.dist_version}"

    def load(self) -> object:
        """Import the module (or attribute) that the entry point names."""
        return metadata.EntryPoint(self.name, self.value, PROJECT).load()

    def record(self, status: Status, reason: str = "", **known: Any) -> PluginRecord:
        """The record of this plugin with the given status."""
        return PluginRecord(
            self.name,
            self.namespace,
            status,
            reason,
            dist=self.dist,
            dist_version=self.dist_version,
            entry_point=f"{self.name} = {self.value}",
            requirement=self.requirement or f"{self.dist}=={self.dist_version}",
            **known,
        )


def discover() -> tuple[Candidate, ...]:
    """Installed plugins sorted by (entry-point name, distribution).

    Distributions are read one by one, so that one with unreadable metadata is reported and hides no other; of two
    copies of a distribution on the path the first counts, as for imports.
    """
    candidates: list[Candidate] = []
    seen: set[str] = set()
    for found in metadata.distributions():
        try:
            if not _GROUP.search(found.read_text("entry_points.txt") or ""):
                continue
            name = found.metadata["Name"]
        except Exception:
            name = None
        if not name:
            candidates.append(Candidate("?", "", "?", "?", problem="the metadata of its distribution has no name"))
        elif normalize(name) not in seen:
            seen.add(normalize(name))
            candidates.extend(_entries(name))
    return tuple(sorted(candidates, key=lambda one: (one.name, one.dist, one.value)))


def core_version() -> str | None:
    """Version of the installed core; None when it runs from a source tree without metadata."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None


def _entries(name: str) -> list[Candidate]:
    try:
        dist = metadata.distribution(name)
        version = str(dist.version)
        requires = tuple(dist.requires or ())
        entries = list(dist.entry_points.select(group=PROJECT))
    except Exception as exc:
        problem = f"the metadata of {name} cannot be read: {quote_exception(exc)}"
        return [Candidate(normalize(name), "", name, "?", problem=problem)]
    requirement = _requirement(name, version, dist)
    return [
        Candidate(
            entry.name,
            entry.value,
            name,
            version,
            requires,
            requirement,
            "" if _VALUE.fullmatch(entry.value) else f"its entry point {entry.value!r} is not 'package.module'",
        )
        for entry in entries
    ]


def _requirement(name: str, version: str, dist: metadata.Distribution) -> str:
    """A line for pip that installs the same thing again."""
    try:
        origin = json.loads(dist.read_text("direct_url.json") or "{}")
        url, vcs = origin.get("url"), origin.get("vcs_info")
        if vcs:
            return f"{name} @ {vcs['vcs']}+{url}@{vcs['commit_id']}"
        return f"{name} @ {url}" if url else f"{name}=={version}"
    except (ValueError, KeyError, AttributeError, TypeError):
        return f"{name}=={version}"
