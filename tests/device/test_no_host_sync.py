"""No step of a sampler with syncs=False makes the host wait; the number of kernels of a step is known."""

from __future__ import annotations

import pytest
import torch
from device_modes import HostWait, Watch
from torch import nn

import ddm_pyro as ddm
from ddm_pyro import samplers, schedules
from ddm_pyro.rates import Dense, Masked, RankOne, Uniform
from ddm_pyro.samplers.plans import Planned

VOCAB, LENGTH, BATCH = 70, 4, 5
T, S = torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)


class Constant(nn.Module):
    """Launches nothing."""

    def __init__(self, out):
        super().__init__()
        self.out = out

    def forward(self, x, t):
        return self.out


def generator():
    rates = torch.rand(VOCAB, VOCAB, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).fill_diagonal_(0)
    return rates - torch.diag(rates.sum(-1))


RATES = {
    "masked": lambda: Masked(VOCAB),
    "uniform": lambda: Uniform(VOCAB),
    "rank-one": lambda: RankOne(torch.arange(1.0, VOCAB + 1, dtype=torch.float64) * 2 / VOCAB / (VOCAB + 1)),
    "dense": lambda: Dense(generator()),
    "masked columns": lambda: [Masked(VOCAB), Masked(3)] * 2,
    "uniform columns": lambda: [Uniform(VOCAB), Uniform(3)] * 2,
}
HEADS = {"x0": ddm.X0, "mask-predictor": ddm.MaskPredictor, "score": ddm.Score}
SAMPLERS = [
    samplers.Ancestral(),
    samplers.Euler(),
    samplers.TauLeaping(),
    samplers.TauLeaping("reject"),
    samplers.GibbsCorrector(),
    samplers.FirstHitting(refresh=2),
    samplers.KUnmask((2, 2)),
]


def fits(sampler, rate, head):
    masked = rate.startswith("masked")
    if head == "mask-predictor" and not masked:
        return False
    if isinstance(sampler, samplers.GibbsCorrector):
        return not masked and "columns" not in rate
    if sampler.masked_only:  # without a plan they need a time-free model
        return masked and head == "mask-predictor"
    # The x0 view of a score is checked to be a law, which reads one number back: see Ancestral on scores.
    return not (isinstance(sampler, samplers.Ancestral) and head == "score")


def world(rate, head):
    rates = RATES[rate]()
    process = ddm.ForwardProcess(rates, schedules.LogLinear(), length=None if isinstance(rates, list) else LENGTH)
    width = process.space.num_symbols if head == "score" else process.space.vocab_size
    out = torch.randn(BATCH, LENGTH, width, generator=torch.Generator().manual_seed(0))
    x = torch.zeros(BATCH, LENGTH, dtype=torch.int64)
    if process.is_masked:
        x[:, ::2] = process.space.mask
    return HEADS[head](Constant(out), process), x


CASES = [(s, rate, head) for s in SAMPLERS for rate in RATES for head in HEADS if fits(s, rate, head)]


@pytest.mark.parametrize(("sampler", "rate", "head"), CASES, ids=str)
def test_a_step_never_waits(sampler, rate, head):
    assert not sampler.syncs
    model, x = world(rate, head)
    with torch.no_grad():
        sampler.step(model, x, T, S).sample()  # constants are copied to the device at the first step
        with Watch() as watch:
            y = sampler.step(model, x, T, S).sample()
    assert model.process.space.contains(y).all()
    assert watch.launches <= (250 if "columns" in rate else 130)


@pytest.mark.parametrize(
    ("sampler", "rate", "head", "most"),
    [
        (samplers.Ancestral(), "masked", "mask-predictor", 70),
        (samplers.Euler(), "masked", "mask-predictor", 70),
        (samplers.Euler(), "uniform", "score", 70),
        (samplers.FirstHitting(2), "masked", "mask-predictor", 60),
    ],
)
def test_kernels_of_the_common_steps_stay_few(sampler, rate, head, most):
    model, x = world(rate, head)
    with torch.no_grad(), Watch() as watch:
        sampler.step(model, x, T, S).sample()
    assert 0 < watch.launches <= most


@pytest.mark.parametrize("clock", [None, torch.full((BATCH, 3), 0.5, dtype=torch.float64)])
def test_a_planned_step_at_fixed_shapes_never_waits(clock):
    model, x = world("masked", "x0")
    plan = torch.randint(0, 3, x.shape, generator=torch.Generator().manual_seed(0))
    sampler = Planned(plan, None, clock)
    with torch.no_grad(), Watch() as watch:
        y = sampler.step(model, x, T, S).sample()
    drawn = (plan == 0) & (x == VOCAB)
    assert (y[drawn] < VOCAB).all()
    assert (y[~drawn] == x[~drawn]).all()
    assert watch.launches <= 60


def test_preparing_a_plan_off_the_host_does_not_split_it():
    process = ddm.ForwardProcess(Masked(3), schedules.Linear(), length=LENGTH)
    x, plan = torch.full((2, LENGTH), 3), torch.zeros(2, LENGTH, dtype=torch.int64)
    times = torch.linspace(1, 0, 3, dtype=torch.float64)
    assert Planned.of(process, x, times, plan).split is not None
    assert Planned.of(process, x.to("meta"), times.to("meta"), plan.to("meta")).split is None


def test_the_policy_that_reads_values_says_so():
    model, x = world("uniform", "score")
    sampler = samplers.Euler(negative="raise")
    assert sampler.syncs
    with torch.no_grad(), Watch(), pytest.raises(HostWait):
        sampler.step(model, x, T, S).sample()


@pytest.mark.parametrize("sampler", [samplers.Gillespie(), samplers.Uniformization()], ids=repr)
def test_event_driven_samplers_say_that_they_wait(sampler):
    model, x = world("masked", "x0")
    assert sampler.syncs
    with torch.no_grad(), Watch(), pytest.raises(HostWait):
        sampler.step(model, x, T, S).sample()


@pytest.mark.parametrize(
    "fault",
    [
        lambda x: x[x > 0],
        lambda x: x.__setitem__(x > 0, 0),
        lambda x: x.sum().item(),
        lambda x: x.nonzero(),
        lambda x: x.unique(),
        lambda x: bool((x > 0).any()),
        lambda x: torch.masked_select(x, x > 0),
        lambda x: torch.equal(x, x),
        lambda x: torch.allclose(x.double(), x.double()),
        lambda x: x.repeat_interleave(x.clamp(min=1)),
    ],
)
def test_the_watch_sees_planted_faults(fault):
    with Watch(), pytest.raises(HostWait):
        fault(torch.arange(4))


def test_the_watch_lets_whole_number_indexing_pass():
    with Watch() as watch:
        out = torch.arange(4)[torch.tensor([0, 2])] + 1
    assert out.tolist() == [1, 3]
    assert watch.kernels["index"] == 1
