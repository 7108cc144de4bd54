"""Importance-weighted draws: what a guide says, corrected by the model, with how far to trust it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddm_pyro.infer.auto.elbo import choose
from ddm_pyro.infer.auto.traces import Program, particles

#: Particles that are run together.
CHUNK = 1000


@dataclass(frozen=True)
class Weighted:
    """Draws with log-weights log p(x, data) - log q(x), whose mean weight estimates Z = p(data) without bias.

    Attributes:
        samples: name -> (n, *shape).
        log_weights: (n,) float64, not normalised.

    Example:
        >>> draws = Weighted({"x": torch.tensor([0, 1])}, torch.tensor([0.0, 2.0]).double().log())
        >>> round(draws.log_evidence, 6), draws.ess, draws.mean("x").item()
        (0.0, 1.0, 1.0)
    """

    samples: Mapping[str, Tensor]
    log_weights: Tensor

    @property
    def weights(self) -> Tensor:
        """Weights that sum to one, (n,)."""
        return self.log_weights.softmax(0)

    @property
    def log_evidence(self) -> float:
        """log Z: the log of the mean weight, nats."""
        return float(torch.logsumexp(self.log_weights, 0)) - math.log(len(self.log_weights))

    @property
    def stderr(self) -> float:
        """Standard error of ``log_evidence``: standard deviation of the weights over their mean and sqrt(n).

        It is seen from the draws alone: a mode that the guide never visits is missing from it.
        """
        relative = self.weights * len(self.log_weights)
        return float(relative.std() / math.sqrt(len(relative)))

    @property
    def elbo(self) -> float:
        """Mean log-weight, nats; log Z minus it estimates KL(q || p) over paths."""
        return float(self.log_weights.mean())

    @property
    def ess(self) -> float:
        """Effective number of draws, (sum w)^2 / sum w^2, between 1 and n."""
        return float(1.0 / self.weights.square().sum())

    @property
    def ess_fraction(self) -> float:
        """``ess`` / n."""
        return self.ess / len(self.log_weights)

    def mean(self, name: str) -> Tensor:
        """Posterior mean of a site's values, self-normalised, of the site's shape, float64."""
        values = self.samples[name].double()
        return torch.tensordot(self.weights.to(values.device), values, dims=1)

    def resample(self, n: int | None = None) -> dict[str, Tensor]:
        """n draws of equal weight, by systematic resampling in random order; default as many as there are."""
        size = len(self.log_weights) if n is None else n
        cdf = self.weights.cumsum(0)
        u = (torch.arange(size, device=cdf.device) + torch.rand((), dtype=cdf.dtype, device=cdf.device)) / size
        index = torch.searchsorted(cdf, u * cdf[-1]).clamp(max=len(cdf) - 1)
        index = index[torch.randperm(size, device=cdf.device)]
        return {name: values[index] for name, values in self.samples.items()}


def weigh(
    model: Callable[..., Any], guide: Callable[..., Any], num_samples: int, *args: Any, **kwargs: Any
) -> Weighted:
    """Importance sampling of a model with a guide: draws of the model's latent sites, and their weights.

    For guides with a joint density on an auxiliary site, as those of ``AutoDiscreteDiffusion`` and lists of them with
    continuous guides.

    Args:
        model, guide: Pyro programs on the same arguments.
        num_samples: n, at least 2.
        *args, **kwargs: of the model and guide.

    Raises:
        ValueError: n below 2, a latent site without a guide, or every weight zero.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model():
        ...     x = pyro.sample("x", dist.Bernoulli(0.5))
        ...     pyro.sample("y", dist.Bernoulli(0.2 + 0.6 * x), obs=torch.tensor(1.0))
        >>> def guide():
        ...     pyro.sample("x", dist.Bernoulli(0.8))
        >>> draws = weigh(model, guide, 100)
        >>> round(draws.log_evidence, 5), round(draws.stderr, 5)  # p(y = 1) = 1/2, and the guide is the posterior
        (-0.69315, 0.0)
    """
    if isinstance(num_samples, bool) or int(num_samples) != num_samples or num_samples < 2:
        raise ValueError(f"num_samples={num_samples!r} must be a whole number of at least 2.")
    program = Program(model, guide, args, kwargs).inspected()
    mode = choose(program)
    log_weights, draws = [], []
    with torch.no_grad():
        for size in _chunks(num_samples):
            for log_model, trace, dim in program.draw(size, mode):
                log_weights.append(particles(log_model, trace, dim).log_weight)
                together = dim is not None
                values = {name: trace.nodes[name]["value"].unsqueeze(0) for name in program.latent}
                draws.append(program.one_by_one(trace, size) if together else values)
    total = torch.cat(log_weights)
    if not bool((total > -torch.inf).any()):
        raise ValueError(f"All {num_samples} draws of the guide have probability zero under the model.")
    return Weighted({name: torch.cat([draw[name] for draw in draws]) for name in program.latent}, total)


def _chunks(n: int) -> list[int]:
    return [CHUNK] * (n // CHUNK) + ([n % CHUNK] if n % CHUNK else [])
