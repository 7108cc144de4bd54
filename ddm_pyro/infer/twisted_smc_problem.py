"""What a Pyro program with diffusion sites asks: which tokens are unknown, and how likely the rest makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from pyro.distributions import MaskedDistribution
from pyro.distributions.torch_distribution import ExpandedDistribution
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.arrays import has_data
from ddm_pyro.infer.densities import Fixed
from ddm_pyro.infer.prior import DiffusionPrior
from ddm_pyro.infer.sites import PLAN, PRIOR, STATE
from ddm_pyro.infer.twisted_smc_track import Track
from ddm_pyro.targets.programs import Program, plates

#: How much two scores of a latent, or two predictions of a prior, may differ before one site depends on another.
DEPENDENCE = 1e-6
#: Values of each site that are tried to find out.
TRIALS = 32


@dataclass(frozen=True, eq=False)
class Problem:
    """The diffusion sites of a program, its other latent sites, and its likelihood.

    Batches are laid out as (P, d_M, ..., d_1): particles, then the plates of the program. A *group* is an element of
    the plates that all sites share: given the program, groups are independent, so each has its own weights.

    Attributes:
        program: the program.
        priors: diffusion site -> its prior.
        latents: other latent sites, drawn from the program once a particle.
        likelihood: observed sites and factors.
        shared: the batch dimensions (negative) of the groups.
    """

    program: Program
    priors: Mapping[str, DiffusionPrior]
    latents: tuple[str, ...]
    likelihood: tuple[str, ...]
    shared: frozenset[int]

    @classmethod
    def of(cls, program: Program) -> Problem:
        """Read the sites of a program.

        Raises:
            ValueError: no diffusion site left to infer; scaled sites; latent sites of which one follows from another.
        """
        sites = program.sites
        found = {n: prior_of(node) for n, node in sites.items() if _is_latent(node)}
        priors = {n: prior for n, prior in found.items() if prior is not None}
        if not priors:
            raise ValueError(
                f"The model has no latent diffusion site, only {', '.join(sites) or 'no sites at all'}; "
                "draw the tokens by ddm_pyro.infer.diffusion_sample(name, prior)."
            )
        plans = {n for n, node in sites.items() if _leads_to(node) in priors}
        for name in plans:
            if not _is_latent(sites[name]):
                raise ValueError(
                    f"Site {name!r} is observed, but particles draw plans and states of their own; for one plan give "
                    "DiffusionPrior(sampler, model, density='fixed', plan=...)."
                )
        rest = {n: node for n, node in sites.items() if n not in priors and n not in plans}
        latents = tuple(n for n, node in rest.items() if _is_latent(node))
        likelihood = tuple(
            n for n, node in rest.items() if node["is_observed"] and not node["infer"].get("_deterministic")
        )
        program.require_plates([*priors, *latents, *likelihood])
        program.require_scale_one([*priors, *latents])
        frames = [{frame.dim for frame in plates(sites[n])} for n in (*priors, *latents, *likelihood)]
        problem = cls(program, priors, latents, likelihood, frozenset(set.intersection(*frames)))
        problem.require_order()
        return problem

    @cached_property
    def fixed(self) -> dict[str, Any]:
        """Values for plans and intermediate states: their laws are run but never scored."""
        return {n: node["value"] for n, node in self.program.sites.items() if _leads_to(node) in self.priors}

    def tracks(self, count: int) -> dict[str, Track]:
        """Particles at the start of every diffusion site."""
        out = {}
        for name, prior in self.priors.items():
            # A prior that is a distribution of its own may follow one fixed plan; diffusion_sample draws its plans.
            plan = prior._density.plan if self.alone(name) and isinstance(prior._density, Fixed) else None
            out[name] = Track(prior, count, self.program.padded(name), plan)
        return out

    def alone(self, name: str) -> bool:
        """Whether a diffusion site is ``pyro.sample(name, DiffusionPrior(...))``, without a plan of its own."""
        return PRIOR not in self.program.sites[name]["infer"]

    def groups(self, values: Tensor) -> Tensor:
        """Sum over everything but particles and groups: (P, d_M, ..., d_1) -> the same with ones."""
        nesting = self.program.nesting
        summed = [d for d in range(-nesting, 0) if d not in self.shared]
        values = values.reshape((1,) * (nesting + 1 - values.dim()) + values.shape)
        return values.sum(summed, keepdim=True) if summed else values

    @property
    def group_shape(self) -> torch.Size:
        """Shape of the groups, one axis a shared plate."""
        sizes = self.program.padded(next(iter(self.priors)))
        return torch.Size(sizes[d] for d in sorted(self.shared))

    def log_likelihood(self, x: Mapping[str, Tensor], latents: Mapping[str, Tensor]) -> Tensor:
        """log P(everything observed | tokens), float64, (C, g_M, ..., g_1) with ones where plates are not shared.

        Args:
            x: site -> (C, d_M, ..., d_1, L).
            latents: site -> (P, d_M, ..., d_1, *event), P dividing C; particles vary fastest.
        """
        first = next(iter(x.values()))
        count = len(first)
        wide = {n: _repeat(value, count) for n, value in latents.items()}
        scores = self.program.log_probs({**x, **wide}, self.likelihood, count, self.fixed)
        total = torch.zeros((count, *(1,) * self.program.nesting), dtype=torch.float64, device=first.device)
        for name, score in scores.items():
            if has_data(score) and bool((score.isnan() | (score == torch.inf)).any()):
                raise ValueError(
                    f"Site {name!r} has a log-probability of NaN or inf at some tokens; weights would hide where."
                )
            total = total + self.groups(score)
        return total

    def draw_latents(self, count: int) -> dict[str, Tensor]:
        """One draw of the other latent sites a particle, (P, d_M, ..., d_1, *event)."""
        if not self.latents:
            return {}
        return self.program.draw(self.latents, self.random_tokens(count), count, self.fixed)

    def random_tokens(self, count: int) -> dict[str, Tensor]:
        """Uniform tokens at every diffusion site, (count, d_M, ..., d_1, L)."""
        out = {}
        for name, prior in self.priors.items():
            sizes = prior.space.sizes_on.on(prior.reverse.device)
            shape = (count, *self.program.padded(name), prior.reverse.length)
            out[name] = (random.uniform(shape, sizes.device) * sizes).long()
        return out

    def require_order(self) -> None:
        """Raise ValueError unless the diffusion sites and the other latent sites can be drawn without each other.

        Found out by trying ``TRIALS`` random values of each: a law that changes for a rare value alone goes unseen.
        """
        if len(self.priors) + len(self.latents) == 1:
            return
        worlds = []
        for _ in range(2):
            x = self.random_tokens(TRIALS)
            worlds.append((x, self.program.draw(self.latents, x, TRIALS, self.fixed)))
        (x, latents), (other_x, other_latents) = worlds
        before = self.program.log_probs({**x, **latents}, self.latents, TRIALS, self.fixed)
        after = self.program.log_probs({**other_x, **latents}, self.latents, TRIALS, self.fixed)
        for name in self.latents:
            moved = (before[name] - after[name]).abs().nan_to_num(0.0).max()
            if has_data(moved) and bool(moved > DEPENDENCE):
                raise ValueError(
                    f"Site {name!r} is drawn given the diffusion sites, so it cannot be drawn before them; "
                    "observe it, or sum it out of the likelihood."
                )
        nodes = self.program.nodes({**x, **latents}, TRIALS, self.fixed)
        other_nodes = self.program.nodes({**other_x, **other_latents}, TRIALS, self.fixed)
        for name in self.priors:
            if not _same_predictions(prior_of(nodes[name]), prior_of(other_nodes[name]), x[name]):
                raise ValueError(
                    f"The prior of site {name!r} changes with the values of other latent sites, but particles run it "
                    "apart from them; condition it on what is observed, and let the likelihood tie the sites together."
                )


def _same_predictions(a: DiffusionPrior | None, b: DiffusionPrior | None, x: Tensor) -> bool:
    """Whether two priors predict the same of tokens x (C, d_M, ..., d_1, L), some of them masked if masks exist."""
    if a is None or b is None or a._key != b._key:
        return False
    flat = x.flatten(0, -2)
    mask = a.reverse.process.space.mask
    if mask is not None:
        flat = torch.where(random.uniform(flat.shape, flat.device) < 0.5, flat, mask)
    index, time = torch.arange(len(flat), device=flat.device), a.reverse.times.mean()
    one, two, again = (prior.reverse.rows(index).model.x0_log_probs(flat, time).exp() for prior in (a, b, a))
    if not has_data(one) or not torch.equal(one, again):  # a network with randomness of its own says nothing
        return True
    return torch.allclose(one, two, rtol=0.0, atol=DEPENDENCE)


def check(problem: Problem, tracks: Mapping[str, Track], latents: Mapping[str, Tensor]) -> None:
    """Raise NotBroadcast when the likelihood of one particle depends on the others."""
    x = {
        n: track.process.space.sizes_on.on(track.x.device).sub(1).minimum(_ramp(track.x)) for n, track in tracks.items()
    }
    if problem.likelihood and all(has_data(value) for value in x.values()):
        program = problem.program
        program.check_broadcast({**x, **latents}, problem.likelihood, len(next(iter(x.values()))), problem.fixed)


def _ramp(x: Tensor) -> Tensor:
    """Different tokens for different particles, (P, ...)."""
    return torch.zeros_like(x) + torch.arange(len(x), device=x.device).reshape(-1, *(1,) * (x.dim() - 1))


def prior_of(node: Mapping[str, Any]) -> DiffusionPrior | None:
    """The diffusion prior a site follows, or None."""
    if PRIOR in node["infer"]:
        prior: DiffusionPrior = node["infer"][PRIOR]
        return prior
    law = node["fn"]
    while isinstance(law, (MaskedDistribution, ExpandedDistribution)):
        law = law.base_dist
    return law if isinstance(law, DiffusionPrior) else None


def _leads_to(node: Mapping[str, Any]) -> str | None:
    name: str | None = node["infer"].get(PLAN, node["infer"].get(STATE))
    return name


def _is_latent(node: Mapping[str, Any]) -> bool:
    return not node["is_observed"]


def _repeat(value: Tensor, count: int) -> Tensor:
    return value.repeat(count // len(value), *(1,) * (value.dim() - 1))
