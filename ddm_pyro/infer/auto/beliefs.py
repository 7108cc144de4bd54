"""The default network of the masked family: known tokens and beliefs about the others, passed on like messages."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ddm_pyro.spaces import StateSpace

#: Largest numbers of contrasts H = L (V - 1) with three rounds and two, by default. Rounds after the first cost L H^2 a
#: path, the first and the heads L H.
MAX_THRICE, MAX_TWICE = 64, 256
#: Products a position, by default, up to ``MAX_THRICE`` contrasts and above.
SMALL_WIDTH, WIDTH = 32, 8


class BeliefNet(nn.Module):
    """Logits (..., L, V) of every token from a sequence with masks (id V), by rounds of beliefs about what is masked.

    A token is written as V - 1 contrasts c(v), which sum to zero over v and are -1, 1 for V = 2. With
    y_m = c(x_m) at known tokens, zero at masked ones, and H = L (V - 1),

        b_0 = y,   b_r = y where known, tanh(A_r b_{r-1} + a_r) where masked,   logits_l = c f_l(b_R).

    What is believed of a masked token enters the next round like a known one: a learned mean field iteration with known
    tokens held fixed (as in Jaakkola and Jordan 1998, without its symmetric couplings). So a far token counts for less
    once nearer ones are known, which a sum over known tokens cannot say. Each position reads the beliefs by itself, f_l
    linear plus ``width`` products sigmoid(linear) linear, for couplings of more than two tokens. Logits start at zero,
    the uniform law.

    Args:
        space: a finite StateSpace; masks are allowed in the input.
        rounds: number of rounds R; default three for H <= 64, two for H <= 256, else one.
        width: number of products a position; default 32 for H <= 64, else 8.

    Raises:
        ValueError: rounds or width below 0.

    Example:
        >>> net = BeliefNet(StateSpace(2, 3))
        >>> net(torch.tensor([[0, 2, 1]]), torch.zeros(1)).shape
        torch.Size([1, 3, 2])
    """

    codes: Tensor

    def __init__(self, space: StateSpace, *, rounds: int | None = None, width: int | None = None) -> None:
        super().__init__()
        self.length, self.vocab = space.length, space.vocab_size
        self.register_buffer("codes", contrasts(self.vocab), persistent=False)
        self.contrasts = self.codes.shape[-1]
        size = self.length * self.contrasts
        if rounds is None:
            rounds = 1 + (size <= MAX_TWICE) + (size <= MAX_THRICE)
        if width is None:
            width = SMALL_WIDTH if size <= MAX_THRICE else WIDTH
        for name, value in (("rounds", rounds), ("width", width)):
            if isinstance(value, bool) or int(value) != value or value < 0:
                raise ValueError(f"{name}={value!r} must be a whole number of at least 0.")
        self.width = width
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(size, size)) for _ in range(rounds))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(size)) for _ in range(rounds))
        # Of every position: two factors of each product, and the linear part, which starts at zero.
        read = torch.zeros(self.length, size, 2 * width + self.contrasts)
        read[..., : 2 * width] = torch.randn(self.length, size, 2 * width) / math.sqrt(self.length)
        self.read, self.bias = nn.Parameter(read), nn.Parameter(torch.zeros(self.length, read.shape[-1]))
        self.head = nn.Parameter(torch.zeros(self.length, width, self.contrasts))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (..., L) int64 with masks V, t (...,), not used -> (..., L, V)."""
        h = torch.einsum("...h,lhf->...lf", self._beliefs(x), self.read) + self.bias
        products, rest = self._split(h)
        return self._decode(torch.einsum("...lw,lwc->...lc", products, self.head) + rest)

    def next_logits(self, x: Tensor, at: Tensor) -> Tensor:
        """``forward`` at one position a row, (n, L) with masks and (n,) -> (n, V)."""
        products, rest = self._split((self._beliefs(x).unsqueeze(-2) @ self.read[at]).squeeze(-2) + self.bias[at])
        return self._decode((products.unsqueeze(-2) @ self.head[at]).squeeze(-2) + rest)

    def prefix_logits(self, order: Tensor, x: Tensor) -> Tensor:
        """Logits of token l given the tokens before it in ``order``, for every l: (n, L), (n, L) -> (n, L, V)."""
        rank = order.argsort(-1)
        masked = self._spread((rank.unsqueeze(-2) >= rank.unsqueeze(-1)).to(self.codes.dtype))
        values = self.codes[x].flatten(-2).unsqueeze(-2) * (1.0 - masked)
        summed = len(self.weights) and values.shape[-1] > MAX_TWICE
        b = self._rounds(values, masked, self._sums(order, rank, x) if summed else None)
        products, rest = self._split(torch.baddbmm(self.bias.unsqueeze(1), b.transpose(0, 1), self.read))
        return self._decode(products @ self.head + rest).transpose(0, 1)

    def _split(self, h: Tensor) -> tuple[Tensor, Tensor]:
        gates, factors, rest = h.split([self.width, self.width, self.contrasts], -1)
        return gates.sigmoid() * factors, rest

    def _decode(self, h: Tensor) -> Tensor:
        return h @ self.codes[:-1].T

    def _beliefs(self, x: Tensor) -> Tensor:
        return self._rounds(self.codes[x].flatten(-2), self._spread((x == self.vocab).to(self.codes.dtype)))

    def _rounds(self, values: Tensor, masked: Tensor, sums: Tensor | None = None) -> Tensor:
        """b_R from y, and from A_1 y where that is known already."""
        b = values
        for weight, bias in zip(self.weights, self.biases, strict=True):
            h = linear(b, weight.T, bias) if sums is None else sums + bias
            b, sums = torch.addcmul(values, masked, h.tanh()), None
        return b

    def _sums(self, order: Tensor, rank: Tensor, x: Tensor) -> Tensor:
        """A_1 y of every prefix: one cumulative sum along the order, by position (n, L, H)."""
        tokens = self.codes[:-1] @ self.weights[0].unflatten(0, (self.length, self.contrasts))
        entry = torch.arange(self.length, device=x.device) * self.vocab + x
        ordered = tokens.flatten(0, 1)[entry.gather(-1, order)]
        return (ordered.cumsum(-2) - ordered).gather(-2, rank.unsqueeze(-1).expand_as(ordered))

    def _spread(self, masked: Tensor) -> Tensor:
        return masked if self.contrasts == 1 else masked.repeat_interleave(self.contrasts, -1)


def contrasts(vocab: int) -> Tensor:
    """c, (V + 1, max(V - 1, 1)): orthogonal columns of zero sum and mean square 1; the last row, of the mask, is zero.

    Example:
        >>> contrasts(2).flatten()
        tensor([-1.,  1.,  0.])
    """
    codes = torch.zeros(vocab + 1, max(vocab - 1, 1), dtype=torch.float64)
    for j in range(vocab - 1):
        # Token j + 1 against the mean of those before it (Helmert).
        codes[: j + 1, j], codes[j + 1, j] = -1.0, j + 1.0
        codes[:, j] *= math.sqrt(vocab / ((j + 1) * (j + 2)))
    return codes.to(torch.get_default_dtype())
