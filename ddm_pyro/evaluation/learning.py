"""Training a line's model once, and loading it wherever it is needed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ddm_pyro.evaluation.artifacts import read_tensors
from ddm_pyro.evaluation.build import make_loss, make_model, make_process, make_target
from ddm_pyro.evaluation.cells import Line
from ddm_pyro.evaluation.errors import RowsError
from ddm_pyro.evaluation.guard import stage
from ddm_pyro.evaluation.origin import origin_of

if TYPE_CHECKING:
    from ddm_pyro.parameterizations import Parameterization
    from ddm_pyro.plugins import Registry
    from ddm_pyro.processes import Process

#: Training may take this many times as long as the plan's timeout for a cell.
TRAINING_PATIENCE = 10.0
#: Steps between two checkpoints; what a killed process loses at most.
CHECKPOINT_EVERY = 200


@dataclass(frozen=True)
class World:
    """A line's target, process and model, ready for sampling."""

    target: Any
    process: Process
    model: Parameterization
    train_seconds: float | None = None


def model_file(folder: Path, line: Line) -> Path:
    """Where a trained model lies, a file that ``ddm_pyro.load`` reads."""
    return folder / "models" / f"{line.train_key}.safetensors"


def is_trained(folder: Path, line: Line) -> bool:
    """Whether there is nothing left to train."""
    if not line.is_trained:
        return True
    from ddm_pyro.training.archive import read_archive

    try:
        read_archive(model_file(folder, line))
    except (OSError, ValueError):
        return False
    return True


def train(
    registry: Registry,
    line: Line,
    folder: Path,
    timeout: float | None = None,
    report: Callable[[float], None] | None = None,
) -> None:
    """Train and store a line's model, going on from where an interrupted training stopped.

    Args:
        folder: of the run.
        timeout: the plan's; training may take TRAINING_PATIENCE times that.
        report: told the share of steps done.

    Raises:
        Stopped: with the failure, for everything that goes wrong.
    """
    from ddm_pyro.training import fit, save

    if line.loss is None:
        return
    file = model_file(folder, line)
    partial = file.with_suffix(".partial")
    patience = None if timeout is None else TRAINING_PATIENCE * timeout
    world = _build(registry, line)
    with stage("train", line.identities, registry, patience):
        loss = make_loss(registry, line.loss, world.target, world.process)
        steps = line.train["steps"]
        file.parent.mkdir(parents=True, exist_ok=True)
        if partial.exists() and read_tensors(partial) is None:
            partial.unlink()  # damaged: better to train anew than to be refused for good
        start = time.perf_counter()
        result = fit(
            world.model,
            world.target,
            loss=loss,
            seed=line.train_seed,
            checkpoint=partial,
            checkpoint_every=CHECKPOINT_EVERY,
            progress=(lambda done, _: report(done / steps)) if report else False,
            **line.train,
        )
        facts = {"seconds": time.perf_counter() - start, "losses": result.losses.tolist()}
        save(file, result.model, **origin_of(line, world.target), **facts)
        partial.unlink(missing_ok=True)


def build_world(registry: Registry, line: Line, folder: Path) -> World:
    """A line's target, process and model, the trained weights in place.

    Raises:
        Stopped: a component cannot be built, or the trained model is not there.
    """
    from ddm_pyro.training import load

    world = _build(registry, line)
    if not line.is_trained:
        return world
    with stage("train", line.identities, registry):
        try:
            model = load(model_file(folder, line), world.model)
        except (OSError, ValueError):
            file = model_file(folder, line)
            raise RowsError(f"The trained model {file} is missing or damaged; run the plan again.") from None
        return World(world.target, world.process, model, getattr(model, "meta", {}).get("seconds"))


def _build(registry: Registry, line: Line) -> World:
    with stage("model", (line.target,), registry, alone=True):
        target = make_target(registry, line.target)
    with stage("model", (line.target, line.rate, line.schedule), registry):
        process = make_process(registry, line, target)
    with stage("model", line.identities, registry):
        model = make_model(registry, line, target, process)
        _check_model(model)
    return World(target, process, model)


def _check_model(model: Any) -> None:
    from ddm_pyro.parameterizations import Parameterization

    if not isinstance(model, Parameterization):
        raise TypeError(
            f"The parameterization's factory returned {type(model).__name__}, which is no Parameterization."
        )
    for parameter in model.parameters():
        if not torch.isfinite(parameter).all():
            raise ValueError("The model's weights are not finite.")
