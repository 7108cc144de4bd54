"""How likely data are under a model: bounds on -log p(x_0) with their Monte Carlo error, and exact values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.losses import NELBO, Loss
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.samplers import Sampler
from ddm_pyro.sampling import push

if TYPE_CHECKING:
    from ddm_pyro.distributions import Tabular

#: Noised sequences a network call works on unless ``batch_size`` says otherwise.
DEFAULT_BATCH = 256


@dataclass(frozen=True)
class NegativeLogLikelihood:
    """-log p(x_0), or a bound on it, of every row.

    Attributes:
        value: (...,) float64, nats a sequence.
        stderr: (...,) standard error of ``value`` from the draws of times and noise; 0 where it is exact.
        length: L, tokens a sequence.

    Example:
        >>> nll = NegativeLogLikelihood(torch.tensor([1.0, 3.0]), torch.tensor([0.3, 0.4]), length=2)
        >>> nll.mean, round(nll.mean_stderr, 6), round(nll.bits_per_token, 4)
        (2.0, 0.25, 1.4427)
    """

    value: Tensor
    stderr: Tensor
    length: int

    @property
    def mean(self) -> float:
        """Mean over the rows, nats a sequence."""
        return float(self.value.mean())

    @property
    def mean_stderr(self) -> float:
        """Monte Carlo standard error of ``mean`` for these rows (not of the choice of rows)."""
        return float(self.stderr.square().sum().sqrt()) / self.stderr.numel()

    @property
    def bits_per_token(self) -> float:
        """``mean`` in bits, divided by L."""
        return self.mean / (self.length * math.log(2.0))

    @property
    def bits_per_token_stderr(self) -> float:
        """``mean_stderr`` in bits, divided by L."""
        return self.mean_stderr / (self.length * math.log(2.0))


def nll_bound(
    model: Parameterization,
    x0: Tensor,
    *,
    loss: Loss | None = None,
    samples: int = 64,
    seed: int = 0,
    batch_size: int = DEFAULT_BATCH,
) -> NegativeLogLikelihood:
    """An unbiased estimate of a bound on -log p(x_0), row by row.

    value = mean over draws of loss(model, x_0, x_t, t) + loss.constant(process, x_0), t stratified over [0, 1]. The
    bound is that of the loss: ``NELBO()`` of the reverse process in continuous time, ``DiscreteNELBO(steps)`` of the
    sampler with these steps, ``MaskSizeWeighted(sizes)`` of k-unmask. ``stderr`` is that of independent draws, not less
    than the stratified one's on average.

    Args:
        model: a Parameterization; used as it is, without gradients (call ``model.eval()`` first if it drops out).
        x0: (..., L) int64, data.
        loss: a loss that is a bound; default ``NELBO()``.
        samples: draws of (t, x_t) a row, at least 2.
        seed: fixes the draws, whatever ``batch_size``; the global generator is left as found.
        batch_size: noised sequences a network call.

    Raises:
        TypeError: a model or loss of the wrong kind.
        ValueError: a loss that is no bound, bad tokens, fewer than 2 samples.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=3, length=4, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=4)
        >>> x0 = torch.tensor([[0, 0, 0, 0], [0, 1, 2, 2]])
        >>> bound = nll_bound(target.denoiser(forward), x0, samples=2000)
        >>> bool(((bound.value + target.log_prob(x0)).abs() < 5 * bound.stderr).all())  # tight at the truth, for masks
        True
    """
    loss = NELBO() if loss is None else loss
    if not isinstance(model, Parameterization):
        raise TypeError(f"model={model!r} must be a Parameterization such as X0(network, process).")
    if not isinstance(loss, Loss):
        raise TypeError(f"loss={loss!r} must be a Loss such as ddm_pyro.losses.NELBO().")
    if not loss.is_bound:
        raise ValueError(f"{loss!r} is no bound on -log p(x_0); use NELBO(), DiscreteNELBO() or MaskSizeWeighted().")
    for name, given, least in (("samples", samples, 2), ("batch_size", batch_size, 1)):
        if isinstance(given, bool) or int(given) != given or given < least:
            raise ValueError(f"{name}={given!r} must be a whole number of at least {least}.")
    process = model.process
    x0 = process.space.data.check(x0, "x0").to(model.device)
    rows = x0.reshape(-1, x0.shape[-1])
    with torch.no_grad():
        parts = [
            _integrands(model, loss, rows, index, samples, seed)
            for index in torch.arange(len(rows) * samples, device=rows.device).split(batch_size)
        ]
        values = torch.cat(parts).reshape(len(rows), samples)
        value = values.mean(-1) + loss.constant(process, rows)
    # Where a draw is infinite, so is the bound: nothing is left to estimate.
    spread = torch.where(value.isinf(), 0.0, values.std(-1)) / math.sqrt(samples)
    return NegativeLogLikelihood(value.reshape(x0.shape[:-1]), spread.reshape(x0.shape[:-1]), x0.shape[-1])


def _integrands(model: Parameterization, loss: Loss, rows: Tensor, index: Tensor, samples: int, seed: int) -> Tensor:
    """The loss at draws ``index`` = row * samples + draw, (K,)."""
    row, draw = index // samples, index % samples
    with random.indexed(seed, range(int(index[0]), int(index[-1]) + 1), rows.device):
        u = (draw + random.uniform((len(index),), rows.device)) / samples
        t = loss.noise_time(u)
        xt = model.process.marginal(rows[row], t, validate_args=False).sample()
        return loss(model.rows(row), rows[row], xt, t).double()


def exact_nll(
    sampler: Sampler | Sequence[Sampler],
    model: Parameterization,
    x0: Tensor,
    *,
    steps: int | None = None,
    times: Sequence[float] | Tensor | None = None,
) -> NegativeLogLikelihood:
    """-log of the probability that ``sample(sampler, model, ...)`` draws x_0, by carrying the whole law.

    Args:
        sampler, model, steps, times: as in ``push``.
        x0: (..., L) int64, data.

    Raises:
        ValueError: as ``push``; a space too large to enumerate.

    Example:
        >>> import ddm_pyro as ddm
        >>> target = ddm.targets.PottsChain(num_states=3, length=4, coupling=1.0)
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=4)
        >>> x0 = torch.tensor([0, 1, 2, 2])
        >>> nll = exact_nll(ddm.samplers.FirstHitting(), target.denoiser(forward), x0)
        >>> bool((nll.value + target.log_prob(x0)).abs() < 1e-12)
        True
    """
    x0 = model.process.space.data.check(x0, "x0")
    law: Tabular = push(sampler, model, steps=steps, times=times)
    value = -law.log_prob(x0)
    return NegativeLogLikelihood(value, torch.zeros_like(value), x0.shape[-1])
