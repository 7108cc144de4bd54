"""Categorical draws by one float64 uniform a row, right in the tail at any vocabulary size."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Above this many symbols the inverse CDF goes through block sums instead of one cumulative sum.
DENSE_SYMBOLS = 64


def inverse_cdf(weights: Tensor, u: Tensor) -> Tensor:
    """The symbol whose slice of the cumulative weights holds ``u``: (..., A) and (...,) -> (...,) int64.

    ``weights`` are nonnegative, of any float type and need not be normalised; a symbol of weight zero is never
    drawn. Sums run in float64: a float32 cumulative sum over 50,000 symbols loses tails of mass 1e-4, and so does
    the float32 Gumbel trick (arXiv 2409.02908). Large alphabets use two levels: sums of about sqrt(A) blocks
    choose a block, then the inside of that one block is summed.

    Example:
        >>> inverse_cdf(torch.tensor([0.0, 1.0, 3.0]), torch.tensor(0.2)).item()
        1
    """
    size = weights.shape[-1]
    if size <= DENSE_SYMBOLS:
        return _dense(weights, u)
    width = 2 ** round(math.log2(math.sqrt(size)))
    blocks = -(-size // width)
    # The last block is made full by weights of zero, which are never drawn.
    padded = torch.nn.functional.pad(weights, (0, blocks * width - size)) if blocks * width > size else weights
    padded = padded.unflatten(-1, (blocks, width))
    sums = padded.sum(-1, dtype=torch.float64)
    cdf = sums.cumsum(-1)
    threshold = _below(u * cdf[..., -1], cdf[..., -1])
    block = (cdf <= threshold.unsqueeze(-1)).sum(-1, keepdim=True)
    inside = padded.gather(-2, block.unsqueeze(-1).expand(*block.shape, width)).squeeze(-2)
    total = sums.gather(-1, block).squeeze(-1)
    rest = threshold - (cdf.gather(-1, block).squeeze(-1) - total)
    inner = inside.cumsum(-1, dtype=torch.float64)
    rest = _below(rest.clamp(min=0.0), inner[..., -1])
    return block.squeeze(-1) * width + (inner <= rest.unsqueeze(-1)).sum(-1)


def _dense(weights: Tensor, u: Tensor) -> Tensor:
    cdf = weights.cumsum(-1, dtype=torch.float64)
    threshold = _below(u * cdf[..., -1], cdf[..., -1])
    return (cdf <= threshold.unsqueeze(-1)).sum(-1)


def _below(threshold: Tensor, total: Tensor) -> Tensor:
    # u * total may round up to total itself, which would name a symbol past the last one of positive weight.
    return torch.minimum(threshold, torch.nextafter(total, torch.zeros_like(total)))
