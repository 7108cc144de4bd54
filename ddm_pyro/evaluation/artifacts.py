"""Files of a run: models, drawn laws, floors. Each appears whole or not at all, and is never unpickled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from ddm_pyro.evaluation.rows import _numbers, _words


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the file, then take its place: a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with beside.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Strict JSON; infinities as strings."""
    write_whole(path, (json.dumps(_words(value), allow_nan=False, indent=1) + "\n").encode())


def read_json(path: Path) -> Any | None:
    """What ``write_json`` wrote, or None when it is not there or not readable."""
    try:
        return _numbers(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Tensors with plain facts about them, as one safetensors file."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(path, serialize(whole, metadata={"facts": json.dumps(_words(dict(facts)), allow_nan=False)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What ``write_tensors`` wrote, or None when it is not there or damaged (it is then made again)."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, _numbers(facts)  # noqa: SIM118
    except (OSError, SafetensorError, ValueError):
        return None
