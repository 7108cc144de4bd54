"""The law a sampler ends in, exact where it can be, and the law it is compared with."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import Samples, Tabular
from ddm_pyro.evaluation.artifacts import read_tensors, write_tensors
from ddm_pyro.evaluation.build import make_samplers
from ddm_pyro.evaluation.cells import Cell
from ddm_pyro.evaluation.guard import sentence, stage
from ddm_pyro.evaluation.learning import World
from ddm_pyro.parameterizations.counted import Counted
from ddm_pyro.sampling import push, sample
from ddm_pyro.sampling.loop import DEFAULT_BATCH

if TYPE_CHECKING:
    from ddm_pyro.plugins import Registry
    from ddm_pyro.spaces import StateSpace

#: Largest number of states, masked ones included, for which the exact law is computed.
EXACT_STATES = 20_000
#: Largest number of states for which a target is asked for its whole pmf.
TABULAR_STATES = 2**20
#: Sequences drawn to measure the network evaluations of a cell whose law is exact.
COUNTED_SAMPLES = 64


@dataclass(frozen=True)
class Drawn:
    """What a cell's sampler does.

    Attributes:
        law: Tabular when exact, else Samples.
        steps: steps taken.
        nfe, calls: network rows per sample, network calls per batch of 256.
        seconds: of computing or drawing the law.
        note: why a small law was sampled all the same, or empty.
    """

    law: Tabular | Samples
    steps: int
    nfe: float
    calls: float
    seconds: float
    note: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether the whole law is known."""
        return isinstance(self.law, Tabular)


def sample_file(folder: Path, cell: Cell) -> Path:
    """Where a cell's law lies."""
    return folder / "samples" / f"{cell.sample_key}.safetensors"


def stored(folder: Path, cell: Cell, space: StateSpace) -> Drawn | None:
    """The law of an earlier run of the same cell, or None."""
    found = read_tensors(sample_file(folder, cell))
    if found is None:
        return None
    tensors, facts = found
    law = Tabular(tensors["pmf"], space=space) if "pmf" in tensors else Samples(tensors["samples"], space)
    return Drawn(law, **facts)


def draw(registry: Registry, cell: Cell, world: World, folder: Path) -> Drawn:
    """The law of a cell: read back, pushed, or sampled; stored with the sequences that were drawn.

    Raises:
        Stopped: the combination does not exist, or something failed.
    """
    space = world.target.space
    if (earlier := stored(folder, cell, space)) is not None:
        return earlier
    involved = (*cell.line.identities, *cell.sampler)
    with stage("sample", cell.sampler, registry):
        samplers = make_samplers(registry, cell, world.process)
    with stage("sample", involved, registry, dry=True):
        # No sequences at all: everything is checked, nothing runs.
        sample(samplers, world.model, 0, steps=cell.steps)
        steps = samplers[0].num_steps(world.process, cell.steps)
    with stage("sample", involved, registry, cell.timeout):
        start = time.perf_counter()
        pmf, note = _push(cell, world, samplers)
        count = min(cell.samples, COUNTED_SAMPLES) if pmf is not None else cell.samples
        pushed = time.perf_counter() - start
        model = Counted(world.model)
        start = time.perf_counter()
        x = check_samples(sample(samplers, model, count, steps=cell.steps, seed=cell.sample_seed), count, space)
        seconds = pushed if pmf is not None else time.perf_counter() - start
        batches = -(-count // DEFAULT_BATCH)
        law: Tabular | Samples = Samples(x, space) if pmf is None else pmf
        drawn = Drawn(law, steps, model.count.rows / count, model.count.calls / batches, seconds, note)
        _store(folder, cell, drawn, x)
        # Read back, so that a value cannot depend on whether the law is fresh.
        return stored(folder, cell, space) or drawn


def _push(cell: Cell, world: World, samplers: list[Any]) -> tuple[Tabular | None, str]:
    """The exact law, or None with the reason why a small one is sampled instead."""
    space = world.process.space
    if space.is_countable or space.num_states > EXACT_STATES:
        return None, ""
    try:
        law = push(samplers, world.model, steps=cell.steps)
    except (NotImplementedError, ValueError) as error:
        # Refusals of core samplers are honest; of anyone else's, sampling will show whether it is more than that.
        if isinstance(error, ValueError) and type(error) is not ValueError:
            raise
        return None, f"Sampled, because the exact law is refused: {sentence(error)}"
    if law.space != space.data:
        raise ValueError(f"{samplers[0]} left masks in its sequences; a data law has none.")
    return law, ""


def check_samples(x: Any, count: int, space: StateSpace) -> Tensor:
    """The sequences, or a TypeError or ValueError that says what is wrong with them."""
    if not isinstance(x, Tensor) or x.shape != (count, space.length) or x.is_floating_point():
        shape = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"The sampler returned {shape}; ({count}, {space.length}) whole numbers were asked for.")
    return space.check(x, "The sampler's result")


def _store(folder: Path, cell: Cell, drawn: Drawn, x: Tensor) -> None:
    small = torch.int16 if drawn.law.space.sizes is not None and drawn.law.space.vocab_size < 2**15 else torch.int64
    tensors = {"samples": x.to(small)}
    if isinstance(drawn.law, Tabular):
        tensors["pmf"] = drawn.law.pmf
    facts = {name: getattr(drawn, name) for name in ("steps", "nfe", "calls", "seconds", "note")}
    write_tensors(sample_file(folder, cell), tensors, facts)


def reference(target: Any) -> Any:
    """What samples are compared with: held-out rows of a data set, the pmf of a small law, else the law itself."""
    if isinstance(getattr(target, "test", None), Tensor):
        return Samples(target.test, target.space)
    if not target.space.is_countable and target.space.num_states <= TABULAR_STATES and hasattr(target, "tabular"):
        return target.tabular()
    return target


def flawless(target: Any, law: Any, n: int, seed: int) -> Any:
    """What a sampler without error that is known exactly would be: the law, or where there are only rows the others.

    Args:
        target: what was to be learned.
        law: its ``reference``; held-out rows are no law to be equal to, so the training rows stand for it.
        n, seed: of the draws that take the place of training rows that a target has not.
    """
    if not isinstance(law, Samples):
        return law
    train, space = getattr(target, "train", None), target.space
    rows = train if isinstance(train, Tensor) else reference_sample(target, n, seed).x
    counts = torch.bincount(space.index(rows), minlength=space.num_states).double()
    return Tabular(counts / counts.sum(), space=space)


def reference_sample(target: Any, n: int, seed: int) -> Samples:
    """Independent draws of the same law: training rows of a data set, without replacement while there are enough."""
    rows = getattr(target, "train", None)
    if isinstance(rows, Tensor):
        generator = torch.Generator().manual_seed(seed)
        if n <= len(rows):
            return Samples(rows[torch.randperm(len(rows), generator=generator)[:n]], target.space)
        return Samples(rows[torch.randint(len(rows), (n,), generator=generator)], target.space)
    with random.indexed(seed, range(n)), torch.no_grad():
        return Samples(target.sample((n,)), target.space)
