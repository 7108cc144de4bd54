"""The Potts model on a line or a ring: exact in every respect, for any length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets.base import Target, normalize
from ddm_pyro.targets.checks import finite, whole
from ddm_pyro.targets.information import Powers, line_curve, potts_powers, ring_curve
from ddm_pyro.targets.markov_chain import MarkovChain
from ddm_pyro.targets.messages import DenseTransfer, draw, ring_marginals

#: Largest |coupling|: exp of it, and of its square, is still a float64.
MAX_COUPLING = 300.0


class PottsChain(Target):
    """P(x) proportional to exp(J #{i : x_i = x_{i+1}}), on {0..K-1}^L.

    The free line is the stationary Markov chain with P(x, y) proportional to exp(J [x = y]). The ring
    (``periodic``) also counts x_{L-1} = x_0 (a ring of two sites thus counts its pair twice, a ring of one site has
    no pair); conditioned on x_0 it is a line again.

    Args:
        num_states: K.
        length: L.
        coupling: J, in nats; negative for repulsion.
        periodic: ring instead of line.

    Raises:
        ValueError: K or L below 1, a coupling not finite or beyond ``MAX_COUPLING``.

    Example:
        >>> chain = PottsChain(num_states=4, length=32, coupling=1.0)
        >>> round(chain.total_mutual_information().item(), 6), round(chain.total_correlation().item(), 6)
        (6.967726, 3.657779)
    """

    def __init__(
        self,
        *,
        num_states: int,
        length: int,
        coupling: float,
        periodic: bool = False,
        validate_args: bool | None = None,
    ) -> None:
        states, length = whole(num_states, "num_states"), whole(length, "length")
        self.coupling = finite(coupling, "coupling", MAX_COUPLING)
        self.periodic = bool(periodic) and length > 1
        weights = torch.full((states, states), -self.coupling, dtype=torch.float64).fill_diagonal_(0.0)
        uniform = torch.full((states,), 1.0 / states, dtype=torch.float64)
        self.line = MarkovChain(uniform, weights.softmax(-1), length)
        super().__init__(StateSpace(states, length), validate_args=validate_args)

    @property
    def num_states(self) -> int:
        """K."""
        return self.space.vocab_size

    @cached_property
    def _powers(self) -> Powers:
        return potts_powers(self.num_states, self.coupling, self.space.length)

    @property
    def _log_return(self) -> float:
        """log trace P^L: the ring's total over its transitions (0 on the line)."""
        return math.log(self.num_states * float(self._powers.same[-1])) if self.periodic else 0.0

    @property
    def _device(self) -> torch.device:
        return self.line.initial.device

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), (..., L) -> (...,), float64."""
        rows, inside, shape = self._rows(value)
        log_step = self.line.transition.log()
        if self.periodic:
            log_probs = log_step[rows, rows.roll(-1, -1)].sum(-1) - self._log_return
        else:
            log_probs = self.line.log_prob(rows)
        return log_probs.masked_fill(~inside, -torch.inf).reshape(shape)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Independent draws, (*sample_shape, *batch, L)."""
        if not self.periodic:
            return self.line.expand(self.batch_shape).sample(sample_shape)
        u = random.uniform((*sample_shape, *self.batch_shape, self.space.length), self._device)
        nothing = torch.zeros(self.space.length, self.num_states, dtype=torch.float64, device=self._device)
        x = draw(nothing, DenseTransfer(self.line.transition), True, u.reshape(-1, self.space.length))
        return x.reshape(u.shape)

    def entropy(self) -> Tensor:
        """H = -E log P, from the probability that neighbours agree; nats."""
        if not self.periodic:
            return self.line.entropy().expand(self.batch_shape)
        same, other, states = self._powers
        # A neighbour agrees through one link and the rest of the ring, L - 1 links the other way round.
        agree = same[1] * same[-2] / same[-1]
        disagree = (states - 1) * other[1] * other[-2] / same[-1]
        log_stay, log_move = same[1].log(), other[1].log() if states > 1 else same.new_zeros(())
        entropy = self._log_return - self.space.length * (agree * log_stay + disagree * log_move)
        return entropy.expand(self.batch_shape)

    def posterior(self, log_evidence: Tensor) -> Tensor:
        """Log marginals given unary evidence: O(L K^2) a row on the line, O(L K^3) on the ring."""
        if not self.periodic:
            return self.line.posterior(log_evidence)
        rows, shape = self._evidence(log_evidence)
        marginals, _ = ring_marginals(rows, DenseTransfer(self.line.transition.to(rows.device)))
        return normalize(marginals, self.space).reshape(*shape, *rows.shape[1:])

    def log_evidence(self, log_likelihood: Tensor) -> Tensor:
        """log sum_x P(x) prod_l exp(log_likelihood[l, x_l]), (..., L, K) -> (...,): a likelihood that is a product."""
        if not self.periodic:
            return self.line.log_evidence(log_likelihood)
        rows, shape = self._evidence(log_likelihood)
        _, totals = ring_marginals(rows, DenseTransfer(self.line.transition.to(rows.device)))
        return (totals - self._log_return).reshape(shape)

    def information_curve(self) -> Tensor:
        """Hbar(n) = (1/L) sum_i E_W H(X_i | X_W), W uniform of size n among the other sites; (L,), n = 0 .. L-1.

        Every masked sampler's factorisation error is a combination of its values (Li and Cai, arXiv 2505.21400).
        """
        curve = ring_curve if self.periodic else line_curve
        return curve(self._powers, self.space.length)

    def total_mutual_information(self) -> Tensor:
        """sum_i I(X_i; X_others) = L (Hbar(0) - Hbar(L-1)), nats."""
        curve = self.information_curve()
        return self.space.length * (curve[0] - curve[-1])

    def total_correlation(self) -> Tensor:
        """sum_i H(X_i) - H(X) = L Hbar(0) - sum_n Hbar(n), nats."""
        return self.space.length * math.log(self.num_states) - self.entropy()

    def __repr__(self) -> str:
        return f"PottsChain({self.space}, coupling={self.coupling}, periodic={self.periodic})"
