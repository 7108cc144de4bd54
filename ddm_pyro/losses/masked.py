"""Cross entropy on the masked positions: the closed form of every masked loss with an x0 model."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ddm_pyro.parameterizations import X0, Parameterization
from ddm_pyro.processes import Process


def reveal_rate(process: Process, t: Tensor) -> Tensor | None:
    """-alpha'(t) / (1 - alpha(t)), the rate at which the reverse process reveals a mask; None without such a law."""
    if not process.is_masked:
        return None
    try:
        return process.mask_decay(t) / process.mask_probability(t)
    except NotImplementedError:
        return None


def masked_cross_entropy(model: Parameterization, x0: Tensor, xt: Tensor, t: Tensor) -> Tensor:
    """sum over masked positions of -log p(x_0^l | x_t), (..., L) -> (...,), in the precision of the model.

    On the CPU the model's head runs on the masked rows only; elsewhere on all of them, because counting them would
    make the host wait for the device.
    """
    masked = model.process.space.is_mask(xt)
    if not runs_on_host(xt):
        return torch.where(masked, _token_losses(model, x0, xt, t, None), 0.0).sum(-1)
    at = masked.flatten().nonzero().squeeze(-1)
    values = _token_losses(model, x0, xt, t, at)
    out = torch.zeros(masked.numel(), dtype=values.dtype, device=xt.device)
    return out.index_put((at,), values).reshape(masked.shape).sum(-1)


def _token_losses(model: Parameterization, x0: Tensor, xt: Tensor, t: Tensor, at: Tensor | None) -> Tensor:
    """-log p(x_0^l | x_t) at masked positions (elsewhere anything), (..., L) or (K,)."""
    tokens = x0 if at is None else x0.flatten()[at]
    if isinstance(model, X0) and getattr(model.x0_log_probs, "__func__", None) is X0.x0_log_probs:
        # On masks X0's posterior is the softmax of its logits: one fused pass, no table of log-probabilities.
        logits = model.logits(xt, t, at=at)
        return cross_entropy(logits.flatten(0, -2), tokens.flatten(), reduction="none").reshape(tokens.shape)
    return -model.x0_log_probs(xt, t, at=at).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


def runs_on_host(x: Tensor) -> bool:
    """Whether the number of masks can be read without waiting for a device."""
    return x.device.type == "cpu"


def weighted_by(weight: Tensor, values: Tensor, masked: Tensor) -> Tensor:
    """weight * values in float64; rows without a mask, and times of weight 0, contribute 0 even when 0 * inf."""
    weight = torch.where(masked.any(-1), weight, 0.0)
    active = weight > 0
    return torch.where(active, weight * torch.where(active, values.to(torch.float64), 0.0), 0.0)
