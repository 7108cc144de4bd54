"""A diffusion prior as sites of a Pyro program, with an exact joint density."""

from __future__ import annotations

from torch import Tensor

from ddm_pyro.infer.chain import Chain
from ddm_pyro.infer.listed import emit
from ddm_pyro.infer.plans import PlanLaw, Unmasking
from ddm_pyro.infer.prior import DiffusionPrior
from ddm_pyro.infer.sites import PLAN, PRIOR, STATE
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.samplers import Ancestral, FirstHitting

#: Steps of the chain when a Parameterization of a process without masks is given as the prior.
DEFAULT_STEPS = 16


def diffusion_sample(name: str, prior: DiffusionPrior | Parameterization, obs: Tensor | None = None) -> Tensor:
    """Sample from a diffusion prior, the randomness behind it as sites of their own: the joint is exact at any size.

    For masked processes the plan, which step draws each position, is the site ``{name}_plan``, and ``name`` given it
    is autoregressive over the steps. Otherwise the states of the chain are the sites ``{name}@k``, from noise at the
    largest k to ``{name}@1``, and ``name`` follows from ``{name}@1`` by the last step. Works in plates, with any
    engine that can treat the sites, under ``poutine.condition`` and ``do``.

    Args:
        name: the site of the tokens, event (L,).
        prior: a DiffusionPrior, of which sampler, model and grid count (not ``density``); or a Parameterization, run by
            ``FirstHitting()`` on masked processes and by ``Ancestral()`` in 16 steps on others.
        obs: observed tokens, (..., L).

    Returns:
        The tokens, (..., L) int64.

    Raises:
        TypeError: a prior that is neither.
        ValueError: a predictor with correctors, which has no such sites.

    Example:
        >>> import ddm_pyro as ddm, pyro.poutine as poutine
        >>> target = ddm.targets.PottsChain(num_states=3, length=4, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=4)
        >>> trace = poutine.trace(diffusion_sample).get_trace("x", target.denoiser(forward))
        >>> [site for site in trace.nodes if site.startswith("x")]
        ['x_plan', 'x']
    """
    prior = as_prior(prior)
    reverse, infer = prior.reverse, {PRIOR: prior}
    if reverse.planned:
        plan = emit(f"{name}_plan", PlanLaw(reverse, prior.batch_shape), {PLAN: name})
        return emit(name, Unmasking(reverse, plan), infer, obs)
    chain = Chain.of(reverse)
    last = chain.kernels
    x = emit(f"{name}@{last}", chain.start().expand(prior.batch_shape), {STATE: name})
    for k in range(last - 1):
        x = emit(f"{name}@{last - 1 - k}", chain.step(x, k), {STATE: name})
    return emit(name, chain.step(x, last - 1), infer, obs)


def as_prior(prior: DiffusionPrior | Parameterization) -> DiffusionPrior:
    """The prior itself, or the default one of a Parameterization. Raises TypeError for anything else."""
    if isinstance(prior, DiffusionPrior):
        return prior
    if not isinstance(prior, Parameterization):
        raise TypeError(f"prior={prior!r} must be a DiffusionPrior, or a Parameterization such as ddm_pyro.load gives.")
    if prior.process.is_masked and prior.primary == "x0":
        return DiffusionPrior(FirstHitting(), prior, density="pseudo")
    return DiffusionPrior(Ancestral(), prior, density="pseudo", steps=DEFAULT_STEPS)
