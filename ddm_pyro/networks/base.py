"""What the networks share: a trunk and a head apart, time features, and a configuration that rebuilds them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from ddm_pyro.processes import Process

#: Number of sines (and of cosines) of the time, with frequencies from 1 to MAX_FREQUENCY radians over [0, 1].
TIME_FEATURES = 32
MAX_FREQUENCY = 1000.0


class Network(nn.Module, ABC):
    """A network (x, t) -> (..., L, out), ``head(trunk(x, t))``: heads can run on chosen rows only.

    A subclass gives ``trunk`` and ``head`` and hands its constructor's arguments to ``__init__``: ``config`` is what a
    checkpoint needs to build it again. The head starts at zero, which is the uniform x0-posterior and the score 1.

    Attributes:
        config: keyword arguments of the constructor, plain numbers.
        is_hollow: whether the output at a position ignores the token at that position.
    """

    head: nn.Module
    is_hollow: bool = False

    def __init__(self, **config: int | None) -> None:
        super().__init__()
        for name, value in config.items():
            if value is not None and (isinstance(value, bool) or int(value) != value or value < 1):
                raise ValueError(f"{name}={value!r} must be a whole number of at least 1.")
        self.config = config

    @abstractmethod
    def trunk(self, x: Tensor, t: Tensor, *, label: Tensor | None = None) -> Tensor:
        """Features of every position: x (..., L) int64 and t (...,) -> (..., L, D)."""

    def forward(self, x: Tensor, t: Tensor, *, label: Tensor | None = None) -> Tensor:
        """``head(trunk(x, t))``, (..., L, out)."""
        return self.head(self.trunk(x, t, label=label))

    @classmethod
    def for_process(cls, process: Process, head: Literal["x0", "score"] = "x0", **config: Any) -> Self:
        """A network of the right sizes for a process: one logit a token ("x0"), or one score a symbol ("score").

        Raises:
            ValueError: another head, or a countable alphabet.

        Example:
            >>> from ddm_pyro import ForwardProcess, networks, rates, schedules
            >>> forward = ForwardProcess(rates.Masked(3), schedules.Linear(), length=4)
            >>> net = networks.MLP.for_process(forward, width=16)
            >>> net(torch.tensor([[0, 3, 2, 3]]), torch.tensor([0.5])).shape
            torch.Size([1, 4, 3])
        """
        space = process.space
        if head not in ("x0", "score"):
            raise ValueError(f"head={head!r} must be 'x0' or 'score'.")
        if space.is_countable:
            raise ValueError(f"{cls.__name__} embeds a finite alphabet; truncate the space with space.box(max).")
        out = space.vocab_size if head == "x0" else space.num_symbols
        return cls(num_symbols=space.num_symbols, length=space.length, out=out, **config)


class Condition(nn.Module):
    """Features of the time, and of a class label where there are classes: (...,) -> (..., width)."""

    frequencies: Tensor

    def __init__(self, width: int, classes: int | None) -> None:
        super().__init__()
        steps = torch.linspace(0.0, math.log(MAX_FREQUENCY), TIME_FEATURES)
        self.register_buffer("frequencies", steps.exp(), persistent=False)
        self.time = nn.Sequential(nn.Linear(2 * TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        # One embedding more than there are classes stands for "no label".
        self.label = nn.Embedding(classes + 1, width) if classes is not None else None

    def forward(self, t: Tensor, label: Tensor | None) -> Tensor:
        """(...,) and (...,) int64 or None -> (..., width)."""
        angles = t.unsqueeze(-1) * self.frequencies
        features = self.time(torch.cat([angles.sin(), angles.cos()], -1).to(t.dtype))
        if self.label is None:
            if label is not None:
                raise ValueError("label= was given, but the network has no classes; build it with classes=.")
            return features
        if label is None:
            label = torch.full(t.shape, self.label.num_embeddings - 1, device=t.device)
        return features + self.label(label)


def zero_head(width: int, out: int) -> nn.Linear:
    """A linear layer that starts at zero."""
    head = nn.Linear(width, out)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head
