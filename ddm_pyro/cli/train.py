"""``ddm-pyro train``: a target or a file of rows, a process and a network in; one file with the model out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddm_pyro.cli.failures import Interrupted, Refused
from ddm_pyro.cli.options import as_json, common
from ddm_pyro.cli.output import echo_json, note
from ddm_pyro.cli.references import Component, identify, parse

if TYPE_CHECKING:
    from ddm_pyro.evaluation.cells import Line

Given = tuple[str, dict[str, Any]]


@click.command()
@click.argument("source", metavar="TARGET_OR_FILE")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
@click.option("--rate", type=Component(), default="core/masked", show_default=True)
@click.option("--schedule", type=Component(), default="core/linear", show_default=True)
@click.option("--parameterization", type=Component(), default="core/x0", show_default=True)
@click.option("--loss", type=Component(), default="core/nelbo", show_default=True)
@click.option("--network", type=Component(), default="transformer{width=64}", show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=1000, show_default=True, help="Updates.")
@click.option("--batch-size", type=click.IntRange(min=1), default=128, show_default=True, help="Sequences an update.")
@click.option(
    "--lr", type=click.FloatRange(min=0, min_open=True), default=1e-3, show_default=True, help="Learning rate."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", help="Such as cuda; torch's default device unless given.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@as_json
@common
def train(
    source: str,
    out: Path,
    rate: Given,
    schedule: Given,
    parameterization: Given,
    loss: Given,
    network: Given,
    steps: int,
    batch_size: int,
    lr: float,
    seed: int,
    device: str | None,
    force: bool,
    json: bool,
) -> None:
    """Train a model and write it to one file that ddm-pyro sample and ddm_pyro.load read.

    TARGET_OR_FILE is the id of a target, such as core/digits, or a .npy file of tokens with one sequence a row.
    Components take parameters in braces: 'core/potts-chain{num_states=3, length=5, coupling=1.0}'. An interrupted
    training is kept beside the file, and the same command goes on from there.
    """
    from ddm_pyro.evaluation.build import make_loss, make_model, make_process
    from ddm_pyro.plugins import default_registry
    from ddm_pyro.training import fit, save

    if out.exists() and not force:
        raise Refused(f"{str(out)!r} is there already; give --force to replace it, or another --out.")
    registry = default_registry()
    settings: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "lr": lr}
    line = _line(source, rate, schedule, parameterization, loss, network, settings, seed)
    target = (
        _read(Path(source)) if _is_file(source) else registry.create("targets", line.target.id, **line.target.params)
    )
    process = make_process(registry, line, target)
    model = make_model(registry, line, target, process)
    partial = out.with_name(f"{out.name}.partial")
    if force:
        partial.unlink(missing_ok=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        result = fit(
            model,
            target,
            loss=make_loss(registry, identify("losses", loss, "--loss"), target, process),
            seed=line.train_seed,
            checkpoint=partial,
            device=device,
            **settings,
        )
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted. The training is kept in {partial}; run the same command to go on.") from None
    origin = {} if _is_file(source) else {"target": {"id": line.target.id, "params": dict(line.target.params)}}
    save(out, result.model, **origin, train=settings, seed=seed, loss=line.loss.id if line.loss else None)
    partial.unlink(missing_ok=True)
    last = float(result.losses[-max(1, steps // 20) :].mean())
    if json:
        echo_json(
            {"model": str(out), "steps": steps, "loss": last, "parameters": sum(p.numel() for p in model.parameters())}
        )
    else:
        note(f"Loss over the last steps: {last:.4g} nats a sequence.")
        click.echo(str(out))


def _line(
    source: str,
    rate: Given,
    schedule: Given,
    parameterization: Given,
    loss: Given,
    network: Given,
    train: dict[str, Any],
    seed: int,
) -> Line:
    """The components, looked up and checked before anything is computed."""
    from ddm_pyro.evaluation import PlanError, Ref
    from ddm_pyro.evaluation.cells import Line
    from ddm_pyro.evaluation.keys import Identity
    from ddm_pyro.evaluation.validation import check_network, learns
    from ddm_pyro.plugins import default_registry

    if not learns(default_registry(), Ref(*parameterization)):
        raise Refused(f"{parameterization[0]!r} is computed from the target; there is nothing to train.")
    config = {"kind": network[0], **network[1]}
    try:
        check_network(config, "--network")
        target = Identity("targets", f"file/{Path(source).name}", {}) if _is_file(source) else _target(source)
    except (PlanError, ValueError) as error:
        raise Refused(str(error)) from None
    return Line(
        target,
        identify("rates", rate, "--rate"),
        identify("schedules", schedule, "--schedule"),
        identify("parameterizations", parameterization, "--parameterization"),
        identify("losses", loss, "--loss"),
        config,
        train,
        seed,
        0,
    )


def _target(source: str) -> Any:
    return identify("targets", parse(source), "The target")


def _is_file(source: str) -> bool:
    return source.endswith(".npy")


def _read(path: Path) -> Any:
    """A file of tokens as a data set, its alphabet being 0 to the largest token.

    Raises:
        ValueError: no such file, no array, or no table of whole numbers from 0 on.
    """
    import numpy as np
    import torch

    from ddm_pyro.spaces import StateSpace
    from ddm_pyro.targets.data_set import DataSet

    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as a .npy file of tokens: {error}.") from None
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "iu" or array.min() < 0:
        raise ValueError(
            f"{str(path)!r} holds {array.dtype} of shape {array.shape}; tokens are an (n, length) table of whole "
            "numbers from 0 on."
        )
    rows = torch.from_numpy(array.astype(np.int64))
    return DataSet(StateSpace(int(rows.max()) + 1, rows.shape[1]), train=rows, test=rows)
