"""What decides a training run's numbers, checked once and compared when a run is resumed."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Settings:
    """Everything but the number of steps and where the run takes place.

    Raises:
        ValueError: a value out of range, quoted.
    """

    seed: int
    batch_size: int
    lr: float
    warmup: int
    weight_decay: float
    grad_clip: float | None
    ema: float | None
    precision: str
    loss: str

    def __post_init__(self) -> None:
        _whole("seed", self.seed, 0)
        _whole("batch_size", self.batch_size, 1)
        _whole("warmup", self.warmup, 0)
        _within("lr", self.lr, self.lr > 0, "positive")
        _within("weight_decay", self.weight_decay, self.weight_decay >= 0, "zero or positive")
        if self.grad_clip is not None:
            _within("grad_clip", self.grad_clip, self.grad_clip > 0, "positive, or None")
        if self.ema is not None:
            _within("ema", self.ema, 0 <= self.ema < 1, "in [0, 1), or None")
        if self.precision not in ("float32", "bf16"):
            raise ValueError(f"precision={self.precision!r} must be 'float32' (the weights' own) or 'bf16'.")

    def check_same(self, other: dict[str, Any], path: Any) -> None:
        """Raise ValueError naming the first setting in which the checkpoint at ``path`` differs."""
        for name, value in dataclasses.asdict(self).items():
            if other.get(name) != value:
                raise ValueError(
                    f"The checkpoint {path} was trained with {name}={other.get(name)!r}, not {value!r}; "
                    "give the same value to resume, or another checkpoint path to start afresh."
                )


def name_of(loss: object) -> str:
    """A name of a loss and its settings that is the same in every process."""
    kind = f"{type(loss).__module__}.{type(loss).__qualname__}"
    return kind if type(loss).__repr__ is object.__repr__ else f"{kind}: {loss!r}"


def check_whole(name: str, value: Any, least: int) -> int:
    """Return a whole number of at least ``least``, or raise ValueError."""
    _whole(name, value, least)
    return int(value)


def _whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {least}.")


def _within(name: str, value: Any, inside: bool, what: str) -> None:
    if not (inside and math.isfinite(value)):
        raise ValueError(f"{name}={value!r} must be {what}.")
