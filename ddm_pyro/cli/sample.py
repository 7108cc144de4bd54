"""``ddm-pyro sample``: sequences from a trained model."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddm_pyro.cli.failures import Refused, sentence
from ddm_pyro.cli.options import Device, as_json, common
from ddm_pyro.cli.output import echo_json, note
from ddm_pyro.cli.references import Component, identify

if TYPE_CHECKING:
    from torch import Tensor

#: Steps of samplers that take any number.
STEPS = 64


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--sampler", type=Component(), default="core/ancestral", show_default=True)
@click.option("--steps", type=click.IntRange(min=1), help=f"Steps; {STEPS} unless the sampler fixes them itself.")
@click.option("-n", "count", type=click.IntRange(min=1), default=16, show_default=True, help="Sequences.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), help="Sequences at a time; the result does not depend on it.")
@click.option("--device", type=Device(), help="Such as cuda; torch's default device unless given.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A .npy, .txt or, of images, .png file, instead of stdout.",
)
@as_json
@common
def sample(
    checkpoint: Path,
    sampler: tuple[str, dict[str, Any]],
    steps: int | None,
    count: int,
    seed: int,
    batch_size: int | None,
    device: str | None,
    out: Path | None,
    json: bool,
) -> None:
    """Draw sequences from a model that ddm-pyro train wrote, or from models/KEY.safetensors of an evaluation.

    Text is written as text where the model's target can read it, rows of a .csv or .tsv file with commas, other
    sequences as tokens with spaces between them; images as one picture with --out samples.png.
    """
    from ddm_pyro.evaluation import Ref
    from ddm_pyro.evaluation.validation import fixes_steps
    from ddm_pyro.plugins import default_registry
    from ddm_pyro.report.examples import image_of
    from ddm_pyro.sampling import sample as draw
    from ddm_pyro.training import load

    if out is not None and out.suffix not in (".npy", ".txt", ".png"):
        raise Refused(f"--out {str(out)!r} must end in .npy, .txt or .png.")
    identify("samplers", sampler, "--sampler")
    registry = default_registry()
    try:
        model = load(checkpoint, device=device)
        id, params = _balanced(sampler, model.process.space.length, steps)
        built = registry.create("samplers", id, **params)
        if steps is None and not fixes_steps(registry, (Ref(id, params),)):
            steps = STEPS
        empty = draw(built, model, 0, steps=steps)  # everything is checked, nothing runs
    except (OSError, ValueError, NotImplementedError) as error:
        raise Refused(sentence(error)) from None
    law = _target(getattr(model, "meta", {}))
    if out is not None and out.suffix == ".png" and image_of(empty, law) is None:
        raise Refused(f"--out {str(out)!r}: the sequences of this model are no images; write .npy or .txt.")
    x = draw(built, model, count, steps=steps, seed=seed, batch_size=batch_size).cpu()
    lines = _lines(x, getattr(model, "meta", {}), law)
    if out is not None:
        from ddm_pyro.evaluation.artifacts import write_whole

        write_whole(out, _content(out.suffix, x, lines, law))
        note(f"{count} sequences of length {x.shape[1]} written.")
    if json:
        echo_json({"out": str(out)} if out is not None else {"samples": x.tolist(), "lines": lines})
    else:
        click.echo(str(out) if out is not None else "\n".join(lines))


def _balanced(sampler: tuple[str, dict[str, Any]], length: int, steps: int | None) -> tuple[str, dict[str, Any]]:
    """The sampler with ``sizes = "balanced"`` spelled out: as many blocks as steps, by default one a position."""
    from ddm_pyro.evaluation.build import balanced
    from ddm_pyro.evaluation.validation import BALANCED

    id, params = sampler
    if params.get("sizes") != BALANCED:
        return sampler
    return id, {**params, "sizes": balanced(length, min(STEPS, length) if steps is None else steps)}


def _target(meta: Any) -> Any:
    """The target of the training, or None where it is a file or cannot be built here."""
    from ddm_pyro.plugins import default_registry

    if not isinstance(meta, dict) or meta.get("reading"):
        return None
    target: Any = meta.get("target")
    try:
        return default_registry().create("targets", target["id"], **target["params"])
    except Exception:  # a target that is not installed here, or none
        return None


def _content(suffix: str, x: Tensor, lines: list[str], law: Any) -> bytes:
    if suffix == ".npy":
        return _npy(x)
    if suffix == ".txt":
        return "".join(f"{line}\n" for line in lines).encode()
    from ddm_pyro.report.examples import image_of
    from ddm_pyro.report.pictures import png

    image = image_of(x, law)
    return b"" if image is None else png(image)  # refused above


def _lines(x: Tensor, meta: Any, law: Any) -> list[str]:
    """One line a sequence: as the file or target of the training reads it, else its tokens."""
    from ddm_pyro.report.examples import texts_of

    reading: Any = meta.get("reading") if isinstance(meta, dict) else None
    return [_line(row, reading) for row in x.tolist()] if reading else texts_of(x, law)


def _line(tokens: list[int], reading: dict[str, Any]) -> str:
    """A row of a table, as in a file with commas, or a text with its line ends written \\n."""
    if "alphabet" in reading:
        return "".join(reading["alphabet"][token] for token in tokens).replace("\n", "\\n")
    stream = io.StringIO()
    cells = [column["labels"][token] for column, token in zip(reading["columns"], tokens, strict=True)]
    csv.writer(stream, lineterminator="").writerow(cells)
    return stream.getvalue()


def _npy(x: Tensor) -> bytes:
    import numpy as np

    stream = io.BytesIO()
    np.save(stream, x.numpy(), allow_pickle=False)
    return stream.getvalue()
