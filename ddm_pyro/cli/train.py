"""``ddm-pyro train``: a target or a file of rows, a process and a network in; one file with the model out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddm_pyro.cli.failures import Interrupted, Refused, sentence
from ddm_pyro.cli.options import Device, as_json, common
from ddm_pyro.cli.output import echo_json, note, noted
from ddm_pyro.cli.references import Component, identify, parse_source, tell_reading

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
@click.option("--device", type=Device(), help="Such as cuda; torch's default device unless given.")
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

    TARGET_OR_FILE is the id of a target, such as core/digits, or a file of your own: .npy (tokens, one sequence a
    row), .csv, .tsv or .txt. Both take parameters in braces: 'core/potts-chain{num_states=3, length=5, coupling=1.0}',
    'my.csv{missing="drop"}'. A fifth of a file's rows is held out unless test_fraction says otherwise. An interrupted
    training is kept beside the model's file, and the same command goes on from there.
    """
    from ddm_pyro.evaluation.build import make_loss, make_model, make_process
    from ddm_pyro.evaluation.origin import origin_of
    from ddm_pyro.plugins import default_registry
    from ddm_pyro.training import fit, save

    if out.exists() and not force:
        raise Refused(f"{str(out)!r} is there already; give --force to replace it, or another --out.")
    registry = default_registry()
    settings: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "lr": lr}
    with noted():
        line = _line(source, rate, schedule, parameterization, loss, network, settings, seed)
        target = registry.create("targets", line.target.id, **line.target.params)
        tell_reading(target)
    try:
        process = make_process(registry, line, target)
        model = make_model(registry, line, target, process)
        objective = make_loss(registry, identify("losses", loss, "--loss"), target, process)
    except (ValueError, NotImplementedError) as error:  # parts that do not go together
        raise Refused(sentence(error)) from None
    partial = out.with_name(f"{out.name}.partial")
    if force:
        partial.unlink(missing_ok=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        result = fit(
            model,
            target,
            loss=objective,
            seed=line.train_seed,
            checkpoint=partial,
            device=device,
            **settings,
        )
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted. The training is kept in {partial}; run the same command to go on.") from None
    save(out, result.model, **origin_of(line, target))
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
    from ddm_pyro.evaluation.validation import check_network, learns
    from ddm_pyro.plugins import default_registry

    if not learns(default_registry(), Ref(*parameterization)):
        raise Refused(f"{parameterization[0]!r} is computed from the target; there is nothing to train.")
    config = {"kind": network[0], **network[1]}
    try:
        check_network(config, "--network")
        target = identify("targets", parse_source(source), "The target")
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
