"""Views of a network ``(x, t, **cond) -> logits``: any ``nn.Module`` will do."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from ddm_pyro.parameterizations.base import Parameterization
from ddm_pyro.parameterizations.conversions import pad_symbols
from ddm_pyro.processes import Process


class _Network(Parameterization):
    def __init__(self, network: nn.Module, process: Process) -> None:
        if isinstance(network, Process) or not callable(network):
            raise TypeError(
                f"{type(self).__name__}(network, process): network={network!r} is no nn.Module (x, t) -> logits."
            )
        super().__init__(process)
        self.network = network

    def _time(self, x: Tensor, t: Any) -> Tensor:
        dtype = next((p.dtype for p in self.network.parameters() if p.is_floating_point()), torch.get_default_dtype())
        return torch.as_tensor(t, device=x.device).to(dtype).expand(x.shape[:-1])

    def _logits(self, x: Tensor, t: Tensor, at: Tensor | None = None) -> Tensor:
        time = self._time(x, t)
        trunk, head = getattr(self.network, "trunk", None), getattr(self.network, "head", None)
        if at is None:
            out = self.network(x, time, **self.cond)
        elif callable(trunk) and callable(head):
            # The head is the large part at a large vocabulary: run it on the selected rows only.
            out = head(trunk(x, time, **self.cond).flatten(0, -2)[at])
        else:
            out = self.network(x, time, **self.cond).flatten(0, -2)[at]
        return out.float() if out.dtype in (torch.bfloat16, torch.float16) else out


class X0(_Network):
    """The network's logits are those of x_0 given x_t: log p(x_0^l | x_t) = log_softmax(network(x, t)), (..., L, V).

    With a masked process, revealed tokens are carried over: their posterior is the token itself.

    Args:
        network: (x, t, **cond) -> (..., L, V); given ``trunk`` and ``head``, the head runs on chosen rows only.
        process: the forward process.

    Raises:
        ValueError: logits of the wrong width (quoted at the first call).
    """

    primary: Literal["x0", "score"] = "x0"

    def logits(self, x: Tensor, t: Tensor, *, at: Tensor | None = None) -> Tensor:
        """The network's logits of the tokens, -inf off a position's alphabet, (..., L, V) or (K, V)."""
        space = self.process.space
        logits = self._logits(x, t, at)
        if logits.shape[-1] != space.vocab_size:
            raise ValueError(
                f"The network returned {logits.shape[-1]} logits a position; "
                f"an x0 head needs one a token, {space.vocab_size}."
            )
        if isinstance(space.sizes, int):
            return logits
        sizes = space.sizes_on.on(x.device).unsqueeze(-1)
        inside = torch.arange(space.vocab_size, device=x.device) < (sizes if at is None else sizes[at % space.length])
        return torch.where(inside, logits, -torch.inf)

    def x0_log_probs(self, x: Tensor, t: Tensor, *, at: Tensor | None = None) -> Tensor:
        """log p(x_0^l = v | x_t = x), in float32 or the network's wider dtype."""
        space = self.process.space
        log_p = torch.log_softmax(self.logits(x, t, at=at), -1)
        if not self.process.is_masked:
            return log_p
        tokens = (x if at is None else x.reshape(-1)[at]).unsqueeze(-1)
        symbols = torch.arange(space.vocab_size, device=x.device)
        carried = torch.where(symbols == tokens, 0.0, -torch.inf).to(log_p.dtype)
        return torch.where(space.is_mask(tokens), log_p, carried)


class LeaveOneOut(X0):
    """The network predicts x_0^l from the *other* positions; what token l says of itself is multiplied in exactly.

    p(x_0^l = v | x_t) is proportional to p(x_0^l = v | the other tokens) P(x_t^l | x_0^l = v), so the logits are those
    of the network plus the log-likelihood. For noise without masks this spares the network from learning that a token
    seen almost without noise is almost certainly right: its loss near t = 0 is finite from the first step. The network
    may look at token l as well; with a masked process this is ``X0``. Over a network that does not and says so
    (``is_hollow = True``, as ``networks.HollowTransformer`` and ``HollowMLP`` do) the model is *hollow* too, and its
    ``conditionals`` are those of the other tokens.
    """

    @property
    def is_hollow(self) -> bool:
        """Whether the network says so of itself (``is_hollow``), as ``networks.HollowTransformer`` does."""
        return bool(getattr(self.network, "is_hollow", False))

    def conditionals(self, x: Tensor, t: Tensor) -> Tensor:
        """p_t(x_l = . | the other tokens), (..., L, A): the network's law carried to t."""
        time = torch.as_tensor(t, dtype=torch.float64, device=x.device)
        table = torch.softmax(super().logits(x, t).double(), -1)
        return self.process.evolve(pad_symbols(self.process, table), torch.zeros_like(time), time)

    def logits(self, x: Tensor, t: Tensor, *, at: Tensor | None = None) -> Tensor:
        """The network's logits plus log P(x_t^l | x_0^l = v), (..., L, V) or (K, V)."""
        logits = super().logits(x, t, at=at)
        time = torch.as_tensor(t, dtype=torch.float64, device=x.device)
        evidence = self.process.likelihood(x, torch.zeros_like(time), time)[..., : logits.shape[-1]].log()
        # Evidence of probability zero everywhere (a mask at t = 0) says nothing.
        evidence = torch.where(evidence.amax(-1, keepdim=True) > -torch.inf, evidence, 0.0).to(logits.dtype)
        return logits + (evidence if at is None else evidence.expand(*x.shape, -1).flatten(0, -2)[at])


class MaskPredictor(X0):
    """A predictor of masked tokens from revealed ones that ignores time (SUBS, RADD, LLaDA): the network gets t = 0.

    Raises:
        ValueError: a process without masks.
    """

    time_free = True

    def __init__(self, network: nn.Module, process: Process) -> None:
        super().__init__(network, process)
        if not process.is_masked:
            raise ValueError(f"MaskPredictor needs a masked process, not {process!r}; use X0 or Score.")

    def _time(self, x: Tensor, t: Any) -> Tensor:
        return super()._time(x, torch.zeros((), device=x.device))


class Score(_Network):
    """The network returns log p_t(y)/p_t(x), (..., L, A) over symbols (V suffice when the last symbol is the mask)."""

    primary: Literal["x0", "score"] = "score"

    def log_score(self, x: Tensor, t: Tensor) -> Tensor:
        """The network's output, in float32 or its wider dtype, along ``process.moves(x)``."""
        out = self._logits(x, t)
        if self.process.space.is_countable:
            return out
        width, space = out.shape[-1], self.process.space
        if width == space.vocab_size and space.mask is not None:
            out = torch.nn.functional.pad(out, (0, 1))
        elif width != space.num_symbols:
            raise ValueError(
                f"The network returned {width} scores a position; a score head needs one a symbol, {space.num_symbols}."
            )
        return out if self.process.has_full_moves else out.gather(-1, self.process.moves(x))
