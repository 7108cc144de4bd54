"""What to cite for what a run used: the references of its components, work by work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ddm_pyro.plugins import default_registry
from ddm_pyro.plugins.kinds import canonical_kind
from ddm_pyro.report.labels import COMPONENTS
from ddm_pyro.report.series import Row

#: What every run rests on.
SOFTWARE = (
    ("ddm_pyro", "the library"),
    ("Bingham et al. 2019, Journal of Machine Learning Research 20", "Pyro"),
    ("Paszke et al. 2019, arXiv:1912.01703", "PyTorch"),
)
#: Networks of the core, and how they are trained.
NETWORKS: Mapping[str, str] = {
    "transformer": "Vaswani et al. 2017, arXiv:1706.03762; Peebles and Xie 2022, arXiv:2212.09748"
}
TRAINING = "Loshchilov and Hutter 2017, arXiv:1711.05101"
#: What is said of a component whose author states nothing.
UNSTATED = "its author gives no reference"


@dataclass(frozen=True)
class Citation:
    """One work, and the components of the run that are from it.

    Attributes:
        work: authors and year, and where it appeared.
        components: kind and id of each.
    """

    work: str
    components: tuple[str, ...]


def citations_of(rows: Iterable[Row]) -> tuple[Citation, ...]:
    """Works behind the measured rows: the library and Pyro first, then in the order of the components.

    Example:
        >>> row = {"sampler": "core/k-unmask", "rate": "core/masked", "metric": "core/tv", "value": 0.5}
        >>> for one in citations_of([row])[3:]:
        ...     print(f"{one.work} ({', '.join(one.components)})")
        Austin et al. 2021, arXiv:2107.03006 (rate core/masked)
        Li and Cai 2025, arXiv:2505.21400 (sampler core/k-unmask)
        Müller 1997, Advances in Applied Probability 29 (metric core/tv)
    """
    found: dict[str, dict[str, None]] = {work: {what: None} for work, what in SOFTWARE}
    for what, reference in dict.fromkeys(one for row in rows if _is_measured(row) for one in _used(row)):
        for work in works(reference):
            found.setdefault(work, {})[what] = None
    return tuple(Citation(work, tuple(components)) for work, components in found.items())


def works(reference: str) -> tuple[str, ...]:
    """The works of a reference, which semicolons separate.

    Example:
        >>> works("Lou et al. 2023, arXiv:2310.16834; Meng et al. 2022, arXiv:2211.00802")
        ('Lou et al. 2023, arXiv:2310.16834', 'Meng et al. 2022, arXiv:2211.00802')
    """
    return tuple(work for part in reference.split(";") if (work := part.strip()))


def _is_measured(row: Row) -> bool:
    return row.get("status", "ok") == "ok"


def _used(row: Row) -> Iterator[tuple[str, str]]:
    """Kind and id of each component of a row, with its reference."""
    for part in COMPONENTS:
        for id in str(row[part]).split("+") if row.get(part) else ():
            yield f"{part} {id}", reference_of(part, id)
        if part == "loss" and isinstance(network := row.get("network"), Mapping):
            kind = str(network.get("kind"))
            yield from ((f"network {kind}", reference) for reference in [NETWORKS.get(kind)] if reference)
            yield "training by AdamW", TRAINING
    bounds = row.get("bounds")
    for bound in bounds if isinstance(bounds, list) else ():
        if isinstance(bound, Mapping) and bound.get("value") is not None:
            yield f"bound {bound['id']}", reference_of("bound", str(bound["id"]))


def reference_of(kind: str, id: str) -> str:
    """The reference that a component's spec states; for one without, or not installed here, a remark."""
    try:
        component = default_registry().component(canonical_kind(kind), id)
    except Exception:
        return f"{id}, which is not installed here"
    return component.spec.reference or f"{component.plugin.provider}: {UNSTATED}"
