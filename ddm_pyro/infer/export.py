"""What an inference returns: weighted draws, how good they are, and the way out to other tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ddm_pyro.infer.resampling import effective_sample_size, log_mean_exp, normalized, systematic, take


@dataclass(frozen=True)
class SMCDiagnostics:
    """How a run went.

    Attributes:
        ess: (moves, *groups), effective sample size before each move, twists included.
        resampled: (moves, *groups), where particles were resampled before the move.
        unique_ancestors: (*groups), how many of the first particles have descendants in the end.
        twist: the twist that was used.
    """

    ess: Tensor
    resampled: Tensor
    unique_ancestors: Tensor
    twist: str

    @property
    def num_resamplings(self) -> Tensor:
        """How often each group was resampled, (*groups,)."""
        return self.resampled.sum(0)


@dataclass(frozen=True)
class WeightedPosterior:
    """Weighted draws from a posterior. Groups are the elements of the plates that the whole program lies in.

    Attributes:
        samples: site -> (P, *batch, *event), other latent sites included.
        log_weights: (P, *groups) float64; their mean estimates the evidence without bias.
        batch_weights: site -> shape that weights take to broadcast to its batch, (P, *batch with ones).
        diagnostics: of the run.

    Example:
        >>> draws = WeightedPosterior({"x": torch.tensor([[0], [1]])}, torch.tensor([0.0, 0.0]), {"x": (2,)}, None)
        >>> draws.ess.item(), draws.mean("x").tolist()
        (2.0, [0.5])
    """

    samples: Mapping[str, Tensor]
    log_weights: Tensor
    batch_weights: Mapping[str, tuple[int, ...]]
    diagnostics: SMCDiagnostics | None = None

    @property
    def log_evidence(self) -> Tensor:
        """log of the estimated P(observed), (*groups,); the estimate itself, not its log, is unbiased."""
        return log_mean_exp(self.log_weights)

    @property
    def ess(self) -> Tensor:
        """Effective sample size of the final weights, (*groups,)."""
        return effective_sample_size(self.log_weights)

    @property
    def weights(self) -> Tensor:
        """Weights that sum to one over particles, (P, *groups)."""
        return normalized(self.log_weights)

    def mean(self, name: str, function: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
        """Posterior mean of ``function(samples[name])``, which keeps (P, *batch) in front.

        Raises:
            ValueError: a site that was not inferred.
        """
        values = function(_known(self.samples, name)).double()
        weights = self.weights.reshape(self.batch_weights[name])
        return (weights.reshape(*weights.shape, *(1,) * (values.dim() - weights.dim())) * values).sum(0)

    def probabilities(self, name: str, num_tokens: int | None = None) -> Tensor:
        """Posterior law of every token of a diffusion site, (*batch, L, V)."""
        size = int(_known(self.samples, name).max()) + 1 if num_tokens is None else num_tokens
        return self.mean(name, lambda x: torch.nn.functional.one_hot(x, size))

    def resample(self) -> dict[str, Tensor]:
        """As many equally weighted draws by systematic resampling, site -> (P, *batch, *event)."""
        ancestors = systematic(self.log_weights)
        return {n: take(v, ancestors.reshape(self.batch_weights[n])) for n, v in self.samples.items()}

    def to_dict(self, *, weighted: bool = False) -> dict[str, Tensor]:
        """Equally weighted draws with a leading chain dimension of one, as ArviZ's ``from_dict`` takes them.

        With ``weighted`` the draws stay as they are and "log_weights" is added.
        """
        draws = {**self.samples, "log_weights": self.log_weights} if weighted else self.resample()
        return {name: value.unsqueeze(0).cpu() for name, value in draws.items()}

    def to_arviz(self) -> Any:
        """Equally weighted draws as ArviZ's inference data. Raises ImportError when ArviZ is not installed."""
        return _to_arviz(self.to_dict())


@dataclass(frozen=True)
class ChainDraws:
    """Draws of Markov chains run side by side.

    Attributes:
        samples: site -> (chains, draws, *batch, *event).
        acceptance: share of accepted moves, (*groups,).

    Example:
        >>> draws = ChainDraws({"x": torch.tensor([[[0], [1]]])}, torch.tensor(1.0))
        >>> draws.mean("x").tolist(), draws.to_dict()["x"].shape
        ([0.5], torch.Size([1, 2, 1]))
    """

    samples: Mapping[str, Tensor]
    acceptance: Tensor

    def mean(self, name: str, function: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
        """Mean of ``function(samples[name])`` over chains and draws. Raises ValueError for an unknown site."""
        return function(_known(self.samples, name)).double().mean((0, 1))

    def probabilities(self, name: str, num_tokens: int | None = None) -> Tensor:
        """Law of every token of a diffusion site, (*batch, L, V)."""
        x = _known(self.samples, name)
        size = int(x.max()) + 1 if num_tokens is None else num_tokens
        return self.mean(name, lambda tokens: torch.nn.functional.one_hot(tokens, size))

    def to_dict(self) -> dict[str, Tensor]:
        """Draws as ArviZ's ``from_dict`` takes them, (chain, draw, ...)."""
        return {name: value.cpu() for name, value in self.samples.items()}

    def to_arviz(self) -> Any:
        """The draws as ArviZ's inference data. Raises ImportError when ArviZ is not installed."""
        return _to_arviz(self.to_dict())


def _known(samples: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in samples:
        raise ValueError(f"{name!r} is no inferred site; there are {', '.join(samples)}.")
    return samples[name]


def _to_arviz(draws: Mapping[str, Tensor]) -> Any:
    try:
        arviz = import_module("arviz")
    except ImportError as error:
        raise ImportError("to_arviz() needs ArviZ: pip install arviz; or take to_dict().") from error
    return arviz.from_dict(posterior={name: value.numpy() for name, value in draws.items()})
