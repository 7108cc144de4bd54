"""Uniform draws that depend on a seed and a sample's global index, on nothing else.

Inside ``indexed(seed, rows)`` the uniforms of sample ``i`` are those of block ``i // 256`` of a counter-based
stream keyed by (seed, block, draw): batch size, order and number of workers do not enter. Outside, draws come
from torch's global generator, as everywhere in Pyro.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor

#: Consecutive sample indices that share one stream.
BLOCK = 256


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from any values with a stable ``repr`` (never Python's salted ``hash``).

    Example:
        >>> derive_seed(0, "noise") == derive_seed(0, "noise"), derive_seed(0, 1) == derive_seed(1, 0)
        (True, False)
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@dataclass
class _Stream:
    seed: int
    rows: range
    device: torch.device
    draws: int = 0
    generators: dict[str, torch.Generator] = field(default_factory=dict)

    def uniform(self, shape: Sequence[int], device: torch.device) -> Tensor:
        generator = self.generators.setdefault(str(device), torch.Generator(device))
        pieces = []
        for block in range(self.rows.start // BLOCK, (self.rows.stop - 1) // BLOCK + 1):
            generator.manual_seed(derive_seed(self.seed, block, self.draws))
            draw = torch.rand((BLOCK, *shape[1:]), dtype=torch.float64, device=device, generator=generator)
            low, high = max(self.rows.start - block * BLOCK, 0), min(self.rows.stop - block * BLOCK, BLOCK)
            pieces.append(draw[low:high])
        self.draws += 1
        return torch.cat(pieces)


_stream: ContextVar[_Stream | None] = ContextVar("ddm_pyro_stream", default=None)


def uniform(shape: Sequence[int], device: torch.device | str | None = None) -> Tensor:
    """Float64 uniforms on [0, 1) of the given shape, one row a sample when inside ``indexed``."""
    device = torch.get_default_device() if device is None else torch.device(device)
    stream = _stream.get()
    if stream is None or len(shape) == 0 or shape[0] != len(stream.rows):
        return torch.rand(tuple(shape), dtype=torch.float64, device=device)
    return stream.uniform(shape, device)


@contextmanager
def indexed(seed: int | None, rows: range, device: torch.device | str | None = None) -> Iterator[None]:
    """Draw for the global sample indices ``rows`` under ``seed``; the global generator is left as found.

    Laws that draw from torch's global generator (those of plugins may) are seeded too, by (seed, first row), so
    they repeat for an equal batch size. ``seed=None`` changes nothing.

    Example:
        >>> with indexed(7, range(0, 4)):
        ...     whole = uniform((4, 2))
        >>> with indexed(7, range(2, 4)):
        ...     part = uniform((2, 2))
        >>> bool((whole[2:] == part).all())
        True
    """
    if seed is None:
        yield
        return
    device = torch.get_default_device() if device is None else torch.device(device)
    forked = [device] if device.type != "cpu" and torch.get_device_module(device.type).is_available() else []
    token = _stream.set(_Stream(seed, rows, device))
    try:
        with torch.random.fork_rng(devices=forked, device_type=forked[0].type if forked else "cuda"):
            _seed_global(derive_seed(seed, "global", rows.start), device)
            yield
    finally:
        _stream.reset(token)


def reseed(step: int) -> None:
    """Start the streams of loop step ``step``, so that what one step consumed does not shift the next.

    A step may use a number of draws that depends on its batch (one an event, say); streams keyed by the step
    keep the later steps independent of who shared the batch.
    """
    stream = _stream.get()
    if stream is not None:
        stream.draws = step << 32
        _seed_global(derive_seed(stream.seed, "global", stream.rows.start, step), stream.device)


def _seed_global(seed: int, device: torch.device) -> None:
    # Not torch.manual_seed: that seeds the generators of all devices, and only those of the CPU and ours are forked.
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        module = torch.get_device_module(device.type)
        if module.is_available():
            with module.device(device):
                module.manual_seed(seed)
