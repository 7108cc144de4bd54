"""What is measured of both laws: a table, a function of tokens, or an IPM's own witness."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from ddm_pyro.bounds.decomposition.reference import embed
from ddm_pyro.spaces import StateSpace


class HasExact(Protocol):
    """An IPM that computes the distance of two pmfs, with the function that attains it."""

    def exact(self, space: StateSpace, atoms: Tensor, p: Tensor, q: Tensor) -> tuple[float, Any]:
        """The distance and its witness."""


def is_metric(observable: Any) -> bool:
    """Whether the observable is an IPM, which needs both laws before it says what it measures."""
    return hasattr(observable, "exact")


def values(observable: Any, data: StateSpace, space: StateSpace, masks: bool) -> Tensor:
    """The observable on every state of the process's space, flat float64.

    Args:
        observable: (S,) * L or flat over the data (over data and masks where masks can be left), or a function of
            tokens (n, L) -> (n,).
        data, space: the data alone, and the process's space.
        masks: whether masks can be left, so that the observable must be given there too; otherwise it is 0 there.

    Raises:
        ValueError: a wrong shape, or values that are not finite.
        TypeError: something that is no observable.
    """
    wanted = space if masks else data
    if isinstance(observable, Tensor):
        if observable.numel() != wanted.num_states or tuple(observable.shape) not in {
            (wanted.num_states,),
            wanted.radices,
        }:
            also = ", masks included since they can be left" if masks and space != data else ""
            raise ValueError(
                f"observable has shape {tuple(observable.shape)}; {wanted.radices} or ({wanted.num_states},) is "
                f"needed{also}."
            )
        table = observable.detach().cpu().to(torch.float64).reshape(-1)
    elif callable(observable):
        with torch.no_grad():
            table = torch.as_tensor(observable(wanted.enumerate())).cpu().to(torch.float64)
        if table.shape != (wanted.num_states,):
            raise ValueError(
                f"observable returned the shape {tuple(table.shape)} for tokens of shape "
                f"({wanted.num_states}, {wanted.length}); one number a row is needed."
            )
    else:
        raise TypeError(
            f"observable={observable!r} must be a tensor over the data, a function of tokens, or an IPM with exact()."
        )
    if not bool(torch.isfinite(table).all()):
        raise ValueError(f"observable has the value {float(table[~torch.isfinite(table)][0])}; values must be finite.")
    return table if wanted == space else embed(table, space)


def witness(metric: HasExact, space: StateSpace, p: Tensor, q: Tensor) -> Tensor:
    """The function that attains d_F(p, q), flat over ``space``.

    Raises:
        ValueError: a metric that gives no witness.
    """
    atoms = space.enumerate()
    _, found = metric.exact(space, atoms, p, q)
    if found is None:
        raise ValueError(f"{metric!r} gives no witness for these laws; pass a function of tokens instead.")
    return torch.as_tensor(found.fn(atoms)).to(torch.float64).reshape(-1)
