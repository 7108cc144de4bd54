"""Exact simulation of jump processes, event by event, for a batch of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ddm_pyro import random
from ddm_pyro.distributions import inverse_cdf
from ddm_pyro.spaces import StateSpace

if TYPE_CHECKING:
    import scipy.sparse

    from ddm_pyro.parameterizations import Parameterization


class SampleOnly(TorchDistribution):
    """The law of ``draw()``, whose density is not computed.

    Args:
        draw: returns one batch of sequences, (n, L).
        name: who draws, for the message of ``log_prob``.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False

    def __init__(self, draw: Callable[[], Tensor], shape: torch.Size, name: str) -> None:
        self._draw, self._name = draw, name
        super().__init__(shape[:-1], shape[-1:])

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """Sequences of whole numbers."""
        return constraints.independent(constraints.nonnegative_integer, 1)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws, (*sample_shape, n, L)."""
        count = torch.Size(sample_shape).numel()
        drawn = [self._draw() for _ in range(count)]
        return torch.stack(drawn).reshape(*sample_shape, *drawn[0].shape) if sample_shape else drawn[0]

    def log_prob(self, value: Tensor) -> Tensor:
        """Refused."""
        raise NotImplementedError(
            f"A step of {self._name} can be sampled but its density is not computed; "
            "use sample(), or push() on a small space."
        )


def simulate(
    model: Parameterization,
    x: Tensor,
    t: Tensor,
    s: Tensor,
    *,
    ceiling: Tensor | None = None,
) -> Tensor:
    """Run the reverse jump process from t down to s, (n, L) -> (n, L).

    Without ``ceiling``, rates are those at time t (frozen in time, exact in the state). With it, events ring at rate
    ``ceiling`` (n,), and one is a jump with probability rate / bound at its own time: exact in time as well.

    Raises:
        ValueError: a total rate above its bound.
    """
    process, moving = model.process, torch.arange(len(x), device=x.device)
    now = torch.as_tensor(t, dtype=torch.float64, device=x.device).expand(len(x)).clone()
    end, x = torch.as_tensor(s, dtype=torch.float64, device=x.device).expand(len(x)), x.clone()
    while len(moving):
        wait, choice = random.uniform((len(x), 2), x.device)[moving].unbind(-1)
        if ceiling is None:
            rates = _flat_rates(model, x, t, moving)
            total = rates.sum(-1)
            now[moving] += torch.log1p(-wait) / total
        else:
            now[moving] += torch.log1p(-wait) / ceiling[moving]
        alive = now[moving] > end[moving]
        moving, choice = moving[alive], choice[alive]
        if not len(moving):
            break
        if ceiling is None:
            jump, at = moving, inverse_cdf(rates[alive], choice)
        else:
            rates = _flat_rates(model, x, now, moving)
            share = rates.sum(-1) / ceiling[moving]
            if bool((share > 1.0 + 1e-9).any()):
                raise ValueError(
                    f"The reverse rate reached {float(share.max()):.4g} times its bound, so uniformization "
                    "would be wrong; pass a larger bound= to core/uniformization."
                )
            hit = choice < share
            jump, at = moving[hit], inverse_cdf(rates[hit], (choice / share)[hit])
        if len(jump):
            targets = process.moves(x[jump])
            position, move = at // targets.shape[-1], at % targets.shape[-1]
            x[jump, position] = targets[torch.arange(len(jump), device=x.device), position, move]
    return x


def _flat_rates(model: Parameterization, x: Tensor, t: Tensor, rows: Tensor) -> Tensor:
    # One time for all rows stays one: kernels of a dense generator are then worked out once.
    return model.rows(rows).reverse_rate(x[rows], t[rows] if t.dim() > 0 else t).flatten(1)


def joint_generator(
    model: Parameterization, t: Tensor, space: StateSpace, limit: int = 2**16
) -> scipy.sparse.csr_matrix:
    """The reverse generator at time t on the enumerated space, (N, N) sparse, rows = from."""
    import scipy.sparse  # here: its import changes warning filters, which ours must not

    total = space.require_enumerable("The exact law of a jump process", limit=limit)
    states = space.enumerate()
    rates = model.reverse_rate(states, t)
    moves = model.process.moves(states)
    targets = states.unsqueeze(1).unsqueeze(1).expand(-1, space.length, moves.shape[-1], -1).clone()
    positions = torch.arange(space.length).reshape(-1, 1, 1)
    targets.scatter_(-1, positions.expand(total, -1, moves.shape[-1], 1), moves.unsqueeze(-1))
    inside = (rates > 0) & space.contains(targets)
    source = torch.arange(total).reshape(-1, 1, 1).expand_as(rates)[inside]
    target, value = space.index(targets[inside]), rates[inside]
    jumps = scipy.sparse.csr_matrix((value.numpy(), (source.numpy(), target.numpy())), shape=(total, total))
    return (jumps - scipy.sparse.diags(jumps.sum(1).A1 if hasattr(jumps.sum(1), "A1") else jumps.sum(1))).tocsr()
