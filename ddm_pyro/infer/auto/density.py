"""Neural samplers from unnormalised densities: the guides' machinery with a function instead of a Pyro model."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ddm_pyro import random
from ddm_pyro.arrays import has_data
from ddm_pyro.infer.auto.families import Family
from ddm_pyro.infer.auto.making import FamilyName, check_family, make_family
from ddm_pyro.infer.auto.objectives import Objective, Particles, check_objective, loss_value, surrogate_loss
from ddm_pyro.infer.draws import WeightedPosterior
from ddm_pyro.progress import Report, progress_bar
from ddm_pyro.spaces import StateSpace

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization

LogDensity = Callable[[Tensor], Tensor]

#: Sequences drawn and weighed at once.
CHUNK = 1000
#: Share of the training over which the learning rate rises from zero; then it falls along a half cosine.
WARMUP = 0.02
#: Largest norm of a gradient step: a single particle of great weight must not undo what was learned.
MAX_NORM = 1.0


@dataclass(frozen=True)
class DensitySampler:
    """A trained sampler of the law proportional to exp(log_density), with weights that make it exact.

    Attributes:
        family: the Family, a diffusion of tokens.
        log_density: tokens (n, L) int64 -> (n,).
        losses: the objective a step.
    """

    family: Family
    log_density: LogDensity
    losses: list[float] = field(default_factory=list, repr=False)

    @property
    def space(self) -> StateSpace:
        """The tokens' space."""
        return self.family.space

    def sample(self, n: int, *, seed: int | None = None) -> Tensor:
        """Draws of the sampler, (n, L) int64, not reweighted; ``weigh(n).resample()`` is."""
        return torch.cat([self.family.tokens(path) for path in self._paths(n, seed)])

    def weigh(self, n: int, *, seed: int | None = None) -> WeightedPosterior:
        """n weighted draws, ``samples["x"]``: log Z with its standard error, ESS, expectations.

        The standard error is seen from the draws alone: a mode that the sampler never visits is missing from it.

        Raises:
            ValueError: every draw has density zero.
        """
        draws, log_weights = [], []
        with torch.no_grad():
            for path in self._paths(n, seed):
                x = self.family.tokens(path)
                draws.append(x)
                log_weights.append(evaluate(self.log_density, x) - self.family.log_density(path))
        total = torch.cat(log_weights)
        if not bool((total > -torch.inf).any()):
            raise ValueError(f"All {n} draws have density zero.")
        return WeightedPosterior({"x": torch.cat(draws)}, total)

    def denoiser(self) -> Parameterization:
        """The learned reverse process as a model of the package, to be run by any of its samplers."""
        return self.family.denoiser()

    def _paths(self, n: int, seed: int | None) -> list[Tensor]:
        if isinstance(n, bool) or int(n) != n or n < 1:
            raise ValueError(f"n={n!r} must be a whole number of at least 1.")
        rows = [range(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]
        paths = []
        for chunk in rows:
            with random.indexed(seed, chunk, self.family.device):
                paths.append(self.family.sample(len(chunk)))
        return paths


def fit_density(
    log_density: LogDensity,
    space: StateSpace,
    *,
    network: nn.Module | Callable[[StateSpace], nn.Module] | None = None,
    objective: Objective = "rloo",
    family: FamilyName = "masked",
    chain_steps: int | None = None,
    steps: int = 1000,
    num_particles: int = 256,
    lr: float = 3e-3,
    anneal: float = 0.25,
    seed: int | None = None,
    device: torch.device | str | None = None,
    progress: bool | Report = True,
) -> DensitySampler:
    """Train a sampler of the law proportional to exp(log_density) from the density alone, without data.

    Adam on ``objective``, its learning rate raised over the first ``WARMUP`` of the steps and lowered along a half
    cosine; gradients clipped to ``MAX_NORM``.

    Args:
        log_density: tokens (n, L) int64 -> (n,), up to a constant; -inf allowed with "rws" and "wdce".
        space: a finite StateSpace without masks.
        network, objective, family: as for ``AutoDiscreteDiffusion``; ``chain_steps`` is its ``steps``.
        steps: optimiser steps.
        num_particles: draws a step.
        lr: largest learning rate.
        anneal: share of the steps over which log_density's factor rises from 0 to 1: tempering against lost modes,
            for which the losses of these steps are those of the tempered density.
        seed: fixes initialisation and draws, the global generators left as found; None uses them.
        device: where the network is made and tokens are drawn; default torch's.
        progress: a bar when stderr is a terminal; a function (steps done, loss); or False.

    Raises:
        TypeError: a space that is none.
        ValueError: a countable or masked space, settings out of range, a density of another shape than (n,), or that is
            NaN or inf, a draw of density zero with "rloo".

    Example:
        >>> import ddm_pyro as ddm
        >>> grid = ddm.targets.IsingGrid(2, 2, beta=0.5)
        >>> sampler = fit_density(grid.log_prob, grid.space, steps=100, num_particles=64, seed=0)
        >>> draws = sampler.weigh(1000, seed=1)
        >>> bool(abs(draws.log_evidence) < 0.1), bool(draws.ess_fraction > 0.8)
        (True, True)
    """
    if not isinstance(space, StateSpace):
        raise TypeError(f"space={space!r} must be a StateSpace, such as StateSpace(sizes, length).")
    if space.is_countable or space.mask is not None:
        raise ValueError(f"space={space} must be finite and without masks; use space.box(max) or space.data.")
    check_objective(objective), check_family(family, chain_steps)
    for name, value, least in (("steps", steps, 1), ("num_particles", num_particles, 2)):
        if isinstance(value, bool) or int(value) != value or value < least:
            raise ValueError(f"{name}={value!r} must be a whole number of at least {least}.")
    if not lr > 0:
        raise ValueError(f"lr={lr!r} must be positive.")
    if not 0.0 <= anneal <= 1.0:
        raise ValueError(f"anneal={anneal!r} must be a share of the steps, between 0 and 1.")
    device = torch.get_default_device() if device is None else torch.device(device)
    bar = progress_bar(progress, steps, what="fitting")
    with random.indexed(seed, range(num_particles), device), bar as report:
        made = make_family(space, copy.deepcopy(network), family, chain_steps, device)
        optimizer = torch.optim.Adam(made.parameters(), lr=lr)
        losses = []
        for step in range(steps):
            random.reseed(step + 1)
            factor = 1.0 if anneal == 0.0 else min(1.0, (step + 1) / (anneal * steps))
            for group in optimizer.param_groups:
                group["lr"] = lr * _rate(step, steps)
            drawn = _particles(log_density, made, num_particles, objective, factor)
            surrogate = surrogate_loss(drawn, objective)
            optimizer.zero_grad()
            surrogate.backward()
            torch.nn.utils.clip_grad_norm_(made.parameters(), MAX_NORM)
            optimizer.step()
            losses.append(loss_value(drawn, objective))
            report(step + 1, losses[-1])
    return DensitySampler(made, log_density, torch.stack(losses).tolist())


def evaluate(log_density: LogDensity, x: Tensor) -> Tensor:
    """log_density(x) in float64. Raises ValueError for another shape than (n,), NaN and inf."""
    value = log_density(x)
    if not isinstance(value, Tensor) or value.shape != x.shape[:-1]:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"log_density returned {shape} for tokens of shape {tuple(x.shape)}; give one value a sequence."
        )
    value = value.double()
    bad = value.isnan() | (value == torch.inf)
    if has_data(bad) and bool(bad.any()):
        raise ValueError(
            f"log_density is {float(value[bad][0])} at the tokens {x[bad][0].tolist()}; give a number or -inf."
        )
    return value


def _particles(log_density: LogDensity, family: Family, n: int, objective: Objective, factor: float) -> Particles:
    path = family.sample(n)
    x = family.tokens(path)
    with torch.no_grad():
        log_model = factor * evaluate(log_density, x)
        log_guide = family.log_density(path) if objective == "wdce" else None
    score = -family.denoising(x) if log_guide is not None else family.log_density(path)
    return Particles(log_model, score.detach() if log_guide is None else log_guide, score, torch.zeros_like(log_model))


def _rate(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / (WARMUP * steps)) * 0.5 * (1.0 + math.cos(math.pi * step / steps))
