"""Split Gibbs sampling: noise the tokens a little, run the reverse process back, and hear the likelihood in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddm_pyro import random, sampling
from ddm_pyro.distributions import inverse_cdf
from ddm_pyro.infer.densities import Fixed
from ddm_pyro.infer.draws import ChainDraws
from ddm_pyro.infer.twisted_smc_problem import Problem
from ddm_pyro.infer.twisted_smc_track import Track
from ddm_pyro.progress import progress_bar
from ddm_pyro.samplers import KUnmask
from ddm_pyro.samplers.blocks import BlockSampler
from ddm_pyro.targets.programs import Program


class SplitGibbs:
    """Markov chains on the diffusion sites of a Pyro program that restart the reverse process from a noise level.

    A sweep noises x to time ``level``, x_t ~ q(x_t | x), and runs the prior's sampler back to a new x'. Where that is
    the exact posterior p(x | x_t), the move leaves the prior unchanged, so accepting it with probability
    min(1, L(x')/L(x)) leaves the posterior unchanged: ``correct=True``. The acceptance falls with the level; the law of
    a sampler with few steps enters in place of the exact one.

    ``correct=False`` is the split itself, for noise without masks (Chu et al., arXiv 2503.01161): Gibbs sampling of
    (x, z), token by token z_l ~ L(z) q_t(z_l | x_l) from the last z on, then x ~ p(x | x_t = z). No move is refused,
    and the law of x, p(x) sum_z q_t(z | x) L(z) up to a constant, approaches the posterior as the level goes to 0.

    Args:
        model: a Pyro program as for ``TwistedSMC``, whose only latent sites are diffusion sites.
        level: noise level in (0, 1], or a function of the share of sweeps done in [0, 1) (annealing).
        num_chains: chains run side by side, started at draws of the prior.
        correct: accept or refuse by the likelihood.
        progress: whether a terminal sees a bar.

    Raises:
        ValueError: settings out of range, other latent sites, ``correct=False`` with masks, a site drawn by
            ``pyro.sample`` from a prior with ``density="fixed"``.

    Example:
        >>> import pyro, pyro.distributions as dist, ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=2, length=3, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), length=3)
        >>> def model(y):
        ...     x = ddm.infer.diffusion_sample("x", target.denoiser(forward))
        ...     pyro.sample("y", dist.Bernoulli(0.2 + 0.6 * x).to_event(1), obs=y)
        >>> draws = SplitGibbs(model, level=0.5, num_chains=4).run(torch.ones(3), sweeps=6, burn_in=2)
        >>> draws.samples["x"].shape, bool(draws.acceptance > 0)
        (torch.Size([4, 4, 3]), True)
    """

    def __init__(
        self,
        model: Callable[..., Any],
        level: float | Callable[[float], float] = 0.5,
        *,
        num_chains: int = 16,
        correct: bool = True,
        progress: bool = True,
    ) -> None:
        if isinstance(num_chains, bool) or num_chains != int(num_chains) or num_chains < 1:
            raise ValueError(f"num_chains={num_chains!r} must be a whole number of at least 1.")
        self.model, self.level, self.num_chains, self.correct = model, level, int(num_chains), correct
        self.progress = progress
        self._level_at(0.0)

    def _level_at(self, share: float) -> float:
        value = float(self.level(share) if callable(self.level) else self.level)
        if not 0.0 < value <= 1.0:
            raise ValueError(f"level={value!r} must lie in (0, 1]: the time up to which tokens are noised.")
        return value

    def run(self, *args: Any, sweeps: int, burn_in: int = 0, thin: int = 1, **kwargs: Any) -> ChainDraws:
        """Run ``model(*args, **kwargs)`` for ``sweeps`` sweeps and keep every ``thin``-th after ``burn_in``.

        Raises:
            ValueError: numbers out of range, programs that cannot be run so.
        """
        if sweeps < 1 or not 0 <= burn_in < sweeps or thin < 1:
            raise ValueError(f"sweeps={sweeps}, burn_in={burn_in}, thin={thin}: keep at least one sweep.")
        with torch.no_grad():
            problem = Problem.of(Program(self.model, args, kwargs))
            if problem.latents:
                raise ValueError(
                    f"Site {problem.latents[0]!r} is latent too; SplitGibbs moves diffusion sites only: observe it, "
                    "sum it out, or use TwistedSMC."
                )
            chains = _Chains(problem, self.num_chains, self.correct)
            kept: list[dict[str, Tensor]] = []
            with progress_bar(self.progress, sweeps, what="split Gibbs", value="accepted") as report:
                for sweep in range(sweeps):
                    chains.sweep(self._level_at(sweep / sweeps))
                    report(sweep + 1, chains.accepted.mean() / (sweep + 1))
                    if sweep >= burn_in and (sweep - burn_in) % thin == 0:
                        kept.append(dict(chains.x))
        sites = {n: problem.program.sites[n]["fn"] for n in chains.x}
        draws = {n: torch.stack([x[n] for x in kept], 1) for n in chains.x}
        shapes = {n: (self.num_chains, len(kept), *f.batch_shape, *f.event_shape) for n, f in sites.items()}
        rate = (chains.accepted / sweeps).mean(0).reshape(problem.group_shape)
        return ChainDraws({n: draws[n].reshape(shapes[n]) for n in draws}, rate)


@dataclass(eq=False)
class _Chains:
    """Chains side by side, tokens (C, d_M, ..., d_1, L)."""

    problem: Problem
    count: int
    correct: bool

    def __post_init__(self) -> None:
        self.tracks = self.problem.tracks(self.count)
        for name, track in self.tracks.items():
            if isinstance(self.problem.priors[name]._density, Fixed) and self.problem.alone(name):
                raise ValueError(
                    f"Site {name!r} follows one fixed plan, but SplitGibbs runs the sampler by plans of its own; draw "
                    "it by diffusion_sample, or use TwistedSMC."
                )
            if isinstance(self.problem.priors[name].sampler, KUnmask):
                raise ValueError(
                    f"Site {name!r} is drawn in blocks of fixed sizes from all masks on, but SplitGibbs starts "
                    "between; use FirstHitting(), or TwistedSMC."
                )
            if not self.correct and track.process.is_masked:
                raise ValueError(
                    f"correct=False asks how likely noisy tokens are, but {name!r} is noised by masks; "
                    "use correct=True, or a process without masks."
                )
        self.x = {n: self._draw(n, track, None, 1.0) for n, track in self.tracks.items()}
        self.z = dict(self.x)  # of correct=False; any start will do
        self.score = self.problem.log_likelihood(self.x, {})
        self.accepted = torch.zeros_like(self.score)

    def sweep(self, level: float) -> None:
        """Every site once."""
        share = torch.zeros_like(self.score)
        for name, track in self.tracks.items():
            if self.correct:
                noisy = track.process.marginal(self.x[name].flatten(0, -2), level, validate_args=False).sample()
                share += self._accept(name, self._draw(name, track, noisy, level))
            else:
                self.z[name] = self._hear(name, track, level)
                self.x[name] = self._draw(name, track, self.z[name].flatten(0, -2), level)
                share += 1.0
        self.accepted += share / len(self.tracks)

    def _draw(self, name: str, track: Track, start: Tensor | None, level: float) -> Tensor:
        """The reverse process from ``start`` at ``level``, or from noise."""
        sampler = self.problem.priors[name].sampler
        steps = track.steps if isinstance(sampler, BlockSampler) else max(1, round(track.steps * level))
        times = track.grid if start is None else torch.linspace(level, 0.0, steps + 1, dtype=torch.float64)
        x = sampling.sample(sampler, track.model, track.rows, times=times.tolist(), start=start, batch_size=track.rows)
        return x.reshape(track.x.shape)

    def _accept(self, name: str, proposal: Tensor) -> Tensor:
        score = self.problem.log_likelihood({**self.x, name: proposal}, {})
        u = random.uniform(score.shape, score.device)
        # From a state of likelihood zero every move is welcome.
        better = (score - torch.where(self.score > -torch.inf, self.score, 0.0)) > u.log()
        yes = better | (self.score == -torch.inf)
        self.x[name] = torch.where(yes.unsqueeze(-1), proposal, self.x[name])
        self.score = torch.where(yes, score, self.score)
        return yes.double()

    def _hear(self, name: str, track: Track, level: float) -> Tensor:
        """One sweep over the tokens of z: z_l ~ L(z) q_t(z_l | x_l), the others as they are."""
        vocab, x, z = track.process.space.vocab_size, self.x[name], self.z[name].clone()
        time = torch.tensor(level, dtype=torch.float64, device=x.device)
        row = track.process.row(x, torch.zeros_like(time), time)[..., :vocab].log()
        if len(self.problem.shared) < sum(size > 1 for size in x.shape[1:-1]):
            raise ValueError(
                f"The elements of {name!r} share their likelihood; correct=False needs it to factorise over plates."
            )
        sizes = track.process.space.position_sizes
        for position, size in enumerate(sizes):
            tried = z.repeat(size, *(1,) * z.dim()).clone()
            tried[..., position] = torch.arange(size, device=z.device).reshape(-1, *(1,) * (z.dim() - 1))
            others = {n: v.repeat(size, *(1,) * (v.dim() - 1)) for n, v in self.z.items()}
            scores = self.problem.log_likelihood({**others, name: tried.flatten(0, 1)}, {}).unflatten(0, (size, -1))
            # From a state of likelihood zero every move is welcome.
            scores = torch.where((scores > -torch.inf).any(0), scores, 0.0)
            law = (scores.movedim(0, -1) + row[..., position, :size]).softmax(-1)
            z[..., position] = inverse_cdf(law, random.uniform(law.shape[:-1], law.device))
        return z
