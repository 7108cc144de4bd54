"""What a guide is trained on: surrogates whose gradients are those of a divergence, from weighted particles."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ddm_pyro.arrays import has_data

Objective = Literal["rloo", "rws", "wdce"]


@dataclass(frozen=True)
class Particles:
    """N particles of a model and a guide, everything (N,) float64.

    Attributes:
        log_model: log p, differentiable in the model's parameters and through reparameterised values.
        log_guide: log q of everything the guide drew; its gradient is not used.
        score: the part of log q that is not reparameterised, differentiable (for "wdce" an estimate of it).
        log_rest: the other part of log q, differentiable.
    """

    log_model: Tensor
    log_guide: Tensor
    score: Tensor
    log_rest: Tensor

    @property
    def log_weight(self) -> Tensor:
        """log p - log q, without gradient."""
        return (self.log_model - self.log_guide).detach()

    def tempered(self, factor: float) -> Particles:
        """The particles of a model whose log p is multiplied by ``factor``."""
        return self if factor == 1.0 else replace(self, log_model=factor * self.log_model)


def check_objective(objective: str) -> Objective:
    """Return the objective, or raise ValueError with the ones there are."""
    if objective not in get_args(Objective):
        raise ValueError(f"objective={objective!r} must be one of {', '.join(map(repr, get_args(Objective)))}.")
    return objective  # type: ignore[return-value]


def leave_one_out(log_weight: Tensor) -> Tensor:
    """log w_i minus the mean of the others, (N,); log w itself for a single particle.

    Example:
        >>> leave_one_out(torch.tensor([1.0, 2.0, 6.0]))
        tensor([-3.0000, -1.5000,  4.5000])
    """
    n = len(log_weight)
    return log_weight if n == 1 else (log_weight - log_weight.mean()) * n / (n - 1)


def reinforce(particles: Particles) -> Tensor:
    """-ELBO's surrogate: score function with the mean of the other particles as baseline (Kool et al. 2019, RLOO).

    Its gradient has the gradient of -E[log w] as mean, for any N >= 1: leaving out a particle's own weight keeps the
    baseline independent of it. A score function's own expected gradient is zero and is left out.

    Raises:
        ValueError: a particle to which the model gives probability zero.
    """
    log_weight = particles.log_weight
    if has_data(log_weight) and not bool(log_weight.isfinite().all()):
        if not bool(particles.log_guide.isfinite().all()):
            raise ValueError("The guide gives its own particle no finite density: its network returns NaN or infinity.")
        raise ValueError(
            "The model gives a particle probability zero (or NaN), so the ELBO is not finite; train with "
            "objective='rws', or put a finite penalty where the model forbids states."
        )
    advantage = leave_one_out(log_weight)
    return -(advantage * particles.score + particles.log_model - particles.log_rest).mean()


def wake(particles: Particles, *, denoise: bool = False) -> Tensor:
    """Reweighted wake-sleep's surrogate (Bornschein and Bengio 2015): self-normalised E_p[-log q], and -E_p[log p].

    The gradient estimates that of KL(p || q) for the guide and of -log Z for the model, with a bias of order 1/N.
    The values of the particles must be detached. The mean of grad log q, zero under q, is subtracted: the closer the
    guide, the less noise is left. An estimate of log q by denoising (``denoise``) lacks this mean, and the correction.
    """
    weight = particles.log_weight.softmax(0)
    centered = weight if denoise else weight - 1.0 / len(weight)
    # A particle of weight zero may have log p = -inf, and says nothing.
    log_model = torch.where(weight > 0, particles.log_model, 0.0)
    return -(centered * (particles.score + particles.log_rest) + weight * log_model).sum()


def surrogate_loss(particles: Particles, objective: Objective) -> Tensor:
    """What to differentiate for an objective."""
    return reinforce(particles) if objective == "rloo" else wake(particles, denoise=objective == "wdce")


def loss_value(particles: Particles, objective: Objective) -> Tensor:
    """What is reported: -ELBO for "rloo", -log mean w for the others; nats."""
    log_weight = particles.log_weight
    if objective == "rloo":
        return -log_weight.mean()
    return math.log(len(log_weight)) - torch.logsumexp(log_weight, 0)
