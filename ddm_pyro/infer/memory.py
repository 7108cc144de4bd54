"""What a drawn tensor knows of its own making, kept as long as its storage lives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyro.ops.provenance import detach_provenance
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization


@dataclass
class Making:
    """The law that drew a tensor, and the auxiliary draws (m, n, ...) its density is estimated from."""

    key: tuple[Any, ...]
    model: Parameterization
    auxiliary: Tensor


#: By storage: Pyro hands on its draws detached, which is the same storage.
_makings: WeakIdKeyDictionary = WeakIdKeyDictionary()


def remember(x: Tensor, making: Making) -> None:
    """Note how this tensor was made, as long as its storage lives and is not written to; copies of it know nothing."""
    where = _place(x)
    if where is not None:
        _makings[where[0]] = where[1], making


def recall(x: Tensor, key: tuple[Any, ...], model: Parameterization) -> Making | None:
    """How this tensor was made, if by the law (key, model)."""
    where = _place(x)
    layout, found = (None, None) if where is None else _makings.get(where[0], (None, None))
    if where is None or found is None or layout != where[1]:
        return None
    return found if found.key == key and _same(found.model, model) else None


def _place(x: Tensor) -> tuple[Any, tuple[Any, ...]] | None:
    """The storage, and where in it the tensor lies and since when; None for a stand-in without storage."""
    x = detach_provenance(x)  # TraceGraph_ELBO wraps its draws
    try:
        storage = x.untyped_storage()
    except (RuntimeError, NotImplementedError):
        return None
    version = 0 if x.is_inference() else x._version
    return storage, (x.shape, x.stride(), x.storage_offset(), version)


def _same(a: Parameterization, b: Parameterization) -> bool:
    """Whether two models hold the same parts: ``bind`` makes a new object on each call."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    mine, other = ({**vars(one), **one.cond, "cond": None} for one in (a, b))
    return mine.keys() == other.keys() and all(mine[name] is other[name] for name in mine)
