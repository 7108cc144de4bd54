"""An ELBO a particle, right for guides that put a joint density on one auxiliary site."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from pyro import poutine
from pyro.infer import ELBO
from torch import Tensor

from ddm_pyro.infer.auto.objectives import Objective, Particles, check_objective, loss_value, surrogate_loss
from ddm_pyro.infer.auto.traces import Mode, Program, particles, total

#: Particles that a vectorised run is compared on with single runs, and draws until their values differ.
TRIAL, TRIES = 3, 20
#: How far log p may differ between runs of other shapes, absolutely and relatively.
ALONE = 1e-3


class ParticleELBO(ELBO):
    """Objectives on whole particles, for ``pyro.infer.SVI`` and for ``elbo(model, guide)`` as an nn.Module.

    Every particle has one weight log w = log p(all sites) - log q(all sites). Nothing is assumed of plates and of where
    the guide puts its density, so gradients are right for joint guides, where those of Pyro's objectives may not be
    (they drop terms by plate, or leave auxiliary sites out).

    - "rloo": -E[log w], score function with the mean of the other particles as baseline, reparameterised where the
      guide is; unbiased for any number of particles.
    - "rws": reweighted wake-sleep, KL(posterior || guide) by self-normalised weights, bias of order 1/particles.
    - "wdce": the same, with a discrete diffusion's log q estimated from one noised sequence a particle (weighted
      denoising cross-entropy): one network row with gradient instead of L. For long sequences.

    Args:
        num_particles: N.
        objective: "rloo", "rws" or "wdce".
        vectorize_particles: True puts particles in a plate to the left of all others, as in Pyro; False runs the
            program once a particle; None tries the plate, then ``torch.vmap`` over the model, on three particles each
            compared with runs of their own, and loops when both fail.
        anneal: number of gradient steps over which log p is multiplied by a factor that rises from 0 to 1. Against lost
            modes: without it, a guide of a sharply peaked law concentrates before it knows the less likely states,
            which it then draws too rarely to learn. The value reported is that of the tempered model meanwhile.
        max_plate_nesting: number of plate dimensions; found by a run when not given.

    Raises:
        ValueError: an unknown objective, N below 1 (below 2 for "rws" and "wdce"), latent sites without a guide.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model():
        ...     x = pyro.sample("x", dist.Bernoulli(0.5).expand([3]).to_event(1))
        ...     pyro.factor("agree", (x[..., 1:] == x[..., :-1]).sum(-1).double())
        >>> from ddm_pyro.infer import AutoDiscreteDiffusion
        >>> guide = AutoDiscreteDiffusion(model)
        >>> svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), loss=ParticleELBO(64))
        >>> bool(svi.step() < 3 * 0.7)
        True
    """

    def __init__(
        self,
        num_particles: int = 64,
        objective: Objective = "rloo",
        *,
        vectorize_particles: bool | None = None,
        anneal: int = 0,
        max_plate_nesting: float = float("inf"),
    ) -> None:
        least = 1 if check_objective(objective) == "rloo" else 2
        if isinstance(num_particles, bool) or int(num_particles) != num_particles or num_particles < least:
            raise ValueError(f"num_particles={num_particles!r} must be a whole number of at least {least}.")
        if isinstance(anneal, bool) or int(anneal) != anneal or anneal < 0:
            raise ValueError(f"anneal={anneal!r} must be a whole number of gradient steps, 0 for none.")
        super().__init__(num_particles=int(num_particles))
        self.anneal, self._steps = int(anneal), 0
        self.objective: Objective = objective
        self.vectorize_particles = vectorize_particles
        self.max_plate_nesting = max_plate_nesting
        self._seen: tuple[Any, Any, Program, Mode] | None = None

    def loss(self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
        """The objective's value, nats: an estimate of -ELBO ("rloo") or of -log Z ("rws", "wdce": -log mean w)."""
        with torch.no_grad():
            return float(loss_value(self.particles(model, guide, *args, **kwargs), self.objective))

    def differentiable_loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Tensor:
        """A tensor with the objective's value and the gradient estimate as its gradient."""
        self._steps += 1
        factor = min(1.0, self._steps / self.anneal) if self.anneal else 1.0
        drawn = self.particles(model, guide, *args, **kwargs).tempered(factor)
        surrogate = surrogate_loss(drawn, self.objective)
        return loss_value(drawn, self.objective) + (surrogate - surrogate.detach())

    def loss_and_grads(self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
        """The objective's value; gradients are added to the parameters'."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward(retain_graph=self.retain_graph)
        return float(loss.detach())

    def particles(self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any) -> Particles:
        """N particles' densities, drawn as the objective needs them."""
        program, mode = self._plan(Program(model, guide, args, kwargs))
        detach, denoise = self.objective != "rloo", self.objective == "wdce"
        parts = [
            particles(log_model, trace, dim, denoise=denoise)
            for log_model, trace, dim in program.draw(self.num_particles, mode, detach=detach)
        ]
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _plan(self, program: Program) -> tuple[Program, Mode]:
        """The program with its shapes, and how to run many particles of it; found once for a model and guide."""
        if self._seen is None or self._seen[0] is not program.model or self._seen[1] is not program.guide:
            inspected = program.inspected()
            if self.max_plate_nesting != float("inf"):
                inspected = replace(inspected, nesting=int(self.max_plate_nesting))
            mode = choose(inspected, self._wanted())
            # Without the arguments, which may be large and are the next call's own.
            self._seen = program.model, program.guide, replace(inspected, args=(), kwargs={}), mode
        _, _, known, mode = self._seen
        return replace(program, nesting=known.nesting, shapes=known.shapes), mode

    def _wanted(self) -> Mode | None:
        if self.num_particles == 1 or self.vectorize_particles is False:
            return "loop"
        return "plate" if self.vectorize_particles is True else None

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        raise NotImplementedError


def choose(program: Program, wanted: Mode | None = None) -> Mode:
    """The fastest way to run many particles that gives each the log-weight of a run of its own."""
    modes: tuple[Mode, ...] = ("plate", "vmap")
    if wanted is not None:
        return wanted
    return next((mode for mode in modes if _agrees(program, mode)), "loop")


def _agrees(program: Program, mode: Mode) -> bool:
    """Whether particles run together have the densities of particles run alone, and none looks at the others."""
    with poutine.block(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _compared(program, mode)
        except Exception:  # whatever a program does with shapes it was not written for
            return False


def _compared(program: Program, mode: Mode) -> bool:
    for _ in range(TRIES):
        [(log_model, guide, dim)] = program.draw(TRIAL, mode)
        values = program.one_by_one(guide, TRIAL)
        if all(bool((values[name] != values[name][:1]).any()) for name in program.latent):
            break
    log_guide = total(guide, dim, TRIAL)
    for fn, together in ((program.model, log_model), (program.guide, log_guide)):
        alone = torch.cat([program.single(fn, values, i) for i in range(TRIAL)])
        if not bool(alone.isfinite().any()) and mode == "plate":
            return False
        if not torch.allclose(together, alone, rtol=ALONE, atol=ALONE, equal_nan=True):
            return False
        # In the same shapes rounding is the same: any difference is what a particle has from the others.
        if mode == "plate":
            among_its_like = torch.stack([program.repeated(fn, guide, i, TRIAL)[i] for i in range(TRIAL)])
            if not torch.allclose(together, among_its_like, rtol=0.0, atol=0.0, equal_nan=True):
                return False
    return True


def _joined(parts: list[Particles]) -> Particles:
    return Particles(
        *(
            torch.cat([getattr(part, name) for part in parts])
            for name in ("log_model", "log_guide", "score", "log_rest")
        )
    )
