"""Laws that draw given or randomly chosen masked positions from p(v | x) and leave the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import TokenLaw, inverse_cdf
from ddm_pyro.samplers.exact_push import push_product
from ddm_pyro.spaces import StateSpace

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization


class _Reveal(TokenLaw):
    expand = TorchDistribution.expand  # flat indices do not expand; Pyro's wrapper repeats draws instead

    def __init__(self, x: Tensor, num_symbols: int) -> None:
        self.x, self.num_symbols = x, num_symbols
        self.space = StateSpace(num_symbols, x.shape[-1])
        super().__init__(x.shape[:-1], x.shape[-1:])

    @property
    def _device(self) -> torch.device:
        return self.x.device


class RevealAt(_Reveal):
    """The positions ``at`` (flat indices row * L + position) are drawn from ``log_probs`` (K, V), the others stay."""

    def __init__(self, x: Tensor, at: Tensor, log_probs: Tensor, num_symbols: int) -> None:
        super().__init__(x, num_symbols)
        self.at, self.log_probs = at, log_probs

    @classmethod
    def of(cls, model: Parameterization, x: Tensor, t: Tensor, at: Tensor) -> RevealAt:
        """Run the model on the rows that hold a position of ``at``, and on no others."""
        space, length = model.process.space, x.shape[-1]
        if len(at) == 0:
            return cls(x, at, x.new_zeros((0, space.vocab_size), dtype=torch.float64), space.num_symbols)
        rows, inside = torch.unique(at // length, return_inverse=True)
        time = t[rows] if t.dim() > 0 else t
        log_probs = model.rows(rows).x0_log_probs(x[rows], time, at=inside * length + at % length)
        return cls(x, at, log_probs, space.num_symbols)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws, (*sample_shape, n, L)."""
        u = random.uniform((*sample_shape, *self.x.shape), self.x.device).flatten(-2)[..., self.at]
        values = inverse_cdf(self.log_probs.exp(), u)
        out = self.x.expand(*sample_shape, *self.x.shape).flatten(-2).clone()
        out[..., self.at] = values
        return out.unflatten(-1, self.x.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """log-probability of sequences, (..., n, L) -> (..., n)."""
        if self._validate_args:
            self._validate_sample(value)
        drawn = torch.zeros(self.x.numel(), dtype=torch.bool, device=self.x.device)
        drawn[self.at] = True
        kept = (value == self.x) | drawn.reshape(self.x.shape)
        table = torch.log_softmax(self.log_probs.double(), -1)
        token = value.flatten(-2)[..., self.at]
        inside = token < table.shape[-1]
        chosen = table.expand(*token.shape, -1).gather(-1, torch.where(inside, token, 0).unsqueeze(-1)).squeeze(-1)
        out = torch.zeros((*value.shape[:-2], self.x.numel()), dtype=torch.float64, device=value.device)
        out[..., self.at] = torch.where(inside, chosen, -torch.inf)
        return torch.where(kept.all(-1), out.unflatten(-1, self.x.shape).sum(-1), -torch.inf)


class RevealSubset(_Reveal):
    """``count`` masked positions, uniformly chosen, are drawn from ``log_probs``; the others stay.

    P(y | x) = C(m, b)^-1 prod_{revealed} p_l(y_l | x) for y that differs from x exactly in b = count of its m masks.

    Args:
        x: (n, L) tokens, mask id = V.
        count: (n,) how many to reveal, at most the number of masks.
        log_probs: (n, L, V).
    """

    def __init__(self, x: Tensor, count: Tensor, log_probs: Tensor) -> None:
        super().__init__(x, log_probs.shape[-1] + 1)
        self.count, self.log_probs = count, log_probs
        self.masked = x == log_probs.shape[-1]

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws, (*sample_shape, n, L)."""
        shape = (*sample_shape, *self.x.shape)
        chosen = ranks_among(self.masked.expand(shape), random.uniform(shape, self.x.device)) < self.count.unsqueeze(-1)
        values = inverse_cdf(self.log_probs.exp(), random.uniform(shape, self.x.device))
        return torch.where(chosen & self.masked, values, self.x)

    def log_prob(self, value: Tensor) -> Tensor:
        """log-probability of sequences, (..., n, L) -> (..., n)."""
        if self._validate_args:
            self._validate_sample(value)
        drawn = self.masked & (value != self.x)
        right = ((value == self.x) | drawn).all(-1) & (drawn.sum(-1) == self.count)
        token = torch.where(drawn, value, 0).unsqueeze(-1)
        table = torch.log_softmax(self.log_probs.double(), -1)
        chosen = table.expand(*token.shape[:-1], -1).gather(-1, token).squeeze(-1)
        total = torch.where(drawn, chosen, 0.0).sum(-1) - log_binomial(self.masked.sum(-1), self.count)
        return torch.where(right, total, -torch.inf)

    def push(self, weights: Tensor, space: StateSpace) -> Tensor:
        """sum_b weights[b] P(. | x_b), flat: the product of (stay + reveal) kept where the count of masks is right."""
        own = torch.arange(self.num_symbols, device=self.x.device) == self.x.unsqueeze(-1)
        values = torch.nn.functional.pad(self.log_probs.double().softmax(-1), (0, 1))
        table = own + torch.where(self.masked.unsqueeze(-1), values, 0.0)
        masks_left = space.is_mask(space.enumerate(weights.device)).sum(-1)
        before = self.masked.sum(-1)
        out = torch.zeros(space.num_states, dtype=torch.float64, device=weights.device)
        for m in range(self.x.shape[-1] + 1):
            group = before == m
            if not bool(group.any()):
                continue
            count = self.count[group]
            scaled = weights[group] * torch.exp(-log_binomial(before[group], count))
            for b in count.unique().tolist():
                same = count == b
                out += torch.where(masks_left == m - b, push_product(scaled[same], table[group][same], space), 0.0)
        return out


def ranks_among(masked: Tensor, u: Tensor) -> Tensor:
    """Rank of each masked position in a uniform random order of its row's masks; others rank after all masks."""
    return torch.where(masked, u, 2.0).argsort(-1).argsort(-1)


def log_binomial(m: Tensor, b: Tensor) -> Tensor:
    """log C(m, b)."""
    m, b = m.double(), b.double()
    return torch.lgamma(m + 1) - torch.lgamma(b + 1) - torch.lgamma(m - b + 1)
