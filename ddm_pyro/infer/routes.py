"""How a sequence came to be, as auxiliary draws that make its density tractable: a plan, or a chain of states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ddm_pyro.infer.chain import Chain
from ddm_pyro.infer.plans import PlanLaw, Unmasking, follow
from ddm_pyro.infer.reverse import Reverse


@dataclass(frozen=True, eq=False)
class Route(ABC):
    """Auxiliary draws a given x such that E_{r(a | x)}[p(x, a) / r(a | x)] = p(x), for rows (n, L)."""

    reverse: Reverse

    @staticmethod
    def of(reverse: Reverse) -> Route:
        """By plan where there is one, else by chain. Raises ValueError for several samplers."""
        if reverse.planned:
            return ByPlan(reverse)
        Chain.of(reverse)
        return ByChain(reverse)

    @abstractmethod
    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Draws (n, L) and how they came to be, (n, ...)."""

    @abstractmethod
    def propose(self, x: Tensor) -> Tensor:
        """a ~ r(. | x), (n, ...)."""

    @abstractmethod
    def log_weight(self, x: Tensor, auxiliary: Tensor) -> Tensor:
        """log p(x, a) - log r(a | x), (n,)."""

    def forbids(self, x: Tensor, auxiliary: Tensor) -> bool:
        """Whether the sampler never makes some of these proposed draws, whatever the model says."""
        return False


class ByPlan(Route):
    """a = the plan, r = its own law, which ignores x: the weight is P(x | plan)."""

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """A plan and the tokens it gives."""
        plan = PlanLaw(self.reverse, validate_args=False).sample((count,))
        return follow(self.reverse, plan), plan

    def propose(self, x: Tensor) -> Tensor:
        """A plan."""
        return PlanLaw(self.reverse, validate_args=False).sample((len(x),))

    def log_weight(self, x: Tensor, auxiliary: Tensor) -> Tensor:
        """log P(x | plan)."""
        return Unmasking(self.reverse, auxiliary, validate_args=False).log_prob(x)


class ByChain(Route):
    """a = the states of the reverse chain, r = the forward kernels started at x."""

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """A chain from noise to tokens."""
        chain = Chain.of(self.reverse)
        x = chain.start().expand((count,)).sample()
        states = []
        for k in range(chain.kernels):
            states.append(x)
            x = chain.step(x, k).sample()
        return x, torch.stack(states, 1)

    def propose(self, x: Tensor) -> Tensor:
        """The states of the forward chain, (n, kernels, L), from noise to data."""
        chain = Chain.of(self.reverse)
        states = []
        for k in reversed(range(chain.kernels)):
            x = chain.noising(x, k).sample()
            states.append(x)
        return torch.stack(states[::-1], 1)

    def log_weight(self, x: Tensor, auxiliary: Tensor) -> Tensor:
        """log p(states, x) - log r(states | x)."""
        chain, states = Chain.of(self.reverse), [*auxiliary.unbind(1), x]
        total = chain.start().expand((len(x),)).log_prob(states[0])
        for k in range(chain.kernels):
            total = total + chain.step(states[k], k).log_prob(states[k + 1])
            total = total - chain.noising(states[k + 1], k).log_prob(states[k])
        return total

    def forbids(self, x: Tensor, auxiliary: Tensor) -> bool:
        """Whether a step surely leaves a token that the forward chain left as it was."""
        return Chain.of(self.reverse).forbids([*auxiliary.unbind(1), x])
