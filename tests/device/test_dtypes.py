"""A network gets the time in its own dtype; the laws made from what it returns are float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import ddm_pyro as ddm
from ddm_pyro import rates, samplers, schedules

VOCAB, LENGTH = 5, 3
X = torch.tensor([[0, 5, 2], [5, 5, 5]])
T, S = torch.tensor(0.6, dtype=torch.float64), torch.tensor(0.25, dtype=torch.float64)


class Recording(nn.Module):
    """Logits on a coarse grid, so that every dtype holds them exactly; remembers the time it was given."""

    def __init__(self, dtype, width):
        super().__init__()
        table = torch.arange((VOCAB + 1) * width).reshape(VOCAB + 1, width) % 7 / 4
        self.table = nn.Parameter(table.to(dtype))
        self.seen = []

    def forward(self, x, t):
        self.seen.append((t.dtype, t.shape))
        return self.table[x]


def process(masked):
    rate = rates.Masked(VOCAB) if masked else rates.Uniform(VOCAB)
    return ddm.ForwardProcess(rate, schedules.LogLinear(), length=LENGTH)


def law_of(dtype, masked, head, sampler):
    forward = process(masked)
    network = Recording(dtype, forward.space.num_symbols if head is ddm.Score else VOCAB)
    x = X if masked else X.clamp(max=VOCAB - 1)
    return network, sampler.step(head(network, forward), x, T, S).law


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(
    ("head", "sampler"),
    [(ddm.X0, samplers.Ancestral()), (ddm.X0, samplers.Euler()), (ddm.Score, samplers.TauLeaping())],
)
def test_step_laws_do_not_depend_on_the_network_dtype(dtype, masked, head, sampler):
    network, law = law_of(dtype, masked, head, sampler)
    table = law.table()
    assert network.seen == [(dtype, (2,))]
    assert table.dtype == torch.float64
    torch.testing.assert_close(table.sum(-1), torch.ones(2, LENGTH, dtype=torch.float64), atol=1e-12, rtol=0)
    exact = law_of(torch.float64, masked, head, sampler)[1].table()
    assert (table - exact).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_planned_loops_take_any_dtype(dtype):
    model = ddm.X0(Recording(dtype, VOCAB), process(masked=True))
    x = ddm.sample(samplers.Euler(), model, 6, steps=3, seed=0)
    assert ((x >= 0) & (x < VOCAB)).all()
    assert {seen for seen, _ in model.network.seen} == {dtype}


def test_the_final_denoising_runs_the_network_only_where_masks_are_left():
    network = Recording(torch.float32, VOCAB)
    start = torch.tensor([[0, 1, 2], [5, 1, 2], [4, 4, 4]])
    x = ddm.sample(samplers.Euler(), ddm.X0(network, process(masked=True)), 3, times=[1e-9, 1e-10], start=start, seed=0)
    assert [shape for _, shape in network.seen][-1] == (1,)
    assert torch.equal(x[[0, 2]], start[[0, 2]])
    assert x[1, 0] < VOCAB
