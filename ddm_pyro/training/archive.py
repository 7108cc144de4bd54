"""One file, tensors and JSON, written whole or not at all, read without running code (safetensors)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

#: The key of a safetensors file's metadata under which this package keeps its own.
KEY = "ddm_pyro"
FORMAT = 1


def write_archive(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write to a temporary file beside ``path`` and move it into place.

    Raises:
        ValueError: metadata that JSON cannot hold.
    """
    own = _separate(tensors)
    try:
        text = json.dumps({**meta, "format": FORMAT, "digest": _digest(own)}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"The metadata of {path} must be plain JSON values: {error}.") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(own, temporary, metadata={KEY: text})
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_archive(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors on the CPU, and the metadata.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is foreign, truncated, damaged or of a later format.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no checkpoint at {path}.")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            text = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        meta = None if text is None else json.loads(text)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is no checkpoint, or a damaged one ({error}); train again or restore it.") from None
    if not isinstance(meta, dict) or "digest" not in meta:
        raise ValueError(f"{path} is a safetensors file, but not one that ddm_pyro wrote.")
    if meta.get("format") != FORMAT:
        raise ValueError(f"{path} has format {meta.get('format')!r}; this version of ddm_pyro reads format {FORMAT}.")
    if meta["digest"] != _digest(tensors):
        raise ValueError(f"{path} is damaged: its tensors do not match their checksum; train again or restore it.")
    return tensors, meta


def digest_of(tensor: Tensor) -> str:
    """A hash of a tensor's type, shape and bytes."""
    return _digest({"": tensor.detach().cpu().contiguous()})


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Tied weights share memory, which the format refuses; each name gets its own copy.
    seen: set[int] = set()
    own = {}
    for name, tensor in tensors.items():
        value = tensor.detach().to("cpu").contiguous()
        own[name] = value.clone() if value.untyped_storage().data_ptr() in seen else value
        seen.add(value.untyped_storage().data_ptr())
    return own


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
