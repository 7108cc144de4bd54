"""A reverse process as the Markov chain it is: a start, kernels, and the forward kernels that undo them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ddm_pyro.distributions import TokenLaw
from ddm_pyro.infer.plans import MAX_SEQUENCES
from ddm_pyro.infer.reverse import Reverse
from ddm_pyro.infer.rows import by_chunks, check_rows
from ddm_pyro.infer.stack import refuse_silent_enumeration
from ddm_pyro.samplers.thinning import RateSampler
from ddm_pyro.sampling.loop import denoise_law


@dataclass(frozen=True, eq=False)
class Chain:
    """The states at ``times`` and the kernels between them, the final denoising being one more.

    Attributes:
        reverse: the reverse process, of one sampler.
        kernels: how many; kernel k leads from state k to state k + 1, and the last one to the data.
    """

    reverse: Reverse
    kernels: int

    @classmethod
    def of(cls, reverse: Reverse) -> Chain:
        """Raises ValueError for a predictor with correctors."""
        if len(reverse.samplers) > 1:
            raise ValueError(
                f"{list(reverse.samplers)} takes several steps a time; a chain of named states needs one sampler. "
                "Use DiffusionPrior(..., density='exact')."
            )
        return cls(reverse, len(reverse.times) - 1 + reverse.denoise)

    def start(self) -> TorchDistribution:
        """The law of state 0, the process's prior, on the device of the model."""
        with self.reverse.device:
            return self.reverse.process.prior()

    def step(self, x: Tensor, k: int) -> StepLaw:
        """The law of state k + 1 given state k = x, (..., L)."""
        return StepLaw(self, x, k)

    def noising(self, x: Tensor, k: int) -> TorchDistribution:
        """The forward law of state k given state k + 1 = x."""
        if k == 0 and self.reverse.process.is_masked:  # all masks, also where alpha(1) > 0: there the chain starts
            return self.start().expand(x.shape[:-1])
        return self.reverse.process.transition(x, self._clock(k + 1), self._clock(k), validate_args=False)

    def forbids(self, states: Sequence[Tensor]) -> bool:
        """Whether a token stays where the sampler surely leaves, as a clipped Euler step does, whatever the model says.

        States from noise to data.
        """
        sampler, times = self.reverse.sampler, self.reverse.times
        if not isinstance(sampler, RateSampler):
            return False
        for k, (t, s) in enumerate(pairwise(times.unbind())):
            jump = sampler.leave((t - s) * self.reverse.model.reverse_rate(states[k], t).sum(-1))
            if bool(((jump >= 1.0) & (states[k + 1] == states[k])).any()):
                return True
        return False

    def _clock(self, k: int) -> Tensor:
        """Time of state k for the forward kernels."""
        times = self.reverse.times
        if k == self.kernels:
            return torch.zeros_like(times[0])
        # State N before a final denoising may sit at time 0 and still hold noise: the forward kernel must reach it.
        if k == len(times) - 1 and self.reverse.denoise:
            return torch.where(times[k] > 0, times[k], times[k - 1] / 2)
        return times[k]


class StepLaw(TokenLaw):
    """One kernel of a chain, for a batch of any shape.

    Args:
        chain: the chain.
        x: (..., L) the state before.
        k: which kernel.

    Raises:
        ValueError: conditions of the model that do not fit the batch.
    """

    def __init__(self, chain: Chain, x: Tensor, k: int, validate_args: bool | None = None) -> None:
        self.chain, self.x, self.k = chain, x.long(), k
        #: Type of the draws, for sites whose values are not whole numbers.
        self.dtype = torch.int64
        self.space = chain.reverse.space if k == chain.kernels - 1 else chain.reverse.process.space
        super().__init__(x.shape[:-1], x.shape[-1:], validate_args=validate_args)

    @property
    def _device(self) -> torch.device:
        return self.x.device

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override, unused-ignore]
        """Whether there are few sequences."""
        return not self.space.is_countable and self.space.num_states <= MAX_SEQUENCES

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> StepLaw:
        """The same law for a larger batch."""
        new = super().expand(batch_shape, _instance)
        new.x = self.x.expand(new.batch_shape + self.event_shape)
        return new

    def __call__(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """A draw, as ``pyro.sample`` asks for it."""
        refuse_silent_enumeration(self)
        return self.sample(sample_shape)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws, (*sample_shape, *batch, L)."""
        x = self.x.expand(*sample_shape, *self.x.shape)
        flat = x.reshape(-1, x.shape[-1])
        check_rows(self.chain.reverse.model, x.shape[:-1])
        with torch.no_grad():
            drawn = by_chunks(lambda part: self._rows(part, flat).sample(), len(flat), x.device)
        return drawn.reshape(x.shape).to(self.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """log-probability, (..., L) -> (...,) float64."""
        if self._validate_args:
            self._validate_sample(value)
        value, x = torch.broadcast_tensors(value.long(), self.x)
        check_rows(self.chain.reverse.model, x.shape[:-1])
        flat, values = x.reshape(-1, x.shape[-1]), value.reshape(-1, x.shape[-1])
        scored = by_chunks(lambda part: self._rows(part, flat).log_prob(values[part]), len(flat), x.device)
        return scored.reshape(x.shape[:-1])

    def _rows(self, part: Tensor, x: Tensor) -> TorchDistribution:
        reverse, x = self.chain.reverse, x[part]
        model = reverse.rows(part).model
        if self.k == len(reverse.times) - 1:
            return denoise_law(model, x, reverse.times[-1])
        return reverse.sampler.step(model, x, reverse.times[self.k], reverse.times[self.k + 1])
