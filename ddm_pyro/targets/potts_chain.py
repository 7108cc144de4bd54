"""The Potts model on a line or a ring: exact in every respect, for any length."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets.base import Target, normalize
from ddm_pyro.targets.checks import finite, whole
from ddm_pyro.targets.information import line_curve, ring_curve
from ddm_pyro.targets.markov_chain import MarkovChain
from ddm_pyro.targets.messages import DenseTransfer, draw, ring_marginals

#: Largest |coupling|: exp of it, and of its square, is still a float64.
MAX_COUPLING = 300.0

#: log(1 + (K-1) lam^L) below which the information curve of a frustrated ring would keep fewer than nine digits.
MIN_LOG_RETURN = -15.0


class PottsChain(Target):
    """P(x) proportional to exp(J #{i : x_i = x_{i+1}}), on {0..K-1}^L.

    The free line is the stationary Markov chain with transition lam I + (1 - lam) 11^T / K,
    lam = (e^J - 1) / (e^J + K - 1). The ring (``periodic``) also counts x_{L-1} = x_0 (a ring of two sites thus
    counts its pair twice, a ring of one site has no pair); conditioned on x_0 it is a line again.

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

    @property
    def correlation(self) -> float:
        """lam, the second eigenvalue of the line's transition; P^n has lam^n."""
        growth, others = math.exp(-abs(self.coupling)), self.num_states - 1
        if self.coupling >= 0:
            return -math.expm1(-self.coupling) / (1 + others * growth)
        return math.expm1(self.coupling) / (growth + others) if others else 1.0

    @property
    def _log_return(self) -> float:
        """log trace P^L = log(1 + (K-1) lam^L): the ring's total over the line's transitions (0 on the line)."""
        if not self.periodic or self.num_states == 1:
            return 0.0
        length = self.space.length
        if self.num_states == 2 and self.coupling < 0 and length % 2:
            # 1 - |lam|^L: an odd ring of two repelling states is frustrated and its total cancels.
            weak = math.exp(self.coupling)
            return math.log(-math.expm1(length * (math.log1p(-weak) - math.log1p(weak))))
        return math.log1p((self.num_states - 1) * self.correlation**length)

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
        return draw(nothing, DenseTransfer(self.line.transition), True, u.reshape(-1, self.space.length)).reshape(
            u.shape
        )

    def entropy(self) -> Tensor:
        """H = -E log P, from the probability that neighbours agree; nats."""
        if not self.periodic:
            return self.line.entropy().expand(self.batch_shape)
        steps, length = self.line.transition, self.space.length
        around = torch.linalg.matrix_power(steps, length - 1).T
        pair = steps * around / math.exp(self._log_return)
        # entr(P) / P = -log P where P > 0; all entries are positive for |J| <= MAX_COUPLING.
        return (self._log_return - length * (pair * steps.log()).sum()).expand(self.batch_shape)

    def posterior(self, log_evidence: Tensor) -> Tensor:
        """Log marginals given unary evidence: O(L K^2) a row on the line, O(L K^3) on the ring."""
        if not self.periodic:
            return self.line.posterior(log_evidence)
        rows, shape = self._evidence(log_evidence)
        marginals, _ = ring_marginals(rows, DenseTransfer(self.line.transition.to(rows.device)))
        return normalize(marginals, self.space).reshape(*shape, *rows.shape[1:])

    def information_curve(self) -> Tensor:
        """Hbar(n) = (1/L) sum_i E_W H(X_i | X_W), W uniform of size n among the other sites; (L,), n = 0 .. L-1.

        Every masked sampler's factorisation error is a combination of its values (Li and Cai, arXiv 2505.21400).
        """
        if self._log_return < MIN_LOG_RETURN:
            raise ValueError(f"{self} is so frustrated that its distances cancel in float64; use a weaker coupling.")
        curve = ring_curve if self.periodic else line_curve
        return curve(self.num_states, self.space.length, self.correlation, math.exp(self._log_return))

    def total_mutual_information(self) -> Tensor:
        """sum_i I(X_i; X_others) = L (Hbar(0) - Hbar(L-1)), nats."""
        curve = self.information_curve()
        return self.space.length * (curve[0] - curve[-1])

    def total_correlation(self) -> Tensor:
        """sum_i H(X_i) - H(X) = L Hbar(0) - sum_n Hbar(n), nats."""
        return self.space.length * math.log(self.num_states) - self.entropy()

    def __repr__(self) -> str:
        return f"PottsChain({self.space}, coupling={self.coupling}, periodic={self.periodic})"
