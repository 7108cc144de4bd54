"""Conditions of a prior inside a program: data, with a row for each element of the innermost plate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyro.poutine.indep_messenger import IndepMessenger
from pyro.poutine.runtime import _PYRO_STACK
from torch import Tensor

from ddm_pyro.infer.stack import open_traces

if TYPE_CHECKING:
    from pyro.poutine import Trace

    from ddm_pyro.parameterizations import Parameterization


def refuse_wide_conditions(model: Parameterization) -> None:
    """Raise ValueError for a condition of the shape that a latent site has where its values are run side by side.

    Enumeration and plates of particles put dimensions to the left of a site's own; read as rows, they would condition
    the elements of a plate on each other's values. Data of such a shape is refused with them: it can be reshaped.
    """
    plates = {frame.dim: frame.size for frame in _PYRO_STACK if isinstance(frame, IndepMessenger) and frame.dim}
    wider = {size for dim, size in plates.items() if dim < -1 and size > 1}
    enumerated = {count for trace in open_traces() for count in _numbers_of_values(trace)}
    if not (wider or enumerated):
        return
    for name, value in model.cond.items():
        if not isinstance(value, Tensor) or value.dim() < 2:
            continue
        rows, trailing = value.shape[0], value.shape[1:]
        beside = rows in wider and trailing[0] in (1, plates.get(-1, 1))
        if beside or (rows in enumerated and trailing.numel() == 1):
            raise ValueError(
                f"Condition {name!r} has shape {tuple(value.shape)}, like a latent site whose values are run side by "
                "side, but conditions are data with a row for each element of the innermost plate; run one particle "
                "at a time, sum over the latent yourself, or, if it is data, give it another shape."
            )


def _numbers_of_values(trace: Trace) -> Iterator[int]:
    """How many values each enumerated site of a trace has."""
    for site in trace.nodes.values():
        if site["type"] == "sample" and site["infer"].get("_enumerate_dim") is not None:
            yield site["value"].shape[site["infer"]["_enumerate_dim"] - site["fn"].event_dim]
