"""What an inference returns: weighted draws, how good they are, and the way out to other tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.infer.resampling import effective_sample_size, log_mean_exp, normalized, systematic, take


@dataclass(frozen=True)
class SMCDiagnostics:
    """How a run went.

    Attributes:
        ess: (moves, *groups), effective sample size before each move, twists included.
        resampled: (moves, *groups), where particles were resampled before the move.
        roots: (P, *groups) int64, the first ancestor of each final particle.
        twist: the twist that was used.
    """

    ess: Tensor
    resampled: Tensor
    roots: Tensor
    twist: str

    @property
    def num_resamplings(self) -> Tensor:
        """How often each group was resampled, (*groups,)."""
        return self.resampled.sum(0)

    @property
    def unique_ancestors(self) -> Tensor:
        """How many of the first particles have descendants in the end, (*groups,)."""
        ordered = self.roots.sort(0).values
        return 1 + (ordered[1:] != ordered[:-1]).sum(0)


@dataclass(frozen=True)
class WeightedPosterior:
    """Draws with weights log p(x, observed) - log q(x), whose mean weight estimates p(observed) without bias.

    Groups are the elements of the plates that the whole program lies in and that are weighed each on its own; there
    are none, (), where every draw has one weight.

    Attributes:
        samples: site -> (P, *batch, *event), other latent sites included.
        log_weights: (P, *groups) float64, not normalized.
        batch_weights: site -> shape that weights take to broadcast to its batch, (P, *batch with ones); without
            groups none is needed.
        diagnostics: of a sequential run.

    Example:
        >>> draws = WeightedPosterior({"x": torch.tensor([[0], [1]])}, torch.tensor([0.0, 2.0]).double().log())
        >>> draws.log_evidence.item(), draws.ess.item(), draws.mean("x").tolist()
        (0.0, 1.0, [1.0])
    """

    samples: Mapping[str, Tensor]
    log_weights: Tensor
    batch_weights: Mapping[str, tuple[int, ...]] | None = None
    diagnostics: SMCDiagnostics | None = None

    @property
    def log_evidence(self) -> Tensor:
        """log of the estimated P(observed), nats, (*groups,); the estimate itself, not its log, is unbiased."""
        return log_mean_exp(self.log_weights)

    @property
    def stderr(self) -> Tensor:
        """Standard error of ``log_evidence`` from this one run, (*groups,); NaN for a single draw.

        With F_k the share of the total weight that descends from the first particle k, sqrt(sum_k (F_k - 1/P)^2
        P / (P - 1)) (Chan and Lai, arXiv 1309.2918): for independent draws the standard deviation of the weights over
        their mean and sqrt(P), and 1 where all descend from one particle. It is seen from the draws alone: a mode that
        none of them is in is missing from it.
        """
        families, count = self.weights, len(self.log_weights)
        if self.diagnostics is not None:
            families = torch.zeros_like(families).scatter_add(0, self.diagnostics.roots, families)
        return (families.var(0, correction=0) * count**2 / torch.tensor(count - 1.0).double()).sqrt()

    @property
    def elbo(self) -> Tensor:
        """Mean log-weight, nats, (*groups,), a lower bound on log P(observed) in the mean.

        The bound's gap is KL(q || p) over all that was drawn.
        """
        return self.log_weights.mean(0)

    @property
    def ess(self) -> Tensor:
        """Effective sample size of the final weights, (sum w)^2 / sum w^2, between 1 and P, (*groups,).

        After resampling draws have ancestors in common, which it does not see and ``stderr`` does.
        """
        return effective_sample_size(self.log_weights)

    @property
    def ess_fraction(self) -> Tensor:
        """``ess`` / P, (*groups,)."""
        return self.ess / len(self.log_weights)

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
        weights = self._for_batch(self.weights, name)
        return (weights.reshape(*weights.shape, *(1,) * (values.dim() - weights.dim())) * values).sum(0)

    def probabilities(self, name: str, num_tokens: int | None = None) -> Tensor:
        """Posterior law of every token of a diffusion site, (*batch, L, V)."""
        size = _count_tokens(_known(self.samples, name), num_tokens)
        return self.mean(name, lambda x: torch.nn.functional.one_hot(x, size))

    def resample(self, n: int | None = None) -> dict[str, Tensor]:
        """n draws of equal weight, by systematic resampling in random order: site -> (n, *batch, *event); default P.

        Raises:
            ValueError: n below 1.
        """
        if n is not None and (isinstance(n, bool) or n != int(n) or n < 1):
            raise ValueError(f"n={n!r} draws were asked for; it must be a whole number of at least 1.")
        ancestors = systematic(self.log_weights, n)
        order = random.uniform((len(ancestors),), ancestors.device).argsort()
        return {name: take(v, self._for_batch(ancestors[order], name)) for name, v in self.samples.items()}

    def to_dict(self, *, weighted: bool = False) -> dict[str, Tensor]:
        """Equally weighted draws with a leading chain dimension of one, as ArviZ takes them.

        With ``weighted`` the draws stay as they are and "log_weights" is added.
        """
        draws = {**self.samples, "log_weights": self.log_weights} if weighted else self.resample()
        return {name: value.unsqueeze(0).cpu() for name, value in draws.items()}

    def to_arviz(self) -> Any:
        """Equally weighted draws as ArviZ's inference data. Raises ImportError when ArviZ is not installed."""
        return _to_arviz(self.to_dict())

    def _for_batch(self, values: Tensor, name: str) -> Tensor:
        """(n, *groups) in the shape that broadcasts to a site's (n, *batch)."""
        return values if self.batch_weights is None else values.reshape(len(values), *self.batch_weights[name][1:])


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
        size = _count_tokens(_known(self.samples, name), num_tokens)
        return self.mean(name, lambda tokens: torch.nn.functional.one_hot(tokens, size))

    def to_dict(self) -> dict[str, Tensor]:
        """Draws as ArviZ takes them, (chain, draw, ...)."""
        return {name: value.cpu() for name, value in self.samples.items()}

    def to_arviz(self) -> Any:
        """The draws as ArviZ's inference data. Raises ImportError when ArviZ is not installed."""
        return _to_arviz(self.to_dict())


def _known(samples: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in samples:
        raise ValueError(f"{name!r} is no inferred site; there are {', '.join(samples)}.")
    return samples[name]


def _count_tokens(x: Tensor, given: int | None) -> int:
    needed = int(x.max()) + 1
    if given is not None and given < needed:
        raise ValueError(f"num_tokens={given} is too few: the draws hold the token {needed - 1}.")
    return needed if given is None else given


def _to_arviz(draws: Mapping[str, Tensor]) -> Any:
    try:
        arviz = import_module("arviz")
    except ImportError as error:
        raise ImportError("to_arviz() needs ArviZ: pip install arviz; or take to_dict().") from error
    posterior = {name: value.numpy() for name, value in draws.items()}
    if "posterior" in signature(arviz.from_dict).parameters:  # ArviZ 0.x
        return arviz.from_dict(posterior=posterior)
    return arviz.from_dict({"posterior": posterior})
