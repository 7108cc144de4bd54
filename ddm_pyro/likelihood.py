"""How likely data are under a model: bounds on -log p(x_0) with their Monte Carlo error, and exact values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.losses import NELBO, Loss
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.processes import Process
from ddm_pyro.samplers import Sampler
from ddm_pyro.sampling import push

if TYPE_CHECKING:
    from ddm_pyro.distributions import Tabular

#: Noised sequences a network call works on unless ``batch_size`` says otherwise.
DEFAULT_BATCH = 256
#: Times in continuous time are u^POWER, u ~ U(0, 1).
POWER = 3


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

    value = mean over draws of loss(model, x_0, x_t, t) + loss.constant(process, x_0). The bound is that of the loss:
    ``NELBO()`` of the reverse process in continuous time, ``DiscreteNELBO(steps)`` of the sampler with these steps,
    ``MaskSizeWeighted(sizes)`` of k-unmask, ``GeneralizedKL()`` of the process of mixture paths.

    In continuous time t = u^3 with weight 3 u^2, u stratified over [0, 1]: integrands are about 1/t with probability t,
    so that a uniform t has no finite variance. ``stderr`` is that of independent draws, not less than the stratified
    one's on average. Where a masked process keeps tokens up to t = 1 (alpha(1) > 0) x_t is drawn given that the end is
    all masks, as sampling starts from there: the path of least divergence, whose reveal rates are the same and whose
    prior term is 0 (``loss.constant``, of all noised paths, is infinite).

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
    for name, given, least in (("samples", samples, 2), ("batch_size", batch_size, 1), ("seed", seed, 0)):
        if isinstance(given, bool) or not isinstance(given, Integral) or given < least:
            raise ValueError(f"{name}={given!r} must be a whole number of at least {least}.")
    samples, batch_size, seed = int(samples), int(batch_size), int(seed)
    process = model.process
    x0 = process.space.data.check(x0, "x0").to(model.device)
    rows = x0.reshape(-1, x0.shape[-1])
    with torch.no_grad():
        constant = loss.constant(process, rows)
        to_masks = _ends_short_of_masks(process, loss)
        parts = [
            _integrands(model, loss, rows, index, samples, seed, to_masks)
            for index in torch.arange(len(rows) * samples, device=rows.device).split(batch_size)
        ]
        values = torch.cat(parts).reshape(len(rows), samples)
        value = values.mean(-1) + (0.0 if to_masks else constant)
    # Where a draw is infinite, so is the bound: nothing is left to estimate.
    spread = torch.where(value.isinf(), 0.0, values.std(-1)) / math.sqrt(samples)
    return NegativeLogLikelihood(value.reshape(x0.shape[:-1]), spread.reshape(x0.shape[:-1]), x0.shape[-1])


def _ends_short_of_masks(process: Process, loss: Loss) -> bool:
    """Whether the loss is a divergence of paths (its constant that of their ends) and some tokens outlive t = 1."""
    if not process.is_masked or type(loss).constant is not Loss.constant:
        return False
    return bool(process.mask_probability(torch.ones((), dtype=torch.float64)) < 1.0)


def _integrands(
    model: Parameterization, loss: Loss, rows: Tensor, index: Tensor, samples: int, seed: int, to_masks: bool
) -> Tensor:
    """The weighted loss at draws ``index`` = row * samples + draw, (K,)."""
    row, draw, process = index // samples, index % samples, model.process
    with random.indexed(seed, range(int(index[0]), int(index[-1]) + 1), rows.device):
        u = (draw + random.uniform((len(index),), rows.device)) / samples
        continuous = type(loss).noise_time is Loss.noise_time
        t, weight = (u**POWER, POWER * u ** (POWER - 1)) if continuous else (loss.noise_time(u), torch.ones_like(u))
        x0 = rows[row]
        if to_masks:
            end = torch.full_like(x0, process.space.mask or 0)
            law = process.bridge(x0, end, t, torch.ones_like(t), validate_args=False)
        else:
            law = process.marginal(x0, t, validate_args=False)
        values: Tensor = weight * loss(model.rows(row), x0, law.sample(), t).double()
        return values


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
    if not isinstance(model, Parameterization):
        raise TypeError(f"model={model!r} must be a Parameterization such as X0(network, process).")
    x0 = model.process.space.data.check(x0, "x0")
    law: Tabular = push(sampler, model, steps=steps, times=times)
    value = -law.log_prob(x0)
    return NegativeLogLikelihood(value, torch.zeros_like(value), x0.shape[-1])
