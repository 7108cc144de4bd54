"""A sampler as a guide: its states are named, and matched by the model's forward kernels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro.distributions import TorchDistribution
from pyro.infer.autoguide import AutoGuide
from torch import Tensor

from ddm_pyro.arrays import has_data
from ddm_pyro.distributions import FactorizedCategorical
from ddm_pyro.infer.chain import Chain
from ddm_pyro.infer.forward_kernels import Noised
from ddm_pyro.infer.local_params import name_local
from ddm_pyro.infer.reverse import Reverse
from ddm_pyro.infer.sites import PRIOR
from ddm_pyro.samplers import Euler, Sampler
from ddm_pyro.samplers.blocks import BlockSampler
from ddm_pyro.samplers.thinning import ThinningSampler
from ddm_pyro.sampling.arguments import leaves_noise, resolve_times

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.processes import Process


class ReverseGuide(AutoGuide):
    """Draws ``{site}@K`` from noise, takes the sampler's steps to ``{site}@1`` and one more to ``site``.

    Every state has a partner in the program: a forward kernel added by ``noised``, or a state of ``diffusion_sample``
    on a process without masks. So every objective of Pyro is right, ``Trace_ELBO`` and its gradients included. Plates
    are those of the program. The model's parameters are the guide's; conditions amortise it over data.

    Args:
        sampler: a Sampler whose step has a density.
        model: the parameterization, of the process that noises the site.
        program: what ``noised(...)`` returned, or a program that calls ``diffusion_sample(site, ...)``.
        site: which site; read off ``noised``.
        cond: conditions for the network, as a dict or as a function of the program's arguments that returns one; each
            a tensor with a row for every element of the innermost plate.
        create_plates: as in Pyro's autoguides.

    Raises:
        TypeError, ValueError: a program without matching states, with what to do; a sampler that reveals a fixed
            number of positions a step, which the forward kernels do not.

    Warns:
        UserWarning: a sampler whose steps miss states that the forward kernels reach: a clipped Euler sampler without
            masks; with masks, one that reveals all or none in a step of this grid where the kernels do neither.

    Example:
        >>> import ddm_pyro as ddm, pyro.distributions as dist
        >>> from pyro.infer import SVI, Trace_ELBO
        >>> forward = ddm.ForwardProcess(ddm.rates.Uniform(2), ddm.schedules.Linear(), length=3)
        >>> def model():
        ...     x = pyro.sample("x", dist.Categorical(torch.ones(3, 2)).to_event(1))
        ...     pyro.sample("y", dist.Normal(x.sum(-1).double(), 0.5), obs=torch.tensor(2.0).double())
        >>> program = ddm.infer.noised(model, "x", forward, [0.3, 0.7, 1.0])
        >>> network = ddm.X0(ddm.networks.MLP.for_process(forward, width=8), forward)
        >>> guide = ReverseGuide(ddm.samplers.Ancestral(), network, program)
        >>> svi = SVI(program, guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO(num_particles=8))
        >>> svi.step() < 30
        True
    """

    def __init__(
        self,
        sampler: Sampler,
        model: Parameterization,
        program: Callable[..., Any],
        *,
        site: str | None = None,
        cond: Mapping[str, Any] | Callable[..., Mapping[str, Any]] | None = None,
        create_plates: Callable[..., Any] | None = None,
    ) -> None:
        if isinstance(program, Noised):
            if site not in (None, program.site):
                raise ValueError(f"site={site!r}, but the program noises {program.site!r}.")
            site = program.site
            if model.process.space != program.process.space:
                raise ValueError(
                    f"The model reverses a process on {model.process.space}, but {site!r} is noised on "
                    f"{program.process.space}; give both the same kind of process."
                )
        elif site is None:
            raise TypeError(
                "The guide's states need partners in the model: give program=noised(model, site, forward, times), or "
                "site= of a diffusion_sample on a process without masks."
            )
        if isinstance(sampler, BlockSampler):
            raise ValueError(
                f"{sampler} reveals a fixed number of positions a step, forward kernels do not; use Ancestral(), or "
                "AutoDiscreteDiffusion, whose orders need no kernels."
            )
        if isinstance(program, Noised) or not model.process.is_masked:
            grid = program.times[::-1] if isinstance(program, Noised) else ()
            warn_of_missed(sampler, model.process, torch.tensor(grid, dtype=torch.float64))
        super().__init__(program, create_plates=create_plates)
        self.sampler, self.site, self.cond = sampler, site, cond
        self.network = model

    def _prototype_hide_fn(self, msg: Any) -> bool:
        mine = msg["name"] == self.site or str(msg["name"]).startswith(f"{self.site}@")
        return bool(AutoGuide._prototype_hide_fn(msg)) or not mine

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        super()._setup_prototype(*args, **kwargs)
        nodes = self.prototype_trace.nodes
        if self.site not in nodes:
            raise ValueError(f"The program has no latent site {self.site!r} to be guided.")
        if not isinstance(self.model, Noised):
            prior = nodes[self.site]["infer"].get(PRIOR)
            if prior is None or prior.reverse.planned:
                raise ValueError(
                    f"Site {self.site!r} has no intermediate states to match the guide's; give "
                    "program=noised(model, site, forward, times)."
                )
            if prior.reverse.process.is_masked:
                warn_of_missed(self.sampler, prior.reverse.process, prior.reverse.times)

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draw the states and the site."""
        if self.prototype_trace is None:
            self._setup_prototype(*args, **kwargs)
        model = self.network
        name_local(model)
        cond = self.cond(*args, **kwargs) if callable(self.cond) else self.cond
        start, chain = self._chain(model.bind(**cond) if cond else model)
        plates, node = self._create_plates(*args, **kwargs), self.prototype_trace.nodes[self.site]
        with ExitStack() as stack:
            for frame in node["cond_indep_stack"]:
                stack.enter_context(plates[frame.name])
            last = chain.kernels
            drawn = {}
            x = drawn[f"{self.site}@{last}"] = pyro.sample(f"{self.site}@{last}", start)
            for k in range(last):
                name = f"{self.site}@{last - 1 - k}" if k < last - 1 else self.site
                law = chain.step(x, k)
                law.dtype = node["value"].dtype
                x = drawn[name] = pyro.sample(name, law)
        return drawn

    def _chain(self, model: Parameterization) -> tuple[TorchDistribution, Chain]:
        program = self.model
        if not isinstance(program, Noised):
            prior = self.prototype_trace.nodes[self.site]["infer"][PRIOR].reverse
            chain = Chain.of(replace(prior, samplers=(self.sampler,), model=model))
            return chain.start(), chain
        denoise = leaves_noise([self.sampler], model.process, 0.0)
        times = [*program.times[::-1], *([] if denoise else [0.0])]
        if len(times) > 1:
            resolve_times([self.sampler], model, None, times)
        grid = torch.tensor(times, dtype=torch.float64, device=model.device)
        chain = Chain(Reverse((self.sampler,), model, grid, denoise, own_grid=False), len(program.times))
        with model.device:
            return noise_law(program.process, program.times[-1]), chain


def warn_of_missed(sampler: Sampler, process: Process, times: Tensor) -> None:
    """Warn of a sampler whose steps miss states that the forward process reaches; times from noise to data.

    With masks that depends on the grid: a step must reveal surely, or never, only where the forward process does.
    """
    if process.is_masked:
        if not isinstance(sampler, ThinningSampler) or not has_data(times):
            return
        for t, s in pairwise(times.cpu().unbind()):
            reveal, left = sampler.reveal(process, t, s), process.mask_probability(s) / process.mask_probability(t)
            if (reveal >= 1.0 and left > 0.0) or (reveal <= 0.0 and left < 1.0):
                break
        else:
            return
        cause = "reveals every mask, or none, in a step where the forward kernels leave some"
    elif isinstance(sampler, Euler) and sampler.negative == "clip":
        cause = "never leaves a token as it is where a step is clipped, but the forward kernels do"
    else:
        return
    warnings.warn(
        f"{sampler} {cause}: the guide misses states of the model, and evidence weighed by it is too small. Use "
        "Ancestral(), or another grid (Euler(negative='raise') says when it is too coarse).",
        stacklevel=3,
    )


def noise_law(process: Process, time: float) -> TorchDistribution:
    """What uniform tokens have become at ``time``: a law that reaches every state the forward kernels reach."""
    space = process.space
    symbols = torch.arange(space.num_symbols)
    tokens = (symbols < torch.tensor(space.position_sizes).unsqueeze(-1)).double()
    table = process.evolve(tokens / tokens.sum(-1, keepdim=True), torch.zeros(()), torch.tensor(time))
    return FactorizedCategorical(table, validate_args=False).on(space)
