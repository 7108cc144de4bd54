"""The particles of one diffusion site on their way from noise to data."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddm_pyro.distributions import LazyLaw
from ddm_pyro.infer.resampling import take
from ddm_pyro.infer.twisted_smc_model import Given, tilted
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.samplers import Sampler
from ddm_pyro.samplers.blocks import BlockSampler
from ddm_pyro.samplers.plans import Planned
from ddm_pyro.samplers.thinning import ThinningSampler
from ddm_pyro.sampling.loop import denoise_law

if TYPE_CHECKING:
    from ddm_pyro.infer.prior import DiffusionPrior

#: Samplers whose step asks the model once, for the x0-posterior at the x it is given.
ASKS_ONCE = (ThinningSampler, BlockSampler, Planned)


class Track:
    """State of one site: tokens, sampler and prediction, all in rows (P, d_M, ..., d_1).

    Attributes:
        x: (P, d_M, ..., d_1, L) tokens.
        log_p: (P, d_M, ..., d_1, L, V) float64, the last prediction of x_0, one-hot where a token is revealed.
        moves: steps in all, the final denoising included.
    """

    def __init__(self, prior: DiffusionPrior, count: int, batch: torch.Size, plan: Tensor | None = None) -> None:
        self.batch, self.rows = torch.Size((count, *batch)), count * batch.numel()
        reverse = prior.reverse.rows(torch.arange(self.rows, device=prior.reverse.device))
        if len(reverse.samplers) > 1:
            raise ValueError(f"Twisted SMC runs one sampler; {prior.sampler!r} are a predictor and correctors.")
        self.process, self.model, self.grid = reverse.process, reverse.model, reverse.times
        x = self.process.prior().expand((self.rows,)).sample().to(reverse.device).long()
        if plan is not None:
            plan = plan.expand(self.rows, -1)
        elif reverse.planned:
            plan = reverse.sampler.plan(self.process, x, self.grid).sample()  # type: ignore[union-attr]
        self.active: Sampler = reverse.sampler.prepare(self.process, x, self.grid, plan)
        self.steps = len(self.grid) - 1
        self.moves = self.steps + int(reverse.denoise)
        self.x, self.done = x.reshape(*self.batch, -1), 0
        self.log_p = torch.zeros((), dtype=torch.float64)

    @property
    def progress(self) -> float:
        """Share of the moves that is done once the next one is."""
        return (self.done + 1) / self.moves

    def predict(self) -> None:
        """Run the network on every particle, at the time the next move sees."""
        table = torch.log_softmax(self.model.x0_log_probs(self.x.flatten(0, -2), self._time()).double(), -1)
        self.log_p = self._settled(table.reshape(*self.x.shape, -1))

    def _settled(self, log_p: Tensor) -> Tensor:
        """The prediction with tokens that will not change any more in place."""
        if not self.process.is_masked and self.done < self.moves:
            return log_p
        own = torch.arange(log_p.shape[-1], device=log_p.device) == self.x.unsqueeze(-1)
        carried = torch.where(own, 0.0, -torch.inf).double()
        return torch.where(self.process.space.is_mask(self.x).unsqueeze(-1), log_p, carried)

    def _time(self) -> Tensor:
        clock = getattr(self.active, "clock", None)
        return self.grid[self.done] if clock is None or self.done >= self.steps else clock[:, self.done]

    def free(self) -> Tensor:
        """Flat indices row * L + position the next move may draw; all positions where that cannot be looked up."""
        split = getattr(self.active, "split", None)
        if split is not None and self.done < self.steps:
            return split[self.done]
        return torch.arange(self.x.numel(), device=self.x.device)

    def move(self, tilt: Tensor | None, defensive: float) -> Tensor:
        """Take the next step, steered by ``tilt`` (broadcasting to log_p); returns log K - log q a row, (P, d...).

        A step whose density is unknown is taken as it is, with weight one.
        """
        flat = self.x.flatten(0, -2)
        known = Given(self.process, self.log_p.flatten(0, -3), self.model.time_free)
        target = self._law(known if isinstance(self.active, ASKS_ONCE) or self._denoising else self.model, flat)
        law = target
        if tilt is not None:
            steered = tilted(self.log_p, tilt, defensive).flatten(0, -3)
            law = self._law(Given(self.process, steered, self.model.time_free), flat)
        y = law.sample()
        ratio = torch.zeros(self.rows, dtype=torch.float64, device=y.device)
        if tilt is not None:
            try:
                ratio = target.log_prob(y) - law.log_prob(y)
            except NotImplementedError:
                y = target.sample()
        if not self._denoising:
            self.active = self.active.after(flat, y, target)
        self.x, self.done = y.reshape(self.x.shape), self.done + 1
        self.log_p = self._settled(self.log_p)
        return ratio.reshape(self.batch)

    @property
    def _denoising(self) -> bool:
        return self.done >= self.steps

    def _law(self, model: Parameterization, flat: Tensor) -> Any:
        if self._denoising:
            return denoise_law(model, flat, self.grid[-1])
        law = self.active.step(model, flat, self.grid[self.done], self.grid[self.done + 1])
        law = law.law if isinstance(law, LazyLaw) else law
        # Tokens are drawn by the law itself; what is scored need not be checked.
        law._validate_args = False
        return law

    def resample(self, ancestors: Tensor) -> None:
        """Go on with the particles ``ancestors``, (P, g_M, ..., g_1)."""
        rows = torch.arange(self.rows, device=self.x.device).reshape(self.batch)
        index = take(rows, ancestors).reshape(-1)
        self.x, self.log_p = take(self.x, ancestors), take(self.log_p, ancestors)
        self.active = select(self.active, index, self)


def select(sampler: Sampler, index: Tensor, track: Track) -> Sampler:
    """The sampler with its per-row tensors taken at ``index``."""
    if isinstance(sampler, Planned):
        clock = None if sampler.clock is None else sampler.clock[index]
        fresh = Planned.of(track.process, track.x.flatten(0, -2), track.grid, sampler.positions[index], clock)
        return replace(fresh, index=sampler.index)
    if not is_dataclass(sampler):
        return sampler
    carried = {f.name: getattr(sampler, f.name) for f in fields(sampler) if f.init}
    changed = {n: v[index] for n, v in carried.items() if isinstance(v, Tensor) and v.shape[:1] == index.shape}
    return replace(sampler, **changed) if changed else sampler
