"""What a model's file says about where the model is from, enough to read its sequences without the training's data."""

from __future__ import annotations

from typing import Any

from ddm_pyro.evaluation.cells import Line


def origin_of(line: Line, target: Any) -> dict[str, Any]:
    """Target, settings, seed and loss of a trained line, as plain values.

    A target that reads a file is written down as what its tokens stand for: by the time somebody samples from the
    model, the file may be another.
    """
    loss, named = line.loss, {"id": line.target.id, "params": dict(line.target.params)}
    trained = {"train": dict(line.train), "seed": line.seed, "loss": None if loss is None else loss.id}
    if not line.target.content:
        return {"target": named, **trained}
    return {"source": {**named, "sha256": line.target.content}, "reading": reading_of(target), **trained}


def reading_of(target: Any) -> dict[str, Any]:
    """The alphabet of a text, or the labels of a table's columns; empty for what is plain tokens."""
    from ddm_pyro.targets import File
    from ddm_pyro.targets.codecs import TextCodec

    if not isinstance(target, File):
        return {}
    if isinstance(target.codec, TextCodec):
        return {"alphabet": target.codec.alphabet}
    if not target.columns:
        return {}
    return {"columns": [{"name": one.name, "labels": list(one.labels)} for one in target.columns]}
