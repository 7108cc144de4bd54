"""AutoDiscreteDiffusion: a joint guide for all discrete latent sites of a Pyro model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoGuide
from torch import Tensor, nn

from ddm_pyro.infer.auto.blocks import Block, read_block, refuse_moving_bounds, refuse_sequential
from ddm_pyro.infer.auto.elbo import ParticleELBO
from ddm_pyro.infer.auto.families import Family
from ddm_pyro.infer.auto.making import FamilyName, check_family, make_family
from ddm_pyro.infer.auto.objectives import Objective, check_objective
from ddm_pyro.infer.auto.path_law import Known, PathLaw
from ddm_pyro.infer.auto.weigh import weigh
from ddm_pyro.infer.draws import WeightedPosterior
from ddm_pyro.infer.local_params import name_local
from ddm_pyro.infer.stack import refuse_given_values
from ddm_pyro.spaces import StateSpace

#: Draws of the guide that ``median``, ``quantiles`` and ``marginals`` are computed from.
SUMMARY_DRAWS = 1000


class AutoDiscreteDiffusion(AutoGuide):
    """A discrete diffusion over all latent sites of a model with finitely many values: correlations included.

    The sites' elements, of all plates and of any mix of Bernoulli, Categorical, OneHotCategorical and bounded counts,
    are the tokens of one sequence x of length L, and the guide is a reverse process that draws them jointly:
    ``family="masked"`` unmasks one token at a time in a random order, ``family="uniform"`` runs ``steps`` steps of
    the reversed uniform chain. Its path (the order, or the noisier sequences) is one auxiliary site, scored against
    the forward process, so that the ELBO is a lower bound on log Z for any network.

    Train it with its own objective, ``SVI(model, guide, optim, loss=guide.elbo(64))``. Pyro's ``Trace_ELBO``,
    ``TraceGraph_ELBO``, ``TraceEnum_ELBO`` and ``ReweightedWakeSleep`` (without sleep) have the right value and
    gradient too, with more noise; its other objectives are refused. Beside continuous sites, put it in an
    ``AutoGuideList`` with ``poutine.block(model, expose=[...])``.

    Args:
        model: a Pyro model; its latent sites must be discrete with bounded support, its plates vectorised and whole.
        network: an nn.Module (x, t) -> (..., L, V) on sequences with masks (id V) and the time (share of masks), or a
            function of the StateSpace that makes one; default a ``BeliefNet``, plus a ``TokenMLP`` up to
            L (V - 1) = 64; the latter alone for the uniform family and where L (V - 1) > 1024 or L^2 (V - 1) > 2^18.
        objective: default of ``elbo``: "rloo", "rws" or "wdce" (see ``ParticleELBO``).
        family: "masked" or "uniform".
        steps: of the uniform family; default twice L, at least 16 and at most 64.
        create_plates: as for every AutoGuide.

    Raises:
        ValueError: an unknown objective or family; at the first run, a site that is continuous, unbounded, in a
            sequential or a subsampled plate, or whose bounds follow other sites; or no latent site at all.

    Example:
        >>> import pyro.distributions as dist
        >>> def model():
        ...     with pyro.plate("spins", 4):
        ...         x = pyro.sample("x", dist.Bernoulli(0.5))
        ...     pyro.factor("ring", 0.5 * (x == x.roll(1, -1)).sum(-1))
        >>> pyro.set_rng_seed(0)
        >>> guide = AutoDiscreteDiffusion(model)
        >>> svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), loss=guide.elbo(64))
        >>> losses = [svi.step() for _ in range(50)]
        >>> draws = guide.sample_posterior(1000)
        >>> draws.samples["x"].shape, bool(draws.ess > 500)
        (torch.Size([1000, 4]), True)
    """

    def __init__(
        self,
        model: Callable[..., Any],
        network: nn.Module | Callable[[StateSpace], nn.Module] | None = None,
        objective: Objective = "rloo",
        family: FamilyName = "masked",
        *,
        steps: int | None = None,
        create_plates: Callable[..., Any] | None = None,
    ) -> None:
        self._objective = check_objective(objective)
        self._making = check_family(family, steps), steps
        super().__init__(model, create_plates=create_plates)
        # In a list: a module is registered once, as part of the family.
        self._network = [network]
        self.blocks: tuple[Block, ...] = ()

    def elbo(self, num_particles: int = 64, objective: Objective | None = None, **options: Any) -> ParticleELBO:
        """The loss to train with: ``ParticleELBO(num_particles, objective, **options)``, the guide's by default."""
        return ParticleELBO(num_particles, objective or self._objective, **options)

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        try:
            self._read_sites(*args, **kwargs)
        except Exception:
            self.prototype_trace = None  # so that another run starts over instead of using half a guide
            raise

    def _read_sites(self, *args: Any, **kwargs: Any) -> None:
        try:
            super()._setup_prototype(*args, **kwargs)
        except NotImplementedError:
            refuse_sequential(self.prototype_trace)
            raise
        sites = [site for _, site in self.prototype_trace.iter_stochastic_nodes()]  # type: ignore[attr-defined]
        blocks = tuple(read_block(site) for site in sites)
        with poutine.block(), torch.no_grad():
            refuse_moving_bounds(sites, lambda: poutine.trace(self.model).get_trace(*args, **kwargs))
        sizes = tuple(size for block in blocks for size in block.sizes)
        if not sizes:
            raise ValueError("The model has no discrete latent site for AutoDiscreteDiffusion to guide.")
        self.blocks = blocks
        space, device = StateSpace(sizes, len(sizes)), sites[0]["value"].device
        self.family = make_family(space, self._network[0], *self._making, device=device)

    @property
    def space(self) -> StateSpace:
        """The tokens' space. Raises ValueError before the first run."""
        return self._built().space

    def _built(self) -> Family:
        if self.prototype_trace is None:
            raise ValueError("The guide has not seen its model yet; call guide(*args) once with the model's arguments.")
        return self.family

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draw all sites: site name -> value."""
        if self.prototype_trace is None:
            self._setup_prototype(*args, **kwargs)
        plates = self._create_plates(*args, **kwargs)
        family = self.family
        name_local(family)
        name = f"_{self._pyro_name}_path"
        refuse_given_values(name, [block.name for block in self.blocks])
        path = pyro.sample(name, PathLaw(family), infer={"is_auxiliary": True})
        result = {}
        for block, value in self._values(family.tokens(path)):
            with ExitStack() as stack:
                for frame in block.frames:
                    stack.enter_context(plates[frame.name])
                result[block.name] = pyro.sample(block.name, Known(value, event_dim=block.event_dim))
        return result

    def _values(self, tokens: Tensor) -> list[tuple[Block, Tensor]]:
        parts = tokens.split([len(block.sizes) for block in self.blocks], -1)
        return [(block, block.value(part)) for block, part in zip(self.blocks, parts, strict=True)]

    def sample_posterior(self, num_samples: int, *args: Any, **kwargs: Any) -> WeightedPosterior:
        """Weighted draws of the latent sites with log Z, its standard error and the effective sample size.

        For a guide in an AutoGuideList call ``ddm_pyro.infer.weigh(model, guide_list, num_samples, *args)``.
        """
        if self.master is not None:
            raise ValueError(
                "This guide is part of an AutoGuideList; call ddm_pyro.infer.weigh(model, guide_list, num_samples)."
            )
        return weigh(self.model, self, num_samples, *args, **kwargs)

    @torch.no_grad()
    def _draws(self, *args: Any, **kwargs: Any) -> list[tuple[Block, Tensor]]:
        if self.prototype_trace is None:
            with poutine.block():
                self(*args, **kwargs)
        family = self._built()
        tokens = family.tokens(family.sample(SUMMARY_DRAWS))
        parts = tokens.split([len(block.sizes) for block in self.blocks], -1)
        return [
            (block, block.value(part.reshape(len(part), *(1,) * len(block.batch_shape), -1)))
            for block, part in zip(self.blocks, parts, strict=True)
        ]

    def marginals(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Frequencies of each element's values in draws of the guide: site name -> (*shape, number of values)."""
        result = {}
        for block, draws in self._draws(*args, **kwargs):
            if block.one_hot:
                result[block.name] = draws.double().mean(0)
                continue
            size = max(block.sizes, default=1)
            symbols = torch.arange(size, device=draws.device)
            tokens = draws.long() - block.lower
            result[block.name] = (tokens.unsqueeze(-1) == symbols).double().mean(0)
        return result

    def median(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Each element's median in draws of the guide; of categories, which have no order, the most frequent one."""
        result = {}
        for block, draws in self._draws(*args, **kwargs):
            if block.one_hot:
                mode = draws.double().mean(0).argmax(-1)
                result[block.name] = nn.functional.one_hot(mode, draws.shape[-1]).to(draws.dtype)
            else:
                result[block.name] = draws.median(0).values if block.ordered else draws.mode(0).values
        return result

    def quantiles(self, quantiles: Sequence[float], *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Quantiles of the ordered sites (spins and counts) in draws of the guide, (len(quantiles), *shape).

        Categorical and one-hot sites have none and are left out.
        """
        probs = torch.as_tensor(quantiles, dtype=torch.float64)
        result = {}
        for block, draws in self._draws(*args, **kwargs):
            if block.ordered:
                at = torch.quantile(draws.double(), probs.to(draws.device), 0, interpolation="lower")
                result[block.name] = at.to(draws.dtype)
        return result
