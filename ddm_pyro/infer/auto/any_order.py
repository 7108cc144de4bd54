"""The masked family: tokens are drawn one at a time in a uniformly random order, each given those before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ddm_pyro import random
from ddm_pyro.distributions import inverse_cdf
from ddm_pyro.infer.auto.families import Family, rates_of
from ddm_pyro.infer.timeless import TimeOfMasks
from ddm_pyro.parameterizations import X0, Parameterization
from ddm_pyro.processes import ForwardProcess
from ddm_pyro.rates import Masked
from ddm_pyro.schedules import Linear
from ddm_pyro.spaces import StateSpace


class AnyOrder(Family):
    """q(x, order) = (1/L!) prod_k q(x_{o_k} | x_{o_1}, ..., x_{o_{k-1}}), and r(order | x) = 1/L!.

    This is a masked diffusion that unmasks one token at a time (first-hitting sampling): a path is the pair (order, x),
    shape (2, L). The network sees masks (id V) at the tokens to come, and t = their share. All L conditionals of a
    path are one batched network call; drawing takes L calls. A network may have short cuts for both,
    ``prefix_logits(order, x)`` and ``next_logits(x, at)``, see ``BeliefNet``.

    Example:
        >>> from ddm_pyro.infer.auto.network import TokenMLP
        >>> space = StateSpace((2, 3), 2)
        >>> family = AnyOrder(space, TokenMLP(space, width=8))
        >>> path = torch.tensor([[[1, 0], [1, 2]]])
        >>> family.log_density(path).exp()  # the uniform law, before training
        tensor([0.1667], dtype=torch.float64, grad_fn=<ExpBackward0>)
    """

    def __init__(self, space: StateSpace, network: nn.Module) -> None:
        super().__init__(space, network)
        self.path_shape = torch.Size((2, space.length))

    def sample(self, n: int) -> Tensor:
        """Paths (n, 2, L)."""
        length, mask = self.space.length, self.space.vocab_size
        order = random.uniform((n, length), self.device).argsort(-1)
        u = random.uniform((n, length), self.device)
        x = torch.full((n, length), mask, device=self.device)
        with torch.no_grad():
            for k in range(length):
                at = order[:, k]
                drawn = inverse_cdf(self._next_logits(x, at, k).softmax(-1), u[:, k])
                x = x.scatter(-1, at.unsqueeze(-1), drawn.unsqueeze(-1))
        return torch.stack([order, x], -2)

    def log_density(self, path: Tensor) -> Tensor:
        """sum_k log q(x_{o_k} | x_{o_<k}), (n, 2, L) -> (n,): the laws of the order cancel."""
        order, x = path[..., 0, :], path[..., 1, :]
        logits = self._prefix_logits(order, x)
        return logits.log_softmax(-1).gather(-1, x.unsqueeze(-1)).squeeze(-1).sum(-1)

    def tokens(self, path: Tensor) -> Tensor:
        """x."""
        return path[..., 1, :]

    @property
    def num_steps(self) -> int:
        """L."""
        return self.space.length

    def denoising_steps(self, x: Tensor, step: Tensor) -> Tensor:
        """(L / m) times the cross-entropy of m = step + 1 masked tokens, the last m of one random order a row."""
        length, masks = self.space.length, step.unsqueeze(-1) + 1
        hidden = random.uniform(x.shape, x.device).argsort(-1).unsqueeze(-2) < masks
        x = x.unsqueeze(-2).expand(hidden.shape)
        logits = self.logits(torch.where(hidden, self.space.vocab_size, x), masks.squeeze(-1).double() / length)
        log_q = logits.log_softmax(-1).gather(-1, x.unsqueeze(-1)).squeeze(-1)
        return -torch.where(hidden, log_q, 0.0).sum(-1) * length / masks.squeeze(-1)

    def denoiser(self) -> Parameterization:
        """x0-posteriors of the masked process, at the time when as many masks are expected as there are."""
        process = ForwardProcess(rates_of(Masked, self.space), Linear(), self.space.length)
        return TimeOfMasks(X0(self.network, process))

    def _next_logits(self, x: Tensor, at: Tensor, known: int) -> Tensor:
        """Logits of the token at one position a row, (n, L) with so many known tokens and (n,) -> (n, V)."""
        direct = getattr(self.network, "next_logits", None)
        if callable(direct):
            return self.inside(direct(x, at), at)
        length = self.space.length
        t = torch.full((len(x),), 1.0 - known / length, dtype=torch.float64, device=x.device)
        index = at[:, None, None].expand(-1, -1, self.space.vocab_size)
        return self.logits(x, t).gather(-2, index).squeeze(-2)

    def _prefix_logits(self, order: Tensor, x: Tensor) -> Tensor:
        """Logits of each token given those before it in the order, (n, L, V) by position."""
        direct = getattr(self.network, "prefix_logits", None)
        if callable(direct):
            return self.inside(direct(order, x)).contiguous()
        length = self.space.length
        rank = order.argsort(-1)
        hidden = rank.unsqueeze(-1) <= rank.unsqueeze(-2)
        # Row l has masks at l and at everything that comes after it.
        noised = torch.where(hidden, self.space.vocab_size, x.unsqueeze(-2))
        logits = self.logits(noised, hidden.sum(-1).double() / length)
        return logits.diagonal(dim1=-3, dim2=-2).transpose(-1, -2).contiguous()
