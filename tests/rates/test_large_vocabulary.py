"""Rank-one rates at V = 50,257: closed forms only, nothing of size V x V (20 GB) is ever made."""

from __future__ import annotations

import resource

import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.rates import Masked, RankOne, Uniform

V = 50257
ZIPF = 1.0 / torch.arange(1, V + 1, dtype=torch.float64)
RATES = [Uniform(V), Masked(V), RankOne(ZIPF / ZIPF.sum())]


@pytest.mark.parametrize("rate", RATES, ids=["uniform", "masked", "rank-one"])
def test_everything_a_sampler_asks_for_fits_in_memory(rate):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    process = ddm.ForwardProcess(rate, ddm.schedules.Linear(), length=8)
    x0 = torch.randint(V, (4, 8), generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.2, 0.5, 0.7, 1.0], dtype=torch.float64)
    xt = process.marginal(x0, t).sample()
    xs = process.bridge(x0, xt, 0.1, t).sample()
    for x in (xt, xs):
        assert bool(torch.isfinite(process.marginal(x0, 0.5).log_prob(x0)).all())
        assert process.moves(x).shape[-1] == process.space.num_symbols
        assert process.in_rates(x, 0.5 * t).shape == process.out_rates(x, 0.5 * t).shape
        assert bool((process.likelihood(x, torch.zeros(4), t) >= 0).all())
    p = process.row(x0, torch.zeros(4), 0.5 * t)
    assert torch.allclose(p.sum(-1), torch.ones(4, 8, dtype=torch.float64))
    assert torch.allclose(process.evolve(p, 0.5 * t, 0.5 * t), p)
    assert process.prior().sample().shape == (8,)
    assert process.exit_bound(0.0, 0.5) > 0
    # ru_maxrss is in KiB on Linux: a V x V table of float64 alone would be 20 GB, one of bool 2.5 GB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20


def test_the_transition_holds_no_table():
    process = ddm.ForwardProcess(Uniform(V), ddm.schedules.Linear(), length=1024)
    law = process.marginal(torch.zeros(16, 1024, dtype=torch.int64), 0.5)
    held = sum(value.untyped_storage().nbytes() for value in vars(law).values() if isinstance(value, torch.Tensor))
    assert held < 10 * V * 8
