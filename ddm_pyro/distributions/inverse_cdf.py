"""Categorical draws by one float64 uniform a row, right in the tail at any vocabulary size."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Above this many symbols the inverse CDF goes through block sums instead of one cumulative sum.
DENSE_SYMBOLS = 64
#: The largest float64 below one. Its product with a positive total rounds below the total, so a uniform clamped to it
#: never names a symbol past the last one of positive weight.
BELOW_ONE = 1.0 - 2.0**-53


def inverse_cdf(weights: Tensor, u: Tensor) -> Tensor:
    """The symbol whose slice of the cumulative weights holds ``u``: (..., A) and (...,) -> (...,) int64.

    ``weights`` broadcast against ``u``: many draws from one row sum it once. They are nonnegative, of any float type
    and need not be normalised; a symbol of weight zero is never drawn. Cumulative sums run in float64: in float32, over
    50,000 symbols, they lose tails of mass 1e-4, and so does the float32 Gumbel trick (arXiv 2409.02908). Large
    alphabets use two levels: sums of about sqrt(A) blocks choose a block, then the inside of that one block is summed.
    A block's own sum may be float32 when the weights are: that moves probabilities by a factor of 1 +- 1e-6, tails too.

    Example:
        >>> inverse_cdf(torch.tensor([0.0, 1.0, 3.0]), torch.tensor(0.2)).item()
        1
    """
    size, u = weights.shape[-1], u.clamp(max=BELOW_ONE)
    if size <= DENSE_SYMBOLS:
        return _dense(weights, u)
    width = 2 ** round(math.log2(math.sqrt(size)))
    full = size // width
    precision = torch.promote_types(weights.dtype, torch.float32)
    sums = weights[..., : full * width].unflatten(-1, (full, width)).sum(-1, dtype=precision)
    if full * width < size:
        rest = weights[..., full * width :].sum(-1, keepdim=True, dtype=precision)
        sums = torch.cat([sums, rest], -1)
    sums = sums.double()
    cdf = sums.cumsum(-1)
    threshold = u.unsqueeze(-1) * cdf[..., -1:]
    block = _locate(cdf, threshold)
    sums, before = (each.expand(*block.shape[:-1], -1).gather(-1, block) for each in (sums, cdf - sums))
    # As a share of its block: what rounding did to the block's sum must not fall on its last symbol.
    share = ((threshold - before) / torch.where(sums > 0, sums, 1.0)).clamp(0.0, BELOW_ONE)
    # The last block may be short: symbols past the end have weight zero and are never drawn.
    symbols = block * width + torch.arange(width, device=weights.device)
    inside = weights.expand(*block.shape[:-1], -1).gather(-1, symbols.clamp(max=size - 1))
    inside = torch.where(symbols < size, inside, 0.0)
    inner = inside.cumsum(-1, dtype=torch.float64)
    within = _locate(inner, share * inner[..., -1:])
    return (block * width + within).squeeze(-1).clamp(max=size - 1)


def _dense(weights: Tensor, u: Tensor) -> Tensor:
    cdf = weights.cumsum(-1, dtype=torch.float64)
    return _locate(cdf, u.unsqueeze(-1) * cdf[..., -1:]).squeeze(-1)


def _locate(cdf: Tensor, threshold: Tensor) -> Tensor:
    # The last entry is not counted, so that a row of total zero, which no caller uses, still names a symbol.
    return (cdf[..., :-1] <= threshold).sum(-1, keepdim=True)
