"""Where along the sequence a sampler errs: total variation of the one-token laws, position by position."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddm_pyro.distributions import Samples, Tabular
from ddm_pyro.evaluation.artifacts import read_json, write_json
from ddm_pyro.evaluation.cells import Cell
from ddm_pyro.evaluation.keys import seed_of
from ddm_pyro.evaluation.laws import Drawn, flawless, reference_sample
from ddm_pyro.random import derive_seed

#: Largest length and alphabet that are looked at position by position.
MAX_LENGTH, MAX_SYMBOLS = 4096, 4096


def positions_file(folder: Path, cell: Cell) -> Path:
    """Where the errors of a cell lie."""
    return folder / "positions" / f"{cell.sample_key}.json"


def keep_positions(folder: Path, cell: Cell, target: Any, law: Any, drawn: Drawn) -> None:
    """Measure and store a cell's errors by position, once a cell; nothing for one token or huge alphabets.

    Args:
        folder: of the run.
        cell, target: what was sampled, and from what it learned.
        law: what samples are compared with, see ``laws.reference``.
        drawn: the sampler's law.
    """
    space, file = target.space, positions_file(folder, cell)
    if space.is_countable or not 1 < space.length <= MAX_LENGTH or space.vocab_size > MAX_SYMBOLS:
        return
    if read_json(file) is not None:
        return
    seed = seed_of(cell.line.seed, "positions", cell.line.repetition, cell.line.target.axes)
    other = law if isinstance(law, Tabular | Samples) else reference_sample(target, cell.samples, seed)
    floor = None
    if isinstance(drawn.law, Samples):
        same = reference_sample(target, len(drawn.law.x), derive_seed(seed, "floor"))
        floor = position_errors(same, other).tolist()
    elif isinstance(other, Samples):
        floor = position_errors(flawless(target, other, cell.samples, derive_seed(seed, "floor")), other).tolist()
    errors = position_errors(drawn.law, other).tolist()
    write_json(file, {"tv": errors, "floor": floor, "n": len(drawn.law.x) if isinstance(drawn.law, Samples) else None})


def position_errors(p: Tabular | Samples, q: Tabular | Samples) -> Tensor:
    """TV between the laws of token l under p and q, for each position l, (L,) float64.

    Example:
        >>> p, q = Tabular(torch.tensor([[0.5, 0.0], [0.0, 0.5]])), Tabular(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
        >>> position_errors(p, q).tolist()
        [0.5, 0.5]
    """
    return 0.5 * (token_laws(p) - token_laws(q)).abs().sum(-1)


def token_laws(law: Tabular | Samples) -> Tensor:
    """P(x_l = v), (L, V) float64; shares of the rows of Samples."""
    if isinstance(law, Tabular):
        rows, weights = law.atoms, law.probs
    else:
        rows, weights = law.x, torch.full((len(law.x),), 1.0 / len(law.x), dtype=torch.float64)
    size = law.space.vocab_size
    table = torch.zeros(law.space.length, size, dtype=torch.float64)
    for position, tokens in enumerate(rows.cpu().long().T):
        table[position] = torch.bincount(tokens, weights.double().cpu(), minlength=size)
    return table
