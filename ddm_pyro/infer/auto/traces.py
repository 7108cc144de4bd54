"""Many particles of a model and a guide: in a plate of particles, through ``vmap``, or one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pyro
import torch
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from ddm_pyro.infer.auto.objectives import Particles
from ddm_pyro.infer.auto.path_law import PathLaw

PLATE = "num_particles_vectorized"

Mode = Literal["plate", "vmap", "loop"]
Site = dict[str, Any]


@dataclass(frozen=True)
class Program:
    """A model, its guide and their arguments, with what one run of the pair showed of their shapes.

    Attributes:
        nesting: number of plate dimensions, counted from the right; particles go to the left of them.
        shapes: shape of one particle's value at each of the guide's sites.
        latent: names of the model's latent sites.
    """

    model: Callable[..., Any]
    guide: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    nesting: int = 0
    shapes: dict[str, torch.Size] = field(default_factory=dict)
    latent: tuple[str, ...] = ()

    def inspected(self) -> Program:
        """The program with its shapes, from one run. Raises ValueError where model and guide do not match."""
        with poutine.block(), torch.no_grad():
            guide = self.trace(self.guide)
            model = self.trace(poutine.replay(self.model, trace=guide))
        check_match(model, guide)
        dims = [
            frame.dim
            for trace in (model, guide)
            for site in samples(trace)
            for frame in site["cond_indep_stack"]
            if frame.vectorized
        ]
        shapes = {site["name"]: site["value"].shape for site in samples(guide) if not site["is_observed"]}
        latent = tuple(site["name"] for site in samples(model) if not site["is_observed"])
        return replace(self, nesting=-min(dims, default=0), shapes=shapes, latent=latent)

    def trace(self, fn: Callable[..., Any]) -> Trace:
        """A run of ``fn`` on the arguments, without the sites of plates."""
        return prune_subsample_sites(poutine.trace(fn).get_trace(*self.args, **self.kwargs))

    def draw(self, n: int, mode: Mode, *, detach: bool = False) -> Iterator[tuple[Tensor, Trace, int | None]]:
        """log p (N,), the guide's trace and the particles' dimension in it: one batch of n, or n of one ("loop").

        ``detach`` cuts the gradients of the guide's draws, not those of its densities.
        """
        if mode == "loop":
            for _ in range(n):
                guide = self._guided(self.guide, detach)
                model = self.trace(poutine.replay(self.model, trace=guide))
                check_match(model, guide)
                yield total(model, None, 1), guide, None
            return
        plate = pyro.plate(PLATE, n, dim=-1 - self.nesting)
        guide = self._guided(plate(self.guide), detach)
        if mode == "vmap":
            yield self.mapped(self.model, self.one_by_one(guide, n)), guide, plate.dim
            return
        model = self.trace(poutine.replay(plate(self.model), trace=guide))
        check_match(model, guide)
        yield total(model, plate.dim, n), guide, plate.dim

    def _guided(self, guide: Callable[..., Any], detach: bool) -> Trace:
        if not detach:
            return self.trace(guide)
        with poutine.block(), torch.no_grad():
            drawn = poutine.trace(guide).get_trace(*self.args, **self.kwargs)
        # Run again on its own draws: densities of transformed values, too, must be those of values without gradient.
        return self.trace(poutine.replay(guide, trace=drawn))

    def repeated(self, fn: Callable[..., Any], guide: Trace, i: int, n: int) -> Tensor:
        """log p of ``fn``, (N,), in a plate of n particles that all have the values of the guide's particle i."""
        data, index = {}, torch.full((n,), i)
        for name in self.shapes:
            value = guide.nodes[name]["value"]
            data[name] = value.index_select(self._particle_dim(guide, name, n), index.to(value.device))
        plate = pyro.plate(PLATE, n, dim=-1 - self.nesting)
        return total(self.trace(plate(poutine.condition(fn, data=data))), plate.dim, n)

    def _particle_dim(self, guide: Trace, name: str, n: int) -> int:
        value, event_dim = guide.nodes[name]["value"], guide.nodes[name]["fn"].event_dim
        at: int = value.dim() - event_dim - 1 - self.nesting
        if at < 0 or value.shape[at] != n:
            raise ValueError(f"Site '{name}' has no dimension for {n} particles.")
        return at

    def one_by_one(self, guide: Trace, n: int) -> dict[str, Tensor]:
        """Values of a guide's trace with particles, particle dimension first and the rest as in a single run."""
        values = {}
        for name, shape in self.shapes.items():
            at = self._particle_dim(guide, name, n)
            values[name] = guide.nodes[name]["value"].movedim(at, 0).reshape(n, *shape)
        return values

    def mapped(self, fn: Callable[..., Any], values: dict[str, Tensor]) -> Tensor:
        """log p of ``fn`` at each particle's values, (N,), by ``torch.vmap`` over one run."""

        def one(particle: dict[str, Tensor]) -> Tensor:
            return total(self.trace(poutine.condition(fn, data=particle)), None, 1).squeeze(0)

        # Validation looks at values, which vmap does not show; single runs were made with it before.
        with pyro.validation_enabled(False):
            return torch.vmap(one, randomness="error")(values)

    def single(self, fn: Callable[..., Any], values: dict[str, Tensor], i: int) -> Tensor:
        """log p of ``fn`` at particle i's values, by a run of its own, (1,)."""
        particle = {name: value[i] for name, value in values.items()}
        return total(self.trace(poutine.condition(fn, data=particle)), None, 1)


def total(trace: Trace, dim: int | None, n: int) -> Tensor:
    """Sum of a trace's log-probabilities a particle, (N,) float64; ``dim`` is the particles', None for one particle."""
    sums = [over_particles(log_prob_of(site), dim, n) for site in samples(trace)]
    return torch.stack(sums).sum(0) if sums else torch.zeros(n, dtype=torch.float64)


def log_prob_of(site: Site) -> Tensor:
    """A site's log-probability, scaled and masked as Pyro does."""
    parts = site["fn"].score_parts(site["value"], *site["args"], **site["kwargs"])
    return parts.scale_and_mask(site["scale"], site["mask"]).log_prob


def over_particles(log_prob: Tensor, dim: int | None, n: int) -> Tensor:
    """Sum over all dimensions but the particles', (N,) float64."""
    log_prob = log_prob.double()
    return log_prob.sum().reshape(1) if dim is None else log_prob.movedim(dim, 0).reshape(n, -1).sum(-1)


def particles(log_model: Tensor, guide: Trace, dim: int | None, *, denoise: bool = False) -> Particles:
    """The parts of the particles' densities that objectives need; ``denoise`` estimates the paths' by one step."""
    n = len(log_model)
    zero = torch.zeros_like(log_model, requires_grad=False).detach()
    log_guide, score, rest = zero, zero, zero
    for site in samples(guide):
        fn = site["fn"]
        if denoise and isinstance(fn, PathLaw):
            with torch.no_grad():
                log_prob = fn.log_prob(site["value"])
            raw, reparameterised = fn.log_denoising(site["value"]), False
        else:
            parts = fn.score_parts(site["value"], *site["args"], **site["kwargs"])
            log_prob = raw = parts.log_prob
            reparameterised = not isinstance(parts.score_function, Tensor)
        scaled = over_particles(_scaled(log_prob, site), dim, n)
        log_guide = log_guide + scaled.detach()
        if reparameterised:
            rest = rest + scaled
        else:
            score = score + over_particles(raw, dim, n)
    return Particles(log_model, log_guide, score, rest)


def _scaled(log_prob: Tensor, site: Site) -> Tensor:
    if site["mask"] is not None:
        log_prob = torch.where(torch.as_tensor(site["mask"], device=log_prob.device), log_prob, 0.0)
    return log_prob * site["scale"]


def check_match(model: Trace, guide: Trace) -> None:
    """Raise ValueError where a latent of the model has no guide, or the guide an unmatched discrete site."""
    guided = {site["name"] for site in samples(guide)}
    latent = {site["name"] for site in samples(model) if not site["is_observed"]}
    for name in sorted(latent - guided):
        raise ValueError(f"The model's latent site '{name}' is not in the guide: add a guide for it, or observe it.")
    for site in samples(guide):
        name = site["name"]
        if name in latent or site["is_observed"] or isinstance(site["fn"], PathLaw):
            continue
        if not site["infer"].get("is_auxiliary"):
            raise ValueError(f"The guide's site '{name}' is not a latent site of the model.")
        if getattr(site["fn"].support, "is_discrete", False):
            raise ValueError(
                f"The guide's auxiliary site '{name}' is discrete and has no partner in the model, so its weights "
                "would be wrong; add the kernels it reverses to the model with ddm_pyro.infer.noised(...)."
            )


def samples(trace: Trace) -> Iterator[Site]:
    """The sample sites of a trace."""
    return (site for site in trace.nodes.values() if site["type"] == "sample")
