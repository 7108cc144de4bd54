"""Hidden Markov models: tokens emitted by a chain nobody sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import inverse_cdf
from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets.base import Target, normalize
from ddm_pyro.targets.checks import stochastic, whole
from ddm_pyro.targets.messages import DenseTransfer, forward_messages, line_marginals
from ddm_pyro.targets.tables import in_chunks, peaked

#: Most sequences that are listed for the entropy, which has no closed form.
LISTED = 2**16


class HiddenMarkov(Target):
    """P(x) = sum_z initial[z_0] prod_l transition_l[z_l, z_{l+1}] prod_l emission_l[z_l, x_l].

    Every answer is one sweep of transfer matrices each way, O(L K (K + V)) a row, at any length.

    Args:
        initial: (K,), the law of the first hidden state.
        transition: (K, K) for every step, or (L-1, K, K); rows sum to one.
        emission: (K, V) for every position, or (L, K, V); rows sum to one.
        length: L.

    Raises:
        ValueError: shapes that do not agree, negative or non-finite entries, rows that do not sum to one.

    Example:
        >>> model = HiddenMarkov([0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], [[1.0, 0.0], [0.5, 0.5]], length=2)
        >>> round(model.log_prob(torch.tensor([1, 1])).exp().item(), 6)
        0.1125
        >>> model.states(torch.tensor([1, 1])).tolist()
        [[0.0, 1.0], [0.0, 1.0]]
    """

    def __init__(
        self, initial: Any, transition: Any, emission: Any, length: int, *, validate_args: bool | None = None
    ) -> None:
        length = whole(length, "length")
        self.initial, self.emission = stochastic(initial, "initial"), stochastic(emission, "emission")
        states = len(self.initial)
        if self.initial.dim() != 1:
            raise ValueError(f"initial has shape {tuple(self.initial.shape)}; it lists K probabilities, shape (K,).")
        if self.emission.dim() not in (2, 3) or tuple(self.emission.shape[:-1]) not in {(states,), (length, states)}:
            raise ValueError(
                f"emission has shape {tuple(self.emission.shape)}; initial of {states} states and length={length} "
                f"need ({states}, V) or ({length}, {states}, V)."
            )
        shape = tuple(torch.as_tensor(transition).shape)
        if shape not in {(states, states), (length - 1, states, states)}:
            raise ValueError(
                f"transition has shape {shape}; initial of {states} states and length={length} need "
                f"({states}, {states}) or ({length - 1}, {states}, {states})."
            )
        self.transition = stochastic(transition, "transition") if 0 not in shape else torch.eye(states).double()
        super().__init__(StateSpace(self.emission.shape[-1], length), validate_args=validate_args)

    @classmethod
    def of(cls, law: dist.DiscreteHMM) -> HiddenMarkov:
        """Pyro's ``DiscreteHMM`` with categorical observations; it takes a transition before its first observation.

        Raises:
            ValueError: observations that are not categorical, a batch of models, an unknown duration.
        """
        emitted = law.observation_dist
        if not isinstance(emitted, torch.distributions.Categorical):
            raise ValueError(f"The observations are {type(emitted).__name__}; HiddenMarkov emits tokens, Categorical.")
        if law.batch_shape or law.duration is None:
            raise ValueError(f"{law} has batch shape {tuple(law.batch_shape)}; give one model, with its duration.")
        initial = law.initial_logits.double().softmax(-1)
        steps = law.transition_logits.double().softmax(-1).expand(law.duration, -1, -1)
        emission = emitted.logits.double().softmax(-1).expand(law.duration, steps.shape[-1], -1)
        return cls(initial @ steps[0], steps[1:], emission, law.duration)

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), (..., L) -> (...,), float64."""
        rows, inside, shape = self._rows(value)
        return self._score(rows).masked_fill(~inside, -torch.inf).reshape(shape)

    def _score(self, rows: Tensor) -> Tensor:
        local = self._local(self._emissions.log()[torch.arange(self.space.length), :, rows])
        pieces = [forward_messages(local[part], self._transfer(rows))[1] for part in self._chunks(local)]
        return torch.cat(pieces)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Independent draws, (*sample_shape, *batch, L)."""
        u = random.uniform((*sample_shape, *self.batch_shape, 2 * self.space.length), self.initial.device)
        hidden, seen = u.unflatten(-1, (2, -1)).unbind(-2)
        steps = self.transition.expand(self.space.length - 1, -1, -1) if self.transition.dim() == 2 else self.transition
        state = inverse_cdf(self.initial.expand(*hidden.shape[:-1], -1), hidden[..., 0])
        tokens = []
        for position in range(self.space.length):
            if position > 0:
                state = inverse_cdf(steps[position - 1][state], hidden[..., position])
            tokens.append(inverse_cdf(self._emissions[position][state], seen[..., position]))
        return torch.stack(tokens, -1)

    def posterior(self, log_evidence: Tensor) -> Tensor:
        """Log marginals given unary evidence, (..., L, V) -> (..., L, V)."""
        evidence, shape = self._evidence(log_evidence)
        weights, _ = peaked(evidence)
        emissions = self._emissions.to(evidence.device)
        local = torch.einsum("blv,lkv->blk", weights, emissions).log()
        hidden, _ = self._hidden(self._local(local))
        # Everything about a hidden state but its own token's evidence, up to a factor a position.
        others = peaked(torch.where(local > -torch.inf, hidden - local, -torch.inf))[0]
        tokens = torch.einsum("blk,lkv->blv", others, emissions).log() + evidence
        return normalize(tokens, self.space).reshape(*shape, *evidence.shape[1:])

    def entropy(self) -> Tensor | None:
        """H in nats by listing the sequences, None when there are more than ``LISTED``."""
        if self.space.num_states > LISTED:
            return None
        pmf = self._score(self.space.enumerate(self.initial.device)).exp()
        return torch.special.entr(pmf).sum().expand(self.batch_shape)

    def log_evidence(self, log_likelihood: Tensor) -> Tensor:
        """log sum_x P(x) prod_l exp(log_likelihood[l, x_l]), (..., L, V) -> (...,): a likelihood that is a product.

        Example:
            >>> coin = HiddenMarkov([1.0], [[1.0]], [[0.5, 0.5]], length=3)
            >>> seen = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.5, 0.5]]).log()       # the first token, and no more
            >>> round(coin.log_evidence(seen).exp().item(), 6)
            0.25
        """
        rows, shape = self._evidence(log_likelihood)
        weights, peak = peaked(rows)
        local = torch.einsum("blv,lkv->blk", weights, self._emissions.to(rows.device)).log()
        return (self._hidden(self._local(local))[1] + peak.sum((-1, -2))).reshape(shape)

    def states(self, x: Tensor) -> Tensor:
        """P(z_l = k | x), (..., L) -> (..., L, K) float64; the mask id V stands for a token not seen.

        Raises:
            ValueError: tokens off the space, a sequence of probability zero.
        """
        x = self.space.masked.check(x, "x")
        rows = x.reshape(-1, self.space.length)
        padded = torch.nn.functional.pad(self._emissions, (0, 1), value=1.0)
        hidden, log_total = self._hidden(self._local(padded.log()[torch.arange(self.space.length), :, rows]))
        if bool((log_total == -torch.inf).any()):
            bad = rows[(log_total == -torch.inf)][0].tolist()
            raise ValueError(f"x holds the sequence {bad}, which has probability zero under {self}.")
        return hidden.softmax(-1).reshape(*x.shape, -1)

    @property
    def _emissions(self) -> Tensor:
        """(L, K, V), without copying."""
        return self.emission.expand(self.space.length, -1, -1)

    def _local(self, log_emission: Tensor) -> Tensor:
        local = log_emission.clone()
        local[:, 0] += self.initial.log().to(local.device)
        return local

    def _transfer(self, like: Tensor) -> DenseTransfer:
        return DenseTransfer(self.transition.to(like.device))

    def _chunks(self, local: Tensor) -> list[slice]:
        return in_chunks(len(local), 3 * local[0].numel())

    def _hidden(self, local: Tensor) -> tuple[Tensor, Tensor]:
        pieces = [line_marginals(local[part], self._transfer(local)) for part in self._chunks(local)]
        return torch.cat([piece[0] for piece in pieces]), torch.cat([piece[1] for piece in pieces])

    def __repr__(self) -> str:
        return f"HiddenMarkov({len(self.initial)} hidden states, {self.space})"
