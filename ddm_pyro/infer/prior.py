"""A reverse process as a distribution: what a program writes after ``pyro.sample(name, ...)``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ddm_pyro.distributions import TokenLaw
from ddm_pyro.infer.conditions import refuse_wide_conditions
from ddm_pyro.infer.densities import Density, Estimated, Fixed
from ddm_pyro.infer.exact import Exact
from ddm_pyro.infer.memory import Making, recall, remember
from ddm_pyro.infer.plans import MAX_SEQUENCES, PlanLaw, checked_plan, left_to_right, require_plan
from ddm_pyro.infer.reverse import Reverse
from ddm_pyro.infer.routes import Route
from ddm_pyro.infer.rows import check_rows, conditioned_rows
from ddm_pyro.infer.stack import open_traces, refuse_event_enumeration, refuse_silent_enumeration
from ddm_pyro.samplers import Sampler

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization

#: The densities by name.
DENSITIES = ("fixed", "pseudo", "exact", "bound")


class DiffusionPrior(TokenLaw):
    """The law of the sequences a sampler draws with a model, as a Pyro distribution: event (L,), any batch.

    ``density`` says what ``log_prob`` is, and ``sample`` draws from just that law:

    - ``"fixed"``: positions are drawn by one fixed plan, an autoregressive law; masked samplers with a plan.
    - ``"exact"``: what ``ddm_pyro.sample`` draws, by ``push`` or by summing over sets of revealed positions; small
      spaces, or few positions. The pushed law is kept until a parameter or buffer of the model changes.
    - ``"pseudo"``: the same law, its density estimated: log (1/m) sum_j w_j over m random plans, or over m chains of
      noised states where there is no plan. exp of it is unbiased, which importance sampling and SMC need; its log is
      not, so SVI maximises a slightly lower bound. A site drawn under a trace, as in a guide, remembers the plan it
      came from: its own density is estimated with that plan among the m, which makes 1 / estimate unbiased. It is the
      tensor that remembers, so observe a copy of it (``x.clone()``) when it serves as data.
    - ``"bound"``: the mean of log w_j instead, below log p in the mean: evidence comes out too small; opt in.

    The exact alternative at any size is ``diffusion_sample``, which makes the plan a site of its own.

    Args:
        sampler: a Sampler, or with ``density="exact"`` a predictor and correctors.
        model: the parameterization: trained, exact or anyone's. Conditions bound to it must have as many rows as the
            rightmost batch dimension. First-hitting and k-unmask have no time of their own: a model that depends on
            time is asked through ``TimeOfMasks``. Its parameters are trained if the program registers them
            (``pyro.module(name, model)``, or an attribute of a ``PyroModule``).
        density: "fixed", "pseudo", "exact" or "bound".
        steps, times: as in ``ddm_pyro.sample``.
        plan: for "fixed", (L,) the step that draws each position; default left to right, in the sampler's block sizes,
            or cut evenly over the steps.
        num_samples: m, for "pseudo" and "bound".

    Attributes:
        sampler, model, density, steps: as given (``model`` through ``TimeOfMasks`` where needed).
        reverse: sampler, model and grid, as the sites of ``diffusion_sample`` use them.

    Raises:
        ValueError: an unknown density, arguments that ``ddm_pyro.sample`` refuses, a plan that does not fit; a "bound"
            of minus infinity because the sampler never makes chains that the noise makes (a clipped Euler sampler).

    Warns:
        UserWarning: a "pseudo" density that is seldom near its mean, for the same reason.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=3, length=4, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=4)
        >>> prior = DiffusionPrior(ddm.samplers.FirstHitting(), target.denoiser(forward), density="exact")
        >>> x = prior.enumerate_support()
        >>> round(prior.log_prob(x).exp().sum().item(), 6), prior.expand((5, 2)).sample().shape
        (1.0, torch.Size([5, 2, 4]))
    """

    def __init__(
        self,
        sampler: Sampler | Sequence[Sampler],
        model: Parameterization,
        density: Literal["fixed", "pseudo", "exact", "bound"] = "fixed",
        steps: int | None = None,
        *,
        times: Sequence[float] | Tensor | None = None,
        plan: Any = None,
        num_samples: int = 8,
        validate_args: bool | None = None,
    ) -> None:
        if density not in DENSITIES:
            raise ValueError(f"density={density!r} must be one of {', '.join(map(repr, DENSITIES))}.")
        if isinstance(num_samples, bool) or num_samples != int(num_samples) or num_samples < 1:
            raise ValueError(f"num_samples={num_samples!r} must be a whole number of at least 1.")
        if plan is not None and density != "fixed":
            raise ValueError(f"plan= is for density='fixed'; density={density!r} averages over plans.")
        refuse_wide_conditions(model)
        self.reverse = Reverse.of(sampler, model, steps, times)
        self.sampler, self.model, self.density = sampler, self.reverse.model, density
        self.steps, self.space = len(self.reverse.times) - 1, self.reverse.space
        self._given = model
        self._key = (self.reverse.samplers, steps, None if times is None else tuple(map(float, times)), num_samples)
        self._density = self._make(plan, int(num_samples))
        rows = conditioned_rows(model)
        batch = torch.Size() if rows in (None, 1) else torch.Size((rows,))
        super().__init__(batch, torch.Size((self.reverse.length,)), validate_args=validate_args)

    def _make(self, plan: Any, num_samples: int) -> Density:
        if self.density == "exact":
            return Exact()
        if self.density == "fixed":
            return Fixed(left_to_right(self.reverse) if plan is None else checked_plan(self.reverse, plan))
        Route.of(self.reverse)
        return Estimated(num_samples, mean_log=self.density == "bound")

    @property
    def plan_law(self) -> PlanLaw:
        """The law of the site ``{name}_plan`` of ``diffusion_sample``, event (L,), for guides that draw it as well.

        Raises:
            ValueError: a reverse process without plans.
        """
        require_plan(self.reverse)
        return PlanLaw(self.reverse, self.batch_shape)

    @classmethod
    def infer_shapes(cls, **arg_shapes: Sequence[int]) -> tuple[torch.Size, torch.Size]:
        """Shapes from that of ``plan``; without one the length is known to the model alone."""
        if not arg_shapes.get("plan"):
            raise NotImplementedError("The event shape of a DiffusionPrior is its model's length; give plan= as well.")
        return torch.Size(), torch.Size(arg_shapes["plan"])

    @property
    def _device(self) -> torch.device:
        return self.reverse.device

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override, unused-ignore]
        """Whether there are few sequences."""
        return not self.space.is_countable and self.space.num_states <= MAX_SEQUENCES

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All sequences in index order, (num_states, *batch, L); with ones for the batch unless ``expand``.

        Raises:
            ValueError: too many; or asked for by ``infer_discrete``, which can only draw scalar sites.
        """
        refuse_event_enumeration()
        return super().enumerate_support(expand)

    def __call__(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """A draw, as ``pyro.sample`` asks for it. Raises ValueError where exact inference would skip the site."""
        refuse_silent_enumeration(self)
        x, auxiliary = self._draw(sample_shape)
        if auxiliary is not None and open_traces():
            remember(x, Making(self._key, self._given, auxiliary))
        return x

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws, (*sample_shape, *batch, L)."""
        return self._draw(sample_shape)[0]

    def _draw(self, sample_shape: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Draws, and how they came to be where the density is estimated from that."""
        shape = torch.Size((*sample_shape, *self.batch_shape))
        check_rows(self.model, shape)
        count = shape.numel()
        reverse = self.reverse.rows(torch.arange(count, device=self._device))
        auxiliary = None
        with torch.no_grad():
            if isinstance(self._density, Estimated):
                x, auxiliary = self._density.sample_making(reverse, count)
            else:
                x = self._density.sample(reverse, count)
        return x.reshape(*shape, -1), auxiliary

    def log_prob(self, value: Tensor) -> Tensor:
        """log-probability, or its estimate, (..., L) -> (...,) float64, differentiable in the model's parameters."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        check_rows(self.model, shape)
        x = value.long().expand(*shape, -1).reshape(-1, value.shape[-1])
        reverse = self.reverse.rows(torch.arange(len(x), device=x.device))
        if not isinstance(self._density, Estimated):
            return self._density.log_prob(reverse, x).reshape(shape)
        making = recall(value, self._key, self._given) if value.shape[:-1] == shape else None
        with torch.no_grad():
            auxiliary = self._density.propose(reverse, x, None if making is None else making.auxiliary)
        if making is not None:
            making.auxiliary = auxiliary
        return self._density.estimate(reverse, x, auxiliary).reshape(shape)

    def entropy(self) -> Tensor:
        """-sum_x P(x) log P(x), nats, over all sequences; for "fixed" and "exact" on spaces that can be listed."""
        if self.density not in ("fixed", "exact") or not self.has_enumerate_support:
            raise NotImplementedError(
                f"{self!r} has no entropy in closed form; it needs an exact density and few states."
            )
        return torch.special.entr(self.log_prob(super().enumerate_support()).exp()).sum(0)

    def __repr__(self) -> str:
        return f"DiffusionPrior({self.sampler}, {type(self._given).__name__}, density={self.density!r}, {self.space})"
