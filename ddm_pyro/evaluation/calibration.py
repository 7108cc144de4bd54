"""Whether a denoiser's probabilities are frequencies: its confidence against how often it is right, by noise level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddm_pyro import random
from ddm_pyro.distributions import Samples
from ddm_pyro.evaluation.artifacts import read_json, write_json
from ddm_pyro.evaluation.cells import Line
from ddm_pyro.evaluation.keys import seed_of
from ddm_pyro.evaluation.laws import reference, reference_sample

if TYPE_CHECKING:
    from ddm_pyro.evaluation.learning import World
    from ddm_pyro.parameterizations import Parameterization

#: Times at which a denoiser is looked at.
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
#: Sequences noised at each of them, and how many go through the network at a time: fewer if their table of
#: probabilities has more entries than this.
SEQUENCES, BATCH, ENTRIES = 512, 64, 2**25
#: Bins of equal width that predictions fall into.
BINS = 10
#: Largest alphabet that is looked at.
MAX_SYMBOLS = 4096


def calibration_file(folder: Path, line: Line) -> Path:
    """Where a model's calibration lies."""
    return folder / "calibration" / f"{line.train_key}.json"


def keep_calibration(folder: Path, line: Line, world: World) -> None:
    """Measure and store a trained model's calibration, once a model; nothing for what is computed from the target."""
    file = calibration_file(folder, line)
    space = world.target.space
    if not line.is_trained or space.is_countable or space.vocab_size > MAX_SYMBOLS or read_json(file) is not None:
        return
    seed = seed_of(line.seed, "calibration", line.repetition, line.axes)
    write_json(file, {"levels": calibration(world.model, held_out(world.target, seed), seed=seed)})


def held_out(target: Any, seed: int) -> Tensor:
    """Some rows that the model was not trained on, or draws of the law it was trained on."""
    law = reference(target)
    if not isinstance(law, Samples):
        return reference_sample(target, SEQUENCES, seed).x
    order = torch.randperm(len(law.x), generator=torch.Generator().manual_seed(seed))
    return law.x[order[:SEQUENCES].to(law.x.device)]


def calibration(
    model: Parameterization, x0: Tensor, *, levels: Sequence[float] = LEVELS, seed: int = 0
) -> list[dict[str, Any]]:
    """Reliability of the most probable token at each noise level.

    The sequences x0 (n, L) are noised to x_t; at each position that the noise leaves open (of a masked process: the
    masked ones) the model names a most probable token, with its probability, the confidence. Confidences are binned;
    in bin b of n_b positions, the mean confidence and the share of positions where the token is the right one should
    agree, and the expected calibration error is sum_b n_b/n |share_b - confidence_b| (Guo et al., arXiv:1706.04599).

    Returns:
        One table a level: ``t``; ``n`` positions; ``error``; ``floor``, its mean if the model were calibrated and
        positions independent, sum_b sqrt(2/pi sum_i c_i (1 - c_i)) / n; ``bins``, those with positions, each with its
        ``n``, ``confidence``, ``share`` and the ``stderr`` of their difference over sequences.
    """
    return [_level(model, x0, t, random.derive_seed(seed, k)) for k, t in enumerate(levels)]


def _level(model: Parameterization, x0: Tensor, t: float, seed: int) -> dict[str, Any]:
    x0 = x0.to(model.device)
    time = torch.full((len(x0),), t, dtype=torch.float64, device=x0.device)
    with torch.no_grad(), random.indexed(seed, range(len(x0))):
        xt = model.process.marginal(x0, time).sample()
    pieces = [
        _named(model, x0[k : k + BATCH], xt[k : k + BATCH], time[k : k + BATCH]) for k in range(0, len(x0), BATCH)
    ]
    confidence, right = (torch.cat(one).cpu() for one in zip(*pieces, strict=True))
    is_open = xt == model.process.space.mask if model.process.is_masked else torch.ones_like(xt, dtype=torch.bool)
    return {"t": t, **reliability(confidence, right, is_open.cpu())}


def _named(model: Parameterization, x0: Tensor, xt: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence of the most probable token at each position, and whether it is the right one."""
    with torch.no_grad():
        best = model.x0_log_probs(xt, time).double().max(-1)
    return best.values.exp().clamp(max=1.0), best.indices == x0


def reliability(confidence: Tensor, right: Tensor, is_open: Tensor, bins: int = BINS) -> dict[str, Any]:
    """Bins of confidences (n, L) against right answers (n, L), over the positions that are open.

    Example:
        >>> c, y = torch.tensor([[0.25, 0.95], [0.25, 0.95]]), torch.tensor([[True, True], [False, True]])
        >>> found = reliability(c, y, torch.ones_like(y))
        >>> found["n"], round(found["error"], 4), [(one["n"], one["share"]) for one in found["bins"]]
        (4, 0.15, [(2, 0.5), (2, 1.0)])
    """
    where = (confidence * bins).long().clamp(max=bins - 1)
    total, tables, error, floor = int(is_open.sum()), [], 0.0, 0.0
    for k in range(bins):
        inside = is_open & (where == k)
        count = int(inside.sum())
        if count == 0:
            continue
        c, y = confidence[inside].double(), right[inside].double()
        gaps = torch.where(inside, right.double() - confidence.double(), 0.0).sum(-1)
        tables.append(
            {
                "n": count,
                "confidence": float(c.mean()),
                "share": float(y.mean()),
                # Positions of one sequence are right or wrong together, so its sequences are what is independent.
                "stderr": float((gaps - gaps.mean()).norm()) / count,
            }
        )
        error += abs(float((y - c).sum())) / total
        floor += math.sqrt(2.0 / math.pi * float((c * (1.0 - c)).sum())) / total
    return {"n": total, "error": error, "floor": floor, "bins": tables}
