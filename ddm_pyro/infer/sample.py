"""A diffusion prior as sites of a Pyro program, with an exact joint density."""

from __future__ import annotations

from torch import Tensor

from ddm_pyro.infer.chain import Chain
from ddm_pyro.infer.listed import emit
from ddm_pyro.infer.plans import Unmasking
from ddm_pyro.infer.prior import DiffusionPrior
from ddm_pyro.infer.sites import PLAN, PRIOR, STATE
from ddm_pyro.infer.stack import warn_of_unguided
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.samplers import Ancestral, FirstHitting

#: Steps of the chain when a Parameterization of a process without masks is given as the prior.
DEFAULT_STEPS = 16
#: What to do about a guide without the sites behind the tokens.
PLAN_REMEDY = "Let the guide draw the plan too, from DiffusionPrior.plan_law, or sum it out with TraceEnum_ELBO."
CHAIN_REMEDY = "Use ReverseGuide(sampler, model, program, site=...), which draws them."


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
        plan = emit(f"{name}_plan", prior.plan_law, {PLAN: name})
        if obs is None:
            warn_of_unguided(name, [f"{name}_plan", f"{name}_plan_index"], PLAN_REMEDY)
        return emit(name, Unmasking(reverse, plan), infer, obs)
    chain = Chain.of(reverse)
    states = [f"{name}@{k}" for k in range(chain.kernels, 0, -1)]
    x = emit(states[0], chain.start().expand(prior.batch_shape), {STATE: name})
    for k, state in enumerate(states[1:]):
        x = emit(state, chain.step(x, k), {STATE: name})
    if obs is None:
        warn_of_unguided(name, [*states, *(f"{state}_index" for state in states)], CHAIN_REMEDY)
    return emit(name, chain.step(x, chain.kernels - 1), infer, obs)


def as_prior(prior: DiffusionPrior | Parameterization) -> DiffusionPrior:
    """The prior itself, or the default one of a Parameterization. Raises TypeError for anything else."""
    if isinstance(prior, DiffusionPrior):
        return prior
    if not isinstance(prior, Parameterization):
        raise TypeError(f"prior={prior!r} must be a DiffusionPrior, or a Parameterization such as ddm_pyro.load gives.")
    if prior.process.is_masked and prior.primary == "x0":
        return DiffusionPrior(FirstHitting(), prior, density="pseudo")
    return DiffusionPrior(Ancestral(), prior, density="pseudo", steps=DEFAULT_STEPS)
