"""``save`` and ``load``: a model in one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.training.archive import read_archive, write_archive
from ddm_pyro.training.blueprint import build, describe

WEIGHTS, BLUEPRINT = "weights/", "blueprint/"


def save(path: str | Path, model: Parameterization, **meta: Any) -> None:
    """Write a model's weights, and, when its parts are the core's, what rebuilds it.

    Args:
        path: the file; written beside it first and then moved into place.
        model: a Parameterization.
        meta: JSON values, found again in ``load(path).meta``.

    Raises:
        TypeError: something else than a Parameterization.
        ValueError: metadata that JSON cannot hold.

    Example:
        >>> import tempfile
        >>> from ddm_pyro import ForwardProcess, X0, networks, rates, schedules
        >>> forward = ForwardProcess(rates.Masked(3), schedules.Linear(), length=4)
        >>> model = X0(networks.MLP.for_process(forward, width=8), forward)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(f"{folder}/model.ckpt", model, source="survey")
        ...     load(f"{folder}/model.ckpt").meta["source"]
        'survey'
    """
    if not isinstance(model, Parameterization):
        raise TypeError(f"model={model!r} must be a Parameterization such as X0(network, process).")
    tensors, record = model_record(model, model.state_dict())
    write_archive(Path(path), tensors, {**record, "kind": "model", "meta": meta})


def load(
    path: str | Path, model: Parameterization | None = None, device: torch.device | str | None = None
) -> Parameterization:
    """The model of a checkpoint (its averaged weights) or of ``save``, in evaluation mode.

    Args:
        path: written by ``save`` or ``fit(checkpoint=...)``.
        model: where to put the weights; needed when network or process are not the core's.
        device: where to put the model; default: the default device, or where ``model`` is.

    Returns:
        The Parameterization, with ``.meta``: what was given to ``save``, or the settings and step of the training.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is damaged or foreign, a model that cannot be rebuilt, weights that do not fit.
    """
    tensors, record = read_archive(Path(path))
    if model is None:
        model = build(record["blueprint"], part_of(tensors, BLUEPRINT))
        device = torch.get_default_device() if device is None else device
    put_weights(model, part_of(tensors, WEIGHTS), path)
    model.meta = dict(record.get("meta") or {})  # type: ignore[assignment]
    return model.eval() if device is None else model.to(device).eval()


def model_record(model: Parameterization, state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata that every file has: weights and blueprint."""
    blueprint, parts = describe(model)
    tensors = {WEIGHTS + name: value for name, value in state.items() if isinstance(value, Tensor)}
    tensors |= {BLUEPRINT + name: value for name, value in parts.items()}
    return tensors, {"blueprint": blueprint, "model": _described(model)}


def put_weights(model: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Copy weights into a model. Raises ValueError, before anything is copied, when names or shapes disagree."""
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    differing = sorted(own.keys() ^ weights.keys())
    differing += sorted(n for n in own.keys() & weights.keys() if own[n].shape != weights[n].shape)
    if differing:
        raise ValueError(
            f"The weights in {path} do not fit the model: {differing[0]!r} is missing on one side or has another shape "
            f"({len(differing)} such names); build the network with the arguments it was trained with."
        )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(weights[name])


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _described(model: Parameterization) -> str:
    network = getattr(model, "network", None)
    return type(model).__name__ + (f"({type(network).__name__})" if network is not None else "")
