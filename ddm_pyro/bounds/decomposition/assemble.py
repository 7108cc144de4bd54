"""``decompose``: what the error of a model or a sampler is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ddm_pyro.bounds.decomposition import continuous
from ddm_pyro.bounds.decomposition.discrete import LocalErrors, Stage, denoising, residuals
from ddm_pyro.bounds.decomposition.observables import is_metric, values, witness
from ddm_pyro.bounds.decomposition.reference import Blocks, Masked, Noised, Reference, embed
from ddm_pyro.bounds.decomposition.result import Decomposition
from ddm_pyro.parameterizations import Exact
from ddm_pyro.samplers import Sampler
from ddm_pyro.samplers.blocks import BlockSampler
from ddm_pyro.sampling.arguments import as_samplers, leaves_noise, resolve_times
from ddm_pyro.sampling.exact import start_pmf
from ddm_pyro.targets import Tabular

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.spaces import StateSpace

Split = Literal["kernels", "adjoint"]


def decompose(
    target: Any,
    model: Parameterization,
    observable: Any,
    *,
    sampler: Sampler | Sequence[Sampler] | None = None,
    steps: int | None = None,
    times: Sequence[float] | Tensor | None = None,
    start: float = 1.0,
    stop: float = 0.0,
    conditioned: bool | None = None,
    final_denoise: bool = True,
    split: Split = "kernels",
) -> Decomposition:
    """E_p f - E_phat f, p the data law and phat the sampler's, split into initialization, score and discretization.

    Without a sampler phat is the law of the continuous-time reverse process with the model's rates, and with u_t its
    Kolmogorov backward solution from u_stop = f

        E_p f - E_phat f = <p_T - pi, u_T> + int sum_x p_t(x) sum_y (Rbar_t - Rhat_t)(x, y) (u_t(y) - u_t(x)) dt.

    With a sampler of kernels K_k and v_k = K_k v_{k-1}, v_0 = f, the same with <p_{t_k}, (Kbar_k - K_k) v_{k-1}>.
    There ``split="kernels"`` calls K* - K score and Kbar - K* discretization, K* being the same step taken with the
    exact model; ``split="adjoint"`` takes the score error of the continuous-time process and calls the rest,
    <phat_{t_k}, u_{t_k} - K_k u_{t_{k-1}}>, discretization. A final denoising is always split by kernels.

    For a masked process ``conditioned`` (the default) compares with the data law noised and *conditioned* to be all
    masks at the first time: it has the same reverse rates and no initialization error at any first time. Block samplers
    are compared with the data law masked to their own block sizes. (arXiv 2605.17232, conditioning and splits by us.)

    Nothing of size states x states is made: functions and laws are carried over the states, the model is asked about
    all of them at each time the solver looks at (about 200 to 300 times; once for a time-free masked model), a step of
    a sampler costs states^2 multiplications. Everything is computed in float64 on the CPU.

    Args:
        target: the data law: a target, or a ``Tabular``.
        model: the approximate model, on a space that can be listed.
        observable: f as a tensor over the data, (S,) * L or flat; a function of tokens (n, L) -> (n,); or an IPM, whose
            witness between the two laws is then f. Where masks are left (no final denoising), f must cover them.
        sampler, steps, times, final_denoise: as in ``push``. Without a sampler ``times`` or ``steps`` only say between
            which times the score error is summed.
        start, stop: the interval of the continuous-time process. With ``stop`` > 0 what is noise there is denoised
            in one draw from the x0-posterior; with ``final_denoise=False`` p is p_stop.
        conditioned: see above; refused for processes without masks.
        split: what is called score with a sampler.

    Raises:
        ValueError: spaces that differ or cannot be listed, bad times, an observable that does not fit, reverse rates
            without a limit at stop = 0.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=3, length=3, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=3)
        >>> model = ddm.targets.PottsChain(num_states=3, length=3, coupling=0.8).denoiser(forward)
        >>> agree = lambda x: (x[:, 0] == x[:, 1]).double()
        >>> found = decompose(target, model, agree)
        >>> round(found.total, 6), round(found.score, 6), abs(found.residual) < 1e-12
        (0.049429, 0.049429, True)
        >>> found = decompose(target, model, agree, sampler=ddm.samplers.Ancestral(), steps=4)
        >>> {name: round(part, 4) for name, part in found.parts.items()}
        {'initialization': 0.0, 'score': 0.0376, 'discretization': 0.0602}
    """
    world = _World.of(target, model, conditioned)
    if split not in ("kernels", "adjoint"):
        raise ValueError(f"split={split!r} must be 'kernels' or 'adjoint'.")
    if sampler is None:
        grid = _grid(steps, times, start, stop)
        return _continuous(
            world,
            observable,
            grid,
            start=start if times is None else float(times[0]),
            stop=stop if times is None else float(times[-1]),
            final_denoise=final_denoise,
        )
    if start != 1.0 or stop != 0.0:
        raise ValueError(f"start={start} and stop={stop} are for the continuous-time process; give a sampler times=.")
    return _discrete(world, observable, as_samplers(sampler), steps, times, final_denoise, split)


@dataclass(frozen=True)
class _World:
    """The data law, its exact model, and the model."""

    data: Tensor
    exact: Parameterization
    model: Parameterization
    conditioned: bool

    @classmethod
    def of(cls, target: Any, model: Parameterization, conditioned: bool | None) -> _World:
        process = model.process
        process.space.require_enumerable("A decomposition")
        if target.space != process.space.data:
            raise ValueError(f"The target lives on {target.space}, the model on {process.space.data}; they must agree.")
        if conditioned and not process.is_masked:
            raise ValueError(f"conditioned=True needs a process whose noise is a mask; {process!r} is none.")
        law = target.tabular() if hasattr(target, "tabular") else target
        exact = Exact(target if hasattr(target, "posterior") else Tabular(law), process)
        return cls(law.pmf.detach().cpu(), exact, model, process.is_masked if conditioned is None else conditioned)

    @property
    def space(self) -> StateSpace:
        return self.model.process.space

    def reference(self, top: float) -> Reference:
        process = self.model.process
        if process.is_masked:
            return Masked(process, self.data, top if self.conditioned else None)
        return Noised(process, self.data)

    def prior(self) -> Tensor:
        return start_pmf(self.model.process, None)

    def seen(self, law: Tensor, masks: bool) -> Tensor:
        """A law on the space as one on the data, unless masks are left."""
        if masks or self.space.mask is None:
            return law
        return law.reshape(self.space.radices)[tuple(slice(0, n) for n in self.space.position_sizes)].reshape(-1)

    def observe(self, observable: Any, masks: bool, p: Tensor, q: Any) -> Tensor:
        """The observable on the whole space; ``q()`` is the sampler's law, p the exact one, both on the space."""
        if not is_metric(observable):
            return values(observable, self.space.data, self.space, masks)
        final = self.space if masks else self.space.data
        f = witness(observable, final, self.seen(p, masks), self.seen(q(), masks))
        return f if masks else embed(f, self.space)


def _grid(steps: int | None, times: Any, start: float, stop: float) -> list[float] | None:
    """Increasing times of the continuous identity, or None for the solver's own."""
    if times is not None:
        if steps is not None or (start, stop) != (1.0, 0.0):
            raise ValueError("Give times=, or steps= with start= and stop=, not both.")
        grid = [float(t) for t in times]
    else:
        if not 0.0 <= stop < start <= 1.0:
            raise ValueError(f"start={start} and stop={stop} must satisfy 0 <= stop < start <= 1.")
        if steps is None:
            return None
        if steps != int(steps) or steps < 1:
            raise ValueError(f"steps={steps!r} must be a whole number of at least 1.")
        grid = torch.linspace(start, stop, int(steps) + 1, dtype=torch.float64).tolist()
    if len(grid) < 2 or not all(0.0 <= s < t <= 1.0 for t, s in pairwise(grid)):
        raise ValueError(f"times={grid} must decrease strictly within [0, 1]; t = 1 is noise, t = 0 data.")
    return grid[::-1]


def _continuous(
    world: _World, observable: Any, grid: list[float] | None, *, start: float, stop: float, final_denoise: bool
) -> Decomposition:
    model, reference, prior = world.model, world.reference(start), world.prior()
    denoised = final_denoise and stop > 0.0
    masks = world.space.mask is not None and not denoised and (stop > 0.0 or not model.process.is_masked)
    p = reference.law(0.0 if denoised else stop)

    def law() -> Tensor:
        q = continuous.law(model, prior, start, stop)
        return denoising(stop).push(model, q) if denoised else q

    f = world.observe(observable, masks, p, law)
    errors = LocalErrors(torch.zeros_like(f), f.new_zeros(world.space.length))
    g = errors.add(denoising(stop), reference, world.exact, model, f) if denoised else f
    adjoint = continuous.solve(model, reference, g, grid, start, stop)
    u, score = adjoint.u[-1], adjoint.score
    return Decomposition(
        total=float(p @ f - prior @ u),
        initialization=float((reference.law(start) - prior) @ u),
        score=sum(score.by_time) + sum(errors.score),
        discretization=sum(errors.discretization),
        times=_times(score.times, denoised),
        score_by_time=_decreasing(errors.score + score.by_time),
        score_by_position=_sum(score.by_position, errors.by_position),
        score_by_state=score.by_state + errors.by_state,
        discretization_by_time=_decreasing(errors.discretization + [0.0] * len(score.by_time)),
        space=world.space,
        observable=world.seen(f, masks),
        conditioned=world.conditioned,
    )


def _discrete(
    world: _World,
    observable: Any,
    samplers: list[Sampler],
    steps: int | None,
    times: Any,
    final_denoise: bool,
    split: Split,
) -> Decomposition:
    model, process, prior = world.model, world.model.process, world.prior()
    grid, last = resolve_times(samplers, model, steps, times)
    for one in samplers:
        if one.masked_only and not process.is_masked:
            raise ValueError(f"{one} reveals masks, but {process!r} has none; use core/ancestral or another sampler.")
    stages = [Stage(tuple(samplers), t, s) for t, s in pairwise(grid.unbind())]
    blocks = next((one for one in samplers if isinstance(one, BlockSampler)), None)
    reference = world.reference(float(grid[0]))
    if blocks is not None and split == "kernels":
        reference = _blocks(world, blocks, grid)
    denoised = final_denoise and leaves_noise(samplers, process, last)
    masks = world.space.mask is not None and not denoised and leaves_noise(samplers, process, last)
    p = reference.law(0.0 if denoised else last)

    def law() -> Tensor:
        q = prior
        for stage in stages:
            q = stage.push(model, q)
        return denoising(last).push(model, q) if denoised else q

    f = world.observe(observable, masks, p, law)
    errors = LocalErrors(torch.zeros_like(f), f.new_zeros(world.space.length))
    g = _after_denoising(world, reference, f, last, errors) if denoised else f
    ascending = grid.flip(0).tolist()
    if split == "kernels":
        v = g
        for stage in reversed(stages):
            v = errors.add(stage, reference, world.exact, model, v)
        expected, by_position = prior @ v, errors.by_position
    else:
        adjoint = continuous.solve(model, reference, g, ascending, ascending[-1], last)
        v, score = adjoint.u[-1], adjoint.score
        by_position = _sum(score.by_position, errors.by_position)
        steps_cost, expected = residuals(stages, model, prior, adjoint.u)
        errors.by_state += score.by_state
        errors.score += score.by_time
        errors.discretization += steps_cost[::-1]
    return Decomposition(
        total=float(p @ f - expected),
        initialization=float((reference.law(float(grid[0])) - prior) @ v),
        score=sum(errors.score),
        discretization=sum(errors.discretization),
        times=_times(ascending, denoised and last > 0.0),
        score_by_time=_decreasing(errors.score),
        score_by_position=by_position,
        score_by_state=errors.by_state,
        discretization_by_time=_decreasing(errors.discretization),
        space=world.space,
        observable=world.seen(f, masks),
        conditioned=world.conditioned or isinstance(reference, Blocks),
    )


def _blocks(world: _World, sampler: BlockSampler, grid: Tensor) -> Blocks:
    """The data law masked to the block sizes of the sampler."""
    left = [world.space.length]
    for size in sampler.sizes_for(world.space.length):
        left.append(left[-1] - size)
    if left[-1] != 0:
        raise ValueError(f"{sampler} reveals {left[0] - left[-1]} of {left[0]} positions; it must reveal all of them.")
    return Blocks(world.model.process, world.data, None, tuple(grid.tolist()), tuple(left))


def _after_denoising(world: _World, reference: Reference, f: Tensor, last: float, errors: LocalErrors) -> Tensor:
    """E f after the final denoising; at time 0 the exact chain has nothing left to denoise, so it costs nothing."""
    if last > 0.0:
        return errors.add(denoising(last), reference, world.exact, world.model, f)
    return denoising(last).backward(world.model, f)


def _sum(one: Tensor, other: Tensor | None) -> Tensor | None:
    return None if other is None else one + other


def _times(increasing: list[float], denoised: bool) -> Tensor:
    edges = [0.0, *increasing] if denoised else increasing
    return torch.tensor(edges[::-1], dtype=torch.float64)


def _decreasing(increasing: list[float]) -> Tensor:
    return torch.tensor(increasing[::-1], dtype=torch.float64)
