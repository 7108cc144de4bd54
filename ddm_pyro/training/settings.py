"""What decides a training run's numbers, checked once and compared when a run is resumed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

#: AdamW moves a weight by about ``lr`` a step: beyond this no float32 network learns anything.
LARGEST_LR = 100.0

BELOW_0, BELOW_1 = math.nextafter(0.0, -1.0), math.nextafter(1.0, 0.0)

TIMES = ("stratified", "uniform", "antithetic", "importance")
NOISE = ("independent", "low-variance")


@dataclass(frozen=True)
class Settings:
    """Everything but the number of steps and where the run takes place.

    Raises:
        ValueError: a value of the wrong kind or out of range, quoted.
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
    times: str | Sequence[float] = "stratified"
    noise: str = "independent"

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("batch_size", 1), ("warmup", 0)):
            self._put(name, check_whole(name, getattr(self, name), least))
        self._put("lr", check_number("lr", self.lr, f"a positive number of at most {LARGEST_LR:g}", 0.0, LARGEST_LR))
        # A step takes lr * weight_decay of every weight away.
        most = f"a number of at least 0 and at most 1/lr = {1 / self.lr:g}"
        self._put("weight_decay", check_number("weight_decay", self.weight_decay, most, BELOW_0, 1 / self.lr))
        if self.grad_clip is not None:
            self._put("grad_clip", check_number("grad_clip", self.grad_clip, "a positive number, or None", 0.0))
        if self.ema is not None:
            self._put("ema", check_number("ema", self.ema, "a number in [0, 1), or None", BELOW_0, BELOW_1))
        if self.precision not in ("float32", "bf16"):
            raise ValueError(f"precision={self.precision!r} must be 'float32' (the weights' own) or 'bf16'.")
        self._put("times", check_times(self.times))
        if self.noise not in NOISE:
            raise ValueError(f"noise={self.noise!r} must be one of {', '.join(map(repr, NOISE))}.")

    def _put(self, name: str, value: Any) -> None:
        # Plain Python numbers: what a seed means, and what a file keeps, must not depend on who computed it.
        object.__setattr__(self, name, value)

    def check_same(self, other: dict[str, Any], path: Any) -> None:
        """Raise ValueError naming the first setting in which the checkpoint at ``path`` differs."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name, value in dataclasses.asdict(self).items():
            # A checkpoint older than a setting was trained with what is its default.
            found = other.get(name, defaults[name])
            if found != value:
                raise ValueError(
                    f"The checkpoint {path} was trained with {name}={found!r}, not {value!r}; "
                    "give the same value to resume, or another checkpoint path to start afresh."
                )


def name_of(loss: object) -> str:
    """A name of a loss and its settings that is the same in every process."""
    kind = f"{type(loss).__module__}.{type(loss).__qualname__}"
    return kind if type(loss).__repr__ is object.__repr__ else f"{kind}: {loss!r}"


def check_whole(name: str, value: Any, least: int) -> int:
    """Return a whole number of at least ``least``, or raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {least}.")
    return int(value)


def check_number(name: str, value: Any, what: str, above: float, most: float = math.inf) -> float:
    """Return a finite number > ``above`` and <= ``most``, or raise ValueError saying ``what`` it must be."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or not above < value <= most:
        raise ValueError(f"{name}={value!r} must be {what}.")
    return float(value)


def check_times(times: Any) -> str | list[float]:
    """A law of times by name, or the weights of equal slices of [0, 1] as a list; else ValueError."""
    if isinstance(times, str) and times in TIMES:
        return times
    names = f"{', '.join(map(repr, TIMES))}, or positive weights of equal slices of [0, 1]"
    if isinstance(times, str):
        raise ValueError(f"times={times!r} must be {names}.")
    try:
        weights = [float(w) for w in times]
    except (TypeError, ValueError):
        weights = []
    if not weights or not all(math.isfinite(w) and w > 0 for w in weights):
        raise ValueError(f"times={times!r} must be {names}; a slice of weight 0 would never be learned.")
    return weights
