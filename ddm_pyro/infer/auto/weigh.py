"""Importance sampling of a program with its guide: what the guide says, corrected by the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ddm_pyro.infer.auto.elbo import choose
from ddm_pyro.infer.auto.traces import Program, particles
from ddm_pyro.infer.draws import WeightedPosterior

#: Particles that are run together.
CHUNK = 1000


def weigh(
    model: Callable[..., Any], guide: Callable[..., Any], num_samples: int, *args: Any, **kwargs: Any
) -> WeightedPosterior:
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
        >>> round(draws.log_evidence.item(), 5), round(draws.stderr.item(), 5)  # log(1/2): the guide is the posterior
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
    return WeightedPosterior({name: torch.cat([draw[name] for draw in draws]) for name in program.latent}, total)


def _chunks(n: int) -> list[int]:
    return [CHUNK] * (n // CHUNK) + ([n % CHUNK] if n % CHUNK else [])
