"""The uniform family: a chain that starts in noise and reverses, step by step, the refreshing of tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ddm_pyro import random
from ddm_pyro.arrays import OnDevice
from ddm_pyro.distributions import inverse_cdf
from ddm_pyro.infer.auto.families import Family, rates_of
from ddm_pyro.parameterizations import LeaveOneOut, Parameterization
from ddm_pyro.processes import ForwardProcess
from ddm_pyro.rates import Uniform
from ddm_pyro.schedules import Linear
from ddm_pyro.spaces import StateSpace


class UniformChain(Family):
    """q(z_K) prod_k q(z_{k-1} | z_k) with x = z_0, beside r = prod_k r(z_k | z_{k-1}), the forward uniform process.

    r refreshes each token, uniformly over its own values, with probability 1 - a_k / a_{k-1}, on the grid
    a_k = 1 - k/K (linear schedule), so that z_K is pure noise and q(z_K) = r(z_K) uniform. The reverse step is the
    exact one of tokens that are independent given the network's p(x_l | z_k without l) =: w_l,

        q(z_{k-1, l} = v | z_k) prop. to r(z_{k, l} | v) (a_{k-1} w_l(v) + (1 - a_{k-1}) / V_l).

    A path is (z_0, ..., z_K), shape (K + 1, L). What several tokens decide in the same step they decide independently:
    a gap of the bound that goes down like 1/K. The network's t is 1 - a_k.

    Example:
        >>> from ddm_pyro.infer.auto.network import TokenMLP
        >>> space = StateSpace(2, 3)
        >>> family = UniformChain(space, TokenMLP(space, width=8, timed=True), steps=4)
        >>> family.log_density(family.sample(2)).exp()  # the uniform law, before training
        tensor([0.1250, 0.1250], dtype=torch.float64, grad_fn=<ExpBackward0>)
    """

    def __init__(self, space: StateSpace, network: nn.Module, steps: int) -> None:
        super().__init__(space, network)
        self.steps, self._counts = steps, OnDevice(torch.tensor(space.position_sizes, dtype=torch.float64))
        self.path_shape = torch.Size((steps + 1, space.length))

    def sample(self, n: int) -> Tensor:
        """Paths (n, K + 1, L)."""
        sizes = self._sizes(self.device)
        z = (random.uniform((n, self.space.length), self.device) * sizes).long()
        path = [z]
        with torch.no_grad():
            for k in range(self.steps, 0, -1):
                u = random.uniform((n, self.space.length), self.device)
                z = inverse_cdf(self._reverse(z, torch.full((n,), k, device=self.device)).exp(), u)
                path.append(z)
        return torch.stack(path[::-1], -2)

    def log_density(self, path: Tensor) -> Tensor:
        """log q - log r, (n, K + 1, L) -> (n,): all steps in one network call."""
        n, steps = len(path), self.steps
        k = torch.arange(1, steps + 1, device=path.device).expand(n, -1)
        after, before = path[:, 1:], path[:, :-1]
        log_q = self._reverse(after.flatten(0, 1), k.flatten()).unflatten(0, (n, steps))
        log_q = log_q.gather(-1, before.unsqueeze(-1)).squeeze(-1)
        log_start = -self._sizes(path.device).log().sum()
        return log_start + (log_q - self._forward(before, after, k)).sum((-2, -1))

    def tokens(self, path: Tensor) -> Tensor:
        """z_0."""
        return path[..., 0, :]

    @property
    def num_steps(self) -> int:
        """K."""
        return self.steps

    def denoising_steps(self, x: Tensor, step: Tensor) -> Tensor:
        """K times the term of step k = step + 1, with (z_{k-1}, z_k) drawn by the forward process."""
        n, chosen = step.shape
        rows, k = x.repeat_interleave(chosen, 0), step.flatten() + 1
        before = self._noised(rows, torch.zeros_like(k), k - 1)
        after = self._noised(before, k - 1, k)
        log_q = self._reverse(after, k).gather(-1, before.unsqueeze(-1)).squeeze(-1)
        terms = (log_q - self._forward(before, after, k)).sum(-1)
        return self._counts.on(x.device).log().sum() - self.steps * terms.reshape(n, chosen)

    def denoiser(self) -> Parameterization:
        """The network as leave-one-out posterior of the uniform process."""
        process = ForwardProcess(rates_of(Uniform, self.space), Linear(), self.space.length)
        return LeaveOneOut(self.network, process)

    def _kept(self, k: Tensor) -> Tensor:
        """a_k = 1 - k/K."""
        return 1.0 - k.double() / self.steps

    def _sizes(self, device: torch.device) -> Tensor:
        return self._counts.on(device)

    def _noised(self, z: Tensor, j: Tensor, k: Tensor) -> Tensor:
        """A draw of z_k given z_j, (n, L)."""
        kept = (self._kept(k) / self._kept(j)).unsqueeze(-1)
        fresh = (random.uniform(z.shape, z.device) * self._sizes(z.device)).long()
        return torch.where(random.uniform(z.shape, z.device) < kept, z, fresh)

    def _forward(self, before: Tensor, after: Tensor, k: Tensor) -> Tensor:
        """log r(after | before) at step k, (..., L)."""
        kept = (self._kept(k) / self._kept(k - 1)).unsqueeze(-1)
        return (kept * (before == after) + (1.0 - kept) / self._sizes(before.device)).log()

    def _reverse(self, z: Tensor, k: Tensor) -> Tensor:
        """log q(z_{k-1} = . | z_k = z), (n, L) and (n,) -> (n, L, V)."""
        sizes, symbols = self._sizes(z.device).unsqueeze(-1), torch.arange(self.space.vocab_size, device=z.device)
        inside = symbols < sizes
        # Finite off the alphabet until the end: the logarithm of zero has no gradient.
        clean = torch.where(inside, self.logits(z, 1.0 - self._kept(k)).log_softmax(-1), 0.0)
        a, kept = (each[:, None, None] for each in (self._kept(k - 1), self._kept(k) / self._kept(k - 1)))
        log_prior = torch.logaddexp(a.log() + clean, ((1.0 - a) / sizes).log())
        log_likelihood = (kept * (symbols == z.unsqueeze(-1)) + (1.0 - kept) / sizes).log()
        return torch.where(inside, log_prior + log_likelihood, -torch.inf).log_softmax(-1)
