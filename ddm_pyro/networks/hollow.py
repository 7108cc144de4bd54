"""Networks whose output at a position cannot see the token there: for leave-one-out conditionals."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from ddm_pyro.networks.base import Condition, Network, zero_head
from ddm_pyro.networks.blocks import AdaptiveNorm, Block
from ddm_pyro.networks.mlp import EMBEDDING, ResidualBlock


class HollowTransformer(Network):
    """Two causal streams, one of the tokens to the left and one of those to the right, read together.

    The output at position l is a function of the tokens at all other positions, the time and l, and of nothing else
    (Sun et al., arXiv:2211.16750, appendix): ``LeaveOneOut(HollowTransformer(...), process)`` is a model whose
    ``conditionals`` are those of the other tokens, from one network row.

    Args:
        num_symbols: A, mask included.
        length: L.
        out: values a position; default ``num_symbols``.
        width: of each stream, a multiple of ``heads``.
        depth: number of blocks a stream.
        heads: number of attention heads.
        classes: number of labels for ``label=``; default none.

    Raises:
        ValueError: a size below 1, a width that the heads do not divide, or a label without classes.

    Example:
        >>> net = HollowTransformer(num_symbols=3, length=4, out=2, width=8, depth=1, heads=2)
        >>> _ = nn.init.normal_(net.head.weight)
        >>> t, x, y = torch.tensor(0.5), torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 1, 0])
        >>> bool((net(x, t)[2] == net(y, t)[2]).all()), bool((net(x, t)[3] == net(y, t)[3]).all())
        (True, False)
    """

    is_hollow = True

    def __init__(
        self,
        *,
        num_symbols: int,
        length: int,
        out: int | None = None,
        width: int = 128,
        depth: int = 2,
        heads: int = 4,
        classes: int | None = None,
    ) -> None:
        super().__init__(
            num_symbols=num_symbols, length=length, out=out, width=width, depth=depth, heads=heads, classes=classes
        )
        if width % heads:
            raise ValueError(f"width={width} must be a multiple of heads={heads}.")
        self.embed = nn.Embedding(num_symbols, width)
        self.position = nn.Parameter(0.02 * torch.randn(length, width))
        self.ends = nn.Parameter(0.02 * torch.randn(2, width))
        self.condition = Condition(width, classes)
        self.left = nn.ModuleList(Block(width, heads, causal=True) for _ in range(depth))
        self.right = nn.ModuleList(Block(width, heads, causal=True) for _ in range(depth))
        self.readout = _Readout(width, heads)
        self.norm = AdaptiveNorm(width, parts=2)
        self.head = zero_head(width, num_symbols if out is None else out)

    def trunk(self, x: Tensor, t: Tensor, *, label: Tensor | None = None) -> Tensor:
        """(..., L) and (...,) -> (..., L, D)."""
        batch, width = x.shape[:-1], self.position.shape[-1]
        condition = self.condition(t, label).expand(*batch, -1).reshape(-1, 1, width)
        tokens = self.embed(x).reshape(-1, x.shape[-1], width)
        # Shifted by one: what a causal stream has at l when it starts from an end is the tokens before l.
        start, end = (end.expand(len(tokens), 1, width) for end in self.ends)
        left = torch.cat([start, tokens[:, :-1]], 1) + self.position
        right = torch.cat([tokens[:, 1:], end], 1) + self.position
        for forward, backward in zip(self.left, self.right, strict=True):
            left, right = forward(left, condition), backward(right.flip(1), condition).flip(1)
        h, *_ = self.norm(self.readout(left, right, condition), condition)
        return h.reshape(*batch, *h.shape[-2:])


class _Readout(nn.Module):
    """Position l asks the left stream up to l and the right stream from l on, which know the tokens beside l."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.merge, self.query = nn.Linear(2 * width, width), nn.Linear(width, width)
        self.left_norm, self.right_norm = AdaptiveNorm(width, parts=2), AdaptiveNorm(width, parts=2)
        self.layers_norm = AdaptiveNorm(width, parts=3)
        self.key_value, self.out = nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, left: Tensor, right: Tensor, condition: Tensor) -> Tensor:
        left, right = self.left_norm(left, condition)[0], self.right_norm(right, condition)[0]
        h = self.merge(torch.cat([left, right], -1))
        h = h + self._attend(self.query(h), torch.cat([left, right], 1))
        normed, gate = self.layers_norm(h, condition)
        return h + (1 + gate) * self.layers(normed)

    def _attend(self, query: Tensor, streams: Tensor) -> Tensor:
        earlier = torch.ones(query.shape[1], query.shape[1], dtype=torch.bool, device=query.device).tril()
        split = self.key_value(streams).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        asked = query.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        mixed = scaled_dot_product_attention(asked, split[0], split[1], attn_mask=torch.cat([earlier, earlier.T], -1))
        return self.out(mixed.transpose(1, 2).flatten(-2))


class HollowMLP(Network):
    """A residual perceptron run once a position, on the sequence with that position left out; small spaces.

    L rows of perceptron a sequence: the output at l is a function of the other tokens, the time and l.

    Args:
        num_symbols: A, mask included.
        length: L.
        out: values a position; default ``num_symbols``.
        width: of the hidden layers.
        depth: number of residual blocks.
        classes: number of labels for ``label=``; default none.

    Raises:
        ValueError: a size below 1, or a label without classes.

    Example:
        >>> net = HollowMLP(num_symbols=3, length=4, out=2, width=8, depth=1)
        >>> _ = nn.init.normal_(net.head.weight)
        >>> t, x, y = torch.tensor(0.5), torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 1, 0])
        >>> bool((net(x, t)[2] == net(y, t)[2]).all()), bool((net(x, t)[3] == net(y, t)[3]).all())
        (True, False)
    """

    is_hollow = True

    def __init__(
        self,
        *,
        num_symbols: int,
        length: int,
        out: int | None = None,
        width: int = 128,
        depth: int = 2,
        classes: int | None = None,
    ) -> None:
        super().__init__(num_symbols=num_symbols, length=length, out=out, width=width, depth=depth, classes=classes)
        self.embed = nn.Embedding(num_symbols, EMBEDDING)
        self.enter = nn.Linear(length * EMBEDDING, width)
        self.position = nn.Parameter(0.02 * torch.randn(length, width))
        self.condition = Condition(width, classes)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(depth))
        self.head = zero_head(width, num_symbols if out is None else out)

    def trunk(self, x: Tensor, t: Tensor, *, label: Tensor | None = None) -> Tensor:
        """(..., L) and (...,) -> (..., L, D)."""
        own = torch.eye(x.shape[-1], dtype=torch.bool, device=x.device).unsqueeze(-1)
        others = torch.where(own, 0.0, self.embed(x).unsqueeze(-3))
        condition = self.condition(t, label).unsqueeze(-2)
        h = self.enter(others.flatten(-2)) + self.position
        for block in self.blocks:
            h = block(h, condition)
        return silu(h)
