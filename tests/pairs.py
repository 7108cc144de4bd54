"""Processes of the package, each beside its brute-force twin."""

from __future__ import annotations

import brute
import torch

import ddm_pyro as ddm
from ddm_pyro import rates, schedules

SCHEDULES = {
    "linear": schedules.Linear(),
    "log-linear": schedules.LogLinear(eps=0.01),
    "cosine": schedules.Cosine(),
    "geometric": schedules.Geometric(smin=0.1, smax=3.0),
    "constant": schedules.Constant(total=3.0),
}
PI = {2: (0.7, 0.3), 3: (0.2, 0.7, 0.1), 4: (0.1, 0.2, 0.3, 0.4)}


def _rate(kind, size, seed=0):
    if kind == "uniform":
        return rates.Uniform(size), brute.uniform_generator(size)
    if kind == "masked":
        return rates.Masked(size), brute.masked_generator(size)
    if kind == "rank-one":
        return rates.RankOne(torch.tensor(PI[size], dtype=torch.float64)), brute.rank_one_generator(PI[size])
    generator = brute.random_generator(size, seed)
    return rates.Dense(generator), generator


#: name -> one (kind, size) for all positions, or one a position.
PROCESSES = {
    "uniform": ("uniform", (3, 3)),
    "masked": ("masked", (3, 3)),
    "rank-one": ("rank-one", (3, 3)),
    "dense": ("dense", (3, 3)),
    "one rate a position": (("uniform", "rank-one", "dense"), (2, 2, 2)),
    "uniform alphabets": ("uniform", (2, 4)),
    "masked alphabets": ("masked", (3, 1, 2)),
    "mixed alphabets": (("dense", "rank-one"), (4, 3)),
}


def pair(name, schedule):
    """(ForwardProcess, Brute) of the given kind."""
    kind, sizes = PROCESSES[name]
    if isinstance(kind, str) and len(set(sizes)) == 1:
        rate, generator = _rate(kind, sizes[0])
        process = ddm.ForwardProcess(rate, SCHEDULES[schedule], length=len(sizes))
        generators = [generator] * len(sizes)
    else:
        kinds = (kind,) * len(sizes) if isinstance(kind, str) else kind
        both = [_rate(one, size, seed) for seed, (one, size) in enumerate(zip(kinds, sizes, strict=True))]
        process = ddm.ForwardProcess([rate for rate, _ in both], SCHEDULES[schedule])
        generators = [generator for _, generator in both]
    return process, brute.Brute(generators, sizes, name.startswith("masked"), schedule)


def states_of(oracle):
    """All states as a tensor, in the oracle's order."""
    return torch.tensor(oracle.states)
