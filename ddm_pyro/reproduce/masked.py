"""Masked samplers of Potts chains: their mask-conditional divergence, three ways."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.bounds import Certificate, LiCai, PlanKL
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.processes import ForwardProcess
from ddm_pyro.rates import Masked
from ddm_pyro.samplers import KUnmask
from ddm_pyro.schedules import Linear, NoiseSchedule
from ddm_pyro.targets import Tabular

#: Rows of a network call.
BATCH = 256


def forward(target: Any, schedule: NoiseSchedule | None = None) -> ForwardProcess:
    """The masked process of a target's space, linear unless said otherwise."""
    space = target.space
    return ForwardProcess(Masked(space.vocab_size), schedule or Linear(), length=space.length)


def plan_kl(target: Any, sizes: Sequence[int], model: Parameterization | None = None) -> Certificate:
    """``core/plan-kl`` of k-unmask, with the exact model unless another is given; the information curve where known."""
    model = model or target.denoiser(forward(target))
    return PlanKL()(target=target, model=model, sampler=KUnmask(tuple(sizes)))


def li_cai(target: Any, sizes: Sequence[int]) -> dict[str, float]:
    """What ``core/li-cai`` says of k-unmask with the exact model: both theorems' bounds, by name."""
    model = target.denoiser(forward(target))
    return dict(LiCai()(target=target, model=model, sampler=KUnmask(tuple(sizes))).terms)


def by_patterns(target: Any, sizes: Sequence[int]) -> float:
    """E_M KL with every mask pattern of every state summed, from the pmf alone: no information curve."""
    law = Tabular(target.tabular())
    return plan_kl(law, sizes, Tabular(target.tabular()).denoiser(forward(target))).terms["kl"]


def by_draws(target: Any, model: Parameterization, sizes: Sequence[int], rows: int, seed: int) -> tuple[float, float]:
    """E_M KL estimated as a user would who only has samples and a network, and its standard error.

    The mean of log p(x_0) - sum_i log phat(x_0^i | what is known when i is drawn): for each block of the schedule
    ``rows`` draws of x_0 and of the set that is known then.
    """
    total, variance = 0.0, 0.0
    for known, size, x0, xt in contexts(target, sizes, rows, seed):
        masked = xt == target.space.vocab_size
        log_p = model.x0_log_probs(xt, torch.zeros((), dtype=torch.float64))
        losses = -log_p.double().gather(-1, x0.unsqueeze(-1)).squeeze(-1)
        length = target.space.length
        value = torch.where(masked, losses, 0.0).sum(-1) * size / (length - known)
        # The exact share of -log p(x_0) has the same mean in every block and takes most of the noise away.
        value = value + target.log_prob(x0) * size / length
        total += float(value.mean())
        variance += float(value.var()) / rows
    return total, math.sqrt(variance)


def training_error(
    target: Any, model: Parameterization, exact: Parameterization, sizes: Sequence[int], rows: int, seed: int
) -> tuple[float, float]:
    """eps_train = sum_k s_k mean_i E KL(p(x_i | known) || phat(x_i | known)), and its standard error."""
    total, variance = 0.0, 0.0
    for known, size, _, xt in contexts(target, sizes, rows, seed):
        masked = xt == target.space.vocab_size
        time = torch.zeros((), dtype=torch.float64)
        truth, guess = exact.x0_log_probs(xt, time).double(), model.x0_log_probs(xt, time).double()
        gap = torch.where(truth > -torch.inf, truth.exp() * (truth - guess), 0.0).sum(-1)
        value = torch.where(masked, gap, 0.0).sum(-1) * size / (target.space.length - known)
        total += float(value.mean())
        variance += float(value.var()) / rows
    return total, math.sqrt(variance)


def contexts(target: Any, sizes: Sequence[int], rows: int, seed: int) -> list[tuple[int, int, Tensor, Tensor]]:
    """(positions known, positions drawn, x_0, x_0 with a uniform set of the others masked) for each block."""
    made, known = [], 0
    for block, size in enumerate(sizes):
        with random.indexed(seed, range(block * rows, (block + 1) * rows)):
            x0 = target.sample((rows,))
            order = random.uniform(x0.shape).argsort(-1).argsort(-1)
        made.append((known, size, x0, torch.where(order < known, x0, target.space.vocab_size)))
        known += size
    return made
