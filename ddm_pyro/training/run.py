"""The state of a training run, one step of it, and its checkpoints."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.losses import Loss
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.training.archive import read_archive, write_archive
from ddm_pyro.training.data import Source, draw_batch
from ddm_pyro.training.ema import MovingAverage
from ddm_pyro.training.settings import Settings
from ddm_pyro.training.store import BLUEPRINT, WEIGHTS, model_record, part_of, put_weights
from ddm_pyro.training.times import open_times

TRAINED, ADAM, TIMES, LOSSES = "trained/", "adam/", "times/", "losses"

#: Steps between two looks at the losses on a device other than the CPU: a look makes the host wait.
CHECK_EVERY = 50


class TrainingDiverged(RuntimeError):
    """The loss or a gradient is NaN or infinite; the checkpoint, if any, is the last good one."""


@dataclass(eq=False)
class Run:
    """Weights, optimizer, average and losses after ``done`` steps."""

    model: Parameterization
    source: Source
    loss: Loss
    settings: Settings
    device: torch.device
    done: int = 0
    losses: list[float] = field(default_factory=list)
    #: False while a step changes the weights: what an interruption leaves then is nothing to keep.
    whole: bool = True

    def __post_init__(self) -> None:
        self.named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.weights: list[Tensor] = list(self.named.values())
        if not self.weights:
            raise ValueError(
                f"{type(self.model).__name__} has no parameters that require a gradient: nothing to train."
            )
        self.optimizer = torch.optim.AdamW(self.weights, lr=self.settings.lr, weight_decay=self.settings.weight_decay)
        decay = self.settings.ema
        self.average = None if decay is None else MovingAverage(self.weights, decay)
        self.times = open_times(self.settings.times, self.device)
        self._unseen: list[Tensor] = []

    def step(self) -> None:
        """One batch, one update. Raises TrainingDiverged before a bad update (on the CPU), or within CHECK_EVERY."""
        size, seed = self.settings.batch_size, self.settings.seed
        self.optimizer.zero_grad(set_to_none=True)
        with random.indexed(seed, range(self.done * size, (self.done + 1) * size), self.device):
            batch = draw_batch(
                self.source, self.model.process, size, self.device, self.loss, self.times, self.settings.noise
            )
            with self._precision():
                values = self.loss(self.model, batch.x0, batch.xt, batch.t)
                value = (values if batch.weight is None else batch.weight * values).mean()
            # Per token, so that grad_clip means the same at every length.
            (value / batch.x0.shape[-1]).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.weights, self.settings.grad_clip or torch.inf)
        self._unseen.append(torch.stack([value.detach().double(), norm.double()]))
        if self.device.type == "cpu" or len(self._unseen) >= CHECK_EVERY:
            self.look()
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * min(1.0, (self.done + 1) / max(self.settings.warmup, 1))
        self.whole = False
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.weights, self.done)
        self.times.update(batch.u, values.detach())
        self.done += 1
        self.whole = True

    def look(self) -> None:
        """Read the losses not yet seen. Raises TrainingDiverged naming the first step that is not finite."""
        if not self._unseen:
            return
        seen = torch.stack(self._unseen)
        self._unseen = []
        finite = seen.isfinite().all(-1).tolist()
        for (value, norm), good in zip(seen.tolist(), finite, strict=True):
            if not good:
                raise TrainingDiverged(
                    f"Training diverged at step {len(self.losses)}: the loss is {value:.6g} and the norm of its "
                    f"gradient {norm:.6g}; lower lr={self.settings.lr}, lengthen warmup={self.settings.warmup}, or "
                    "look for data that the model gives probability 0."
                )
            self.losses.append(value)

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if self.settings.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def use_average(self) -> None:
        """Give the model its averaged weights."""
        if self.average is not None:
            with torch.no_grad():
                torch._foreach_copy_(self.weights, self.average.values)

    def write(self, path: Path) -> None:
        """Write the checkpoint of the steps done. Raises TrainingDiverged instead when they were not finite."""
        self.look()
        state: dict[str, Any] = dict(self.model.state_dict())
        tensors: dict[str, Tensor] = {}
        if self.average is not None:
            state |= dict(zip(self.named, self.average.values, strict=True))
            tensors |= {TRAINED + name: weight for name, weight in self.named.items()}
        for name, weight in self.named.items():
            for key, value in self.optimizer.state.get(weight, {}).items():
                tensors[f"{ADAM}{name}/{key}"] = value
        tensors |= {TIMES + name: value for name, value in self.times.state().items()}
        tensors[LOSSES] = torch.tensor(self.losses[: self.done], dtype=torch.float64)
        own, record = model_record(self.model, state)
        meta = {"step": self.done, **dataclasses.asdict(self.settings)}
        write_archive(path, tensors | own, {**record, "kind": "run", "meta": meta, "data": self.source.fingerprint})

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            ValueError: a file that is no checkpoint of a run, or that of another model, data or setting.
        """
        tensors, record = read_archive(path)
        if record.get("kind") != "run":
            raise ValueError(f"{path} holds a saved model without training state; load() it, or give another path.")
        self.settings.check_same(record["meta"], path)
        if record["data"] != self.source.fingerprint:
            raise ValueError(f"The checkpoint {path} was trained on other data; give another path to start afresh.")
        self._check_model(tensors, record, path)
        put_weights(self.model, part_of(tensors, WEIGHTS), path)
        if self.average is not None:
            trained, averaged = part_of(tensors, TRAINED), part_of(tensors, WEIGHTS)
            with torch.no_grad():
                for name, weight, value in zip(self.named, self.weights, self.average.values, strict=True):
                    value.copy_(averaged[name])
                    weight.copy_(trained[name])
        adam = part_of(tensors, ADAM)
        for name, weight in self.named.items():
            state = part_of(adam, f"{name}/")
            self.optimizer.state[weight] = {k: v if k == "step" else v.to(weight.device) for k, v in state.items()}
        self.times.load(part_of(tensors, TIMES))
        self.done, self.losses = int(record["meta"]["step"]), tensors[LOSSES].tolist()

    def _check_model(self, tensors: dict[str, Tensor], record: dict[str, Any], path: Path) -> None:
        own, mine = model_record(self.model, {})
        parts, given = part_of(tensors, BLUEPRINT), part_of(own, BLUEPRINT)
        # A law that is normalised once more on loading may move by a rounding.
        same = all(torch.allclose(parts[n], given[n].cpu(), rtol=1e-12, atol=0) for n in parts.keys() & given.keys())
        if (record["blueprint"], record["model"]) != (mine["blueprint"], mine["model"]) or not same:
            raise ValueError(
                f"The checkpoint {path} holds {record['model']} with another network or process; build the same model, "
                "or give another path to start afresh."
            )
