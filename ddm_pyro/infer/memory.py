"""What a drawn tensor knows of its own making, kept as long as the tensor lives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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


_makings: WeakIdKeyDictionary = WeakIdKeyDictionary()


def remember(x: Tensor, making: Making) -> None:
    """Note how this very tensor was made; copies of it know nothing."""
    _makings[x] = making


def recall(x: Tensor, key: tuple[Any, ...], model: Parameterization) -> Making | None:
    """How this very tensor was made, if by the law (key, model)."""
    found = _makings.get(x)
    return found if found is not None and found.key == key and _same(found.model, model) else None


def _same(a: Parameterization, b: Parameterization) -> bool:
    """Whether two models hold the same parts: ``bind`` makes a new object on each call."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    mine, other = ({**vars(one), **one.cond, "cond": None} for one in (a, b))
    return mine.keys() == other.keys() and all(mine[name] is other[name] for name in mine)
