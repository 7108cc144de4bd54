"""``fit``: minimise a loss over t ~ U(0, 1), x_0 from the data, x_t from the forward process."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddm_pyro.losses import Loss
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.progress import Report, progress_bar
from ddm_pyro.training.data import open_data
from ddm_pyro.training.run import CHECK_EVERY, Run, TrainingDiverged
from ddm_pyro.training.settings import Settings, check_whole, name_of


@dataclass(frozen=True)
class FitResult:
    """A trained model and how it got there.

    Attributes:
        model: the model given, now with its averaged weights.
        losses: (steps,) float64, the mean loss of every batch, nats a sequence.
    """

    model: Parameterization
    losses: Tensor = field(repr=False)


def fit(
    model: Parameterization,
    data: Any,
    *,
    loss: Loss,
    steps: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    device: torch.device | str | None = None,
    ema: float | None = 0.999,
    precision: str = "float32",
    grad_clip: float | None = 1.0,
    weight_decay: float = 0.0,
    warmup: int = 100,
    times: str | Sequence[float] = "stratified",
    noise: str = "independent",
    progress: bool | Report = True,
) -> FitResult:
    """Train a model by AdamW.

    What sample i of the run sees (its row, its time, its noise) is drawn from (seed, i) alone, given its place in the
    batch that ``times`` and ``noise`` arrange; the global generator is left as found. Every arrangement has the same
    expected loss and gradient at every step. With ``checkpoint`` an existing file of the same run is
    resumed, on the CPU bit for bit as if never interrupted. A checkpoint is written every ``checkpoint_every`` steps,
    at the end and, when something stops the run, at the last finished step; it is moved into place whole.

    Args:
        model: a Parameterization; changed in place. It holds the averaged weights afterwards, in training mode or not
            as it came.
        data: (n, L) int64, drawn with replacement; or a data set with ``train``; or a law with ``sample``.
        loss: such as ``losses.NELBO()``.
        steps: number of updates in all, those of a resumed checkpoint included.
        batch_size: sequences an update.
        lr: learning rate after ``warmup`` steps of linear increase.
        seed: of everything random.
        checkpoint: file to write, and to resume from if it exists.
        checkpoint_every: steps between two checkpoints.
        device: where to train; default: where the model is.
        ema: decay of the average of the weights, ``min(ema, (1 + k)/(10 + k))`` at step k; None for the last weights.
        precision: "float32" (the weights' own), or "bf16" for mixed precision.
        grad_clip: largest norm of the gradient of the loss a token; None for no limit.
        weight_decay: of AdamW.
        warmup: steps until the learning rate is reached.
        times: how a batch covers t in [0, 1]. "stratified": one time in each of ``batch_size`` equal slices; "uniform":
            independent; "antithetic": pairs u, 1 - u; "importance": a density that follows the root of a running mean
            of loss^2 on 32 slices (a tenth of it uniform), losses weighted by 1/density; or positive weights of equal
            slices, such as ``[3, 1, 1, 1]``, for a density of your own, with the same weighting.
        noise: "independent" rows; or "low-variance": position by position, the uniform numbers behind x_t are one in
            each of ``batch_size`` equal slices of [0, 1] (a Latin hypercube), so that a position is masked in about as
            many rows of a batch as it should be. Each row keeps its law.
        progress: a bar when stderr is a terminal; a function (steps done, loss); or False.

    Raises:
        TrainingDiverged: a loss or gradient that is not finite; the last good checkpoint is kept.
        TypeError: a model, a loss or data of the wrong kind.
        ValueError: settings out of range, bad data, a checkpoint that is damaged or of another run.

    Example:
        >>> from ddm_pyro import ForwardProcess, X0, losses, networks, rates, schedules
        >>> forward = ForwardProcess(rates.Masked(2), schedules.Linear(), length=3)
        >>> model = X0(networks.MLP.for_process(forward, width=16), forward)
        >>> data = torch.tensor([[0, 1, 1], [1, 0, 0]])
        >>> result = fit(model, data, loss=losses.NELBO(), steps=20, batch_size=8, lr=1e-2, progress=False)
        >>> result.losses.shape, bool(result.losses[-5:].mean() < result.losses[:5].mean())
        (torch.Size([20]), True)
    """
    if not isinstance(model, Parameterization):
        raise TypeError(f"model={model!r} must be a Parameterization such as X0(network, process).")
    if not isinstance(loss, Loss):
        raise TypeError(f"loss={loss!r} must be a Loss such as ddm_pyro.losses.NELBO().")
    steps, every = check_whole("steps", steps, 1), check_whole("checkpoint_every", checkpoint_every, 1)
    settings = Settings(
        seed, batch_size, lr, warmup, weight_decay, grad_clip, ema, precision, name_of(loss), times, noise
    )
    if not isinstance(progress, bool) and not callable(progress):
        raise ValueError(f"progress={progress!r} must be True, False or a function (steps done, loss).")
    if checkpoint is not None and not isinstance(checkpoint, (str, Path)):
        raise ValueError(f"checkpoint={checkpoint!r} must be the path of a file, or None.")
    where = _device(device, model)
    source = open_data(data, model.process, where)
    run = Run(model.to(where), source, loss, settings, where)
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.exists():
        run.resume(path)
        if run.done > steps:
            raise ValueError(f"The checkpoint {path} has {run.done} steps, more than steps={steps}; nothing to do.")
    _train(run, steps, path, every, progress)
    return FitResult(model, torch.tensor(run.losses, dtype=torch.float64, device="cpu"))


def _device(device: torch.device | str | None, model: Parameterization) -> torch.device:
    if device is None:
        return model.device
    try:
        return torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"device={device!r} must name a device of torch, such as 'cpu' or 'cuda:0'.") from None


def _train(run: Run, steps: int, path: Path | None, every: int, progress: bool | Report) -> None:
    training, saved = run.model.training, run.done
    run.model.train()
    try:
        with progress_bar(progress, steps, start=run.done) as report:
            while run.done < steps:
                run.step()
                last = run.done == steps
                if path is not None and (last or run.done % every == 0):
                    run.write(path)
                    saved = run.done
                if last:
                    run.look()
                if run.losses and (last or run.device.type == "cpu" or run.done % CHECK_EVERY == 0):
                    report(run.done, run.losses[-1])
    except TrainingDiverged as error:
        kept = f" The checkpoint {path} keeps step {saved}." if path is not None and saved else ""
        raise TrainingDiverged(f"{error}{kept}") from None
    except BaseException:
        if path is not None and run.whole and run.done > saved:
            with contextlib.suppress(TrainingDiverged):
                run.write(path)
        raise
    finally:
        run.use_average()
        run.optimizer.zero_grad(set_to_none=True)
        run.model.train(training)
