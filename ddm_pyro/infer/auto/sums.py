"""Networks that add up: each brings what it is good at."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class SumNet(nn.Module):
    """Logits that are the sum of several networks', with their short cuts.

    Args:
        networks: (x, t) -> (..., L, V) each, with ``prefix_logits(order, x)`` and ``next_logits(x, at)``, as
            ``BeliefNet`` and ``TokenMLP`` have them.

    Raises:
        TypeError: a network without a short cut.

    Example:
        >>> from ddm_pyro.infer import BeliefNet, TokenMLP
        >>> from ddm_pyro.spaces import StateSpace
        >>> space = StateSpace(2, 3)
        >>> net = SumNet(BeliefNet(space), TokenMLP(space, width=8))
        >>> net(torch.tensor([[0, 2, 1]]), torch.zeros(1)).shape
        torch.Size([1, 3, 2])
    """

    def __init__(self, *networks: nn.Module) -> None:
        super().__init__()
        for network in networks:
            missing = [name for name in ("prefix_logits", "next_logits") if not callable(getattr(network, name, None))]
            if missing:
                raise TypeError(f"{type(network).__name__} has no {missing[0]}; SumNet adds networks that have it.")
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (..., L) int64 with masks V, t (...,) -> (..., L, V)."""
        return self._sum(lambda network: network(x, t))

    def next_logits(self, x: Tensor, at: Tensor) -> Tensor:
        """``forward`` at one position a row, (n, L) with masks and (n,) -> (n, V)."""
        return self._sum(lambda network: network.next_logits(x, at))  # type: ignore[operator, unused-ignore]

    def prefix_logits(self, order: Tensor, x: Tensor) -> Tensor:
        """Logits of token l given the tokens before it in ``order``, for every l: (n, L), (n, L) -> (n, L, V)."""
        return self._sum(lambda network: network.prefix_logits(order, x))  # type: ignore[operator, unused-ignore]

    def _sum(self, logits: Callable[[nn.Module], Tensor]) -> Tensor:
        return torch.stack([logits(network) for network in self.networks]).sum(0)
