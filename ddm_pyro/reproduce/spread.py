"""A law whose tokens come in classes: any vocabulary, the same dependence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets.base import Target


class Spread(Target):
    """Each token of a small law is split evenly into ``copies`` tokens: token v belongs to class v // copies.

    Noise that treats tokens alike never looks into a class, so the process of classes is the small law's own (it is
    lumpable), and a wrong law of classes makes the same error at every vocabulary.

    Args:
        small: the law of classes, with an information curve.
        copies: tokens a class, at least 1.

    Example:
        >>> from ddm_pyro.targets import PottsChain
        >>> law = Spread(PottsChain(num_states=2, length=2, coupling=1.0), copies=3)
        >>> law.space.vocab_size, round(law.log_prob(torch.tensor([[0, 5], [2, 1]])).exp().sum().item() * 9, 6)
        (6, 0.5)
    """

    def __init__(self, small: Any, copies: int, validate_args: bool | None = None) -> None:
        self.small, self.copies = small, copies
        space = StateSpace(small.space.vocab_size * copies, small.space.length)
        super().__init__(space, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(classes) - L log copies."""
        rows, inside, shape = self._rows(value)
        log_probs = self.small.log_prob(rows // self.copies) - self.space.length * math.log(self.copies)
        return log_probs.masked_fill(~inside, -torch.inf).reshape(shape)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Classes, and a token of each."""
        classes = self.small.sample(sample_shape)
        return classes * self.copies + (random.uniform(classes.shape, classes.device) * self.copies).long()

    def entropy(self) -> Tensor:
        """H(classes) + L log copies."""
        entropy: Tensor = self.small.entropy()
        return entropy + self.space.length * math.log(self.copies)

    def information_curve(self) -> Tensor:
        """That of the classes plus log copies."""
        curve: Tensor = self.small.information_curve()
        return curve + math.log(self.copies)

    def posterior(self, log_evidence: Tensor) -> Tensor:
        """Posterior of the classes given their evidence, then of the token within its class."""
        rows, shape = self._evidence(log_evidence)
        within = rows.unflatten(-1, (-1, self.copies))
        evidence = within.logsumexp(-1)
        classes = self.small.posterior(evidence - math.log(self.copies))
        impossible = evidence == -torch.inf
        inside = within - torch.where(impossible, 0.0, evidence).unsqueeze(-1)
        table = classes.unsqueeze(-1) + inside
        return table.flatten(-2).reshape(*shape, *rows.shape[-2:])
