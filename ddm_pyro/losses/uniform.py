"""The bound's integrand for uniform noise and an x0 model, in one pass over the vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor

from ddm_pyro.losses.divergence import weighted_sum
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.processes import ForwardProcess, Process
from ddm_pyro.rates import Uniform


def is_uniform(process: Process) -> bool:
    """Whether every position has uniform noise on the same alphabet, of two tokens or more."""
    return (
        isinstance(process, ForwardProcess)
        and process.joint.is_homogeneous
        and type(process.joint.rates[0]) is Uniform
        and process.space.vocab_size > 1
    )


def uniform_divergence(model: Parameterization, x0: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """sum over moves y of R_t[y, x] D(r || s), (...,): what ``reverse_divergence`` gives, without (..., L, V) ratios.

    With a = alpha(t), b = (1 - a)/V and p = p(x_0^l | x), the ratios of all y but x and x_0 are r = b/K and
    s = r e^A (1 + rho_y), K = q(x | x_0), A = log(K sum_u p_u / q(x | u)), rho_y proportional to p_y, so that

    D(r || s) = r [(e^A - 1 - A) + (e^A - 1) rho_y + rho_y - log(1 + rho_y)],

    each part of second order near the truth. The last one is summed in the precision of the model, the rest are
    numbers a position, float64.
    """
    process, size = model.process, model.process.space.vocab_size
    sigma = process.noise(torch.zeros_like(t), t).unsqueeze(-1)  # type: ignore[attr-defined]
    a, b = torch.exp(-sigma), -torch.expm1(-sigma) / size
    noisy = b > 0
    b = torch.where(noisy, b, 1.0)  # without noise there is no jump to compare
    p = model.x0_log_probs(x, t).exp()
    here = p.gather(-1, x.unsqueeze(-1)).squeeze(-1).double()
    there = p.gather(-1, x0.unsqueeze(-1)).squeeze(-1).double()
    others = p.scatter(-1, torch.stack([x, x0], -1), 0.0)
    rest = others.sum(-1, dtype=torch.float64)
    same = x == x0
    # A, from K sum_u p_u / q(x | u) = 1 + (1 - p_x) a/b when x = x_0, and 1 - p_x a/(a + b) otherwise.
    log_growth = torch.log1p(torch.where(same, rest * a / b, -here * a / (a + b)))
    kept = torch.where(same, a + b, b)
    growth = torch.expm1(log_growth)
    pace = a * kept / (b * b * (1.0 + growth))  # rho_y = pace p_y
    rho = pace.to(p.dtype).unsqueeze(-1) * others
    curved = (rho - torch.log1p(rho)).sum(-1, dtype=torch.float64)
    number = size - 2 + same.double()
    total = b / kept * (number * (growth - log_growth) + growth * pace * rest + curved)
    # The one move that the data pull at, y = x_0.
    gap = torch.log((a * torch.where(same, 1.0, there) + b * (1.0 + growth)) / (a + b))
    total = total + torch.where(same, 0.0, (a + b) / b * (torch.expm1(gap) - gap))
    rates = process.schedule.rate(t).unsqueeze(-1) / size  # type: ignore[attr-defined]
    return weighted_sum(torch.where(noisy, rates, 0.0).expand(x.shape).unsqueeze(-1), total.unsqueeze(-1))
