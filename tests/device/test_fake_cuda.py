"""Whole sampling loops on tensors that claim to be on a GPU: one device throughout, no wait, no upload a step."""

from __future__ import annotations

import pytest
import torch
from device_modes import HostWait, fake_cuda
from torch import nn

import ddm_pyro as ddm
from ddm_pyro import arrays, random, rates, samplers, schedules
from ddm_pyro.distributions import inverse_cdf

VOCAB, LENGTH, ROWS = 3, 4, 5


class Table(nn.Module):
    """Logits from the token and the time."""

    def __init__(self, symbols, out):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(symbols, out, device="cuda"))

    def forward(self, x, t):
        return self.table[x] + t[..., None, None]


def dense():
    rate = rates.Dense.__new__(rates.Dense)  # a generator is checked by value, which a fake tensor does not have
    matrix = torch.tensor([[-1.0, 0.5, 0.5], [2.0, -3.0, 1.0], [0.0, 1.0, -1.0]], dtype=torch.float64, device="cpu")
    limit = torch.full((VOCAB, VOCAB), 1 / VOCAB, dtype=torch.float64, device="cpu")  # stands for a known one
    rate._matrix, rate._limit, rate.vocab_size = arrays.OnDevice(matrix), arrays.OnDevice(limit), VOCAB
    return rate


PROCESSES = {
    "masked": lambda: ddm.ForwardProcess(rates.Masked(VOCAB), schedules.Linear(), length=LENGTH),
    "uniform": lambda: ddm.ForwardProcess(rates.Uniform(VOCAB), schedules.LogLinear(), length=LENGTH),
    "dense": lambda: ddm.ForwardProcess(dense(), schedules.Constant(4.0), length=LENGTH),
    "masked columns": lambda: ddm.ForwardProcess([rates.Masked(VOCAB), rates.Masked(2)] * 2, schedules.Cosine()),
    "uniform columns": lambda: ddm.ForwardProcess([rates.Uniform(VOCAB), rates.Uniform(2)] * 2, schedules.Geometric()),
}
EVERYWHERE = [samplers.Ancestral(), samplers.Euler(), samplers.TauLeaping(), samplers.TauLeaping("reject")]


@pytest.fixture(autouse=True)
def keep_copies(monkeypatch):
    # Copies of fake tensors are not kept, lest they outlive their mode; here they may, to count uploads as on a GPU.
    monkeypatch.setattr(arrays.OnDevice, "_keeps", staticmethod(lambda copy: True))


def network(head, process):
    out = process.space.num_symbols if head is ddm.Score else process.space.vocab_size
    return head(Table(process.space.num_symbols, out), process)


@pytest.mark.parametrize("default", ["cuda", None])
@pytest.mark.parametrize("name", PROCESSES)
def test_loops_stay_on_the_device_of_the_model(name, default):
    with fake_cuda(default) as traffic:
        process = PROCESSES[name]()
        masked = process.is_masked
        every = [*EVERYWHERE, *([] if masked or "columns" in name else [[samplers.Euler(), samplers.GibbsCorrector()]])]
        model = network(ddm.X0, process)
        for sampler in every:
            uploads = []
            for steps in (1, 2, 3):
                traffic.uploads = 0
                x = ddm.sample(sampler, model, ROWS, steps=steps)
                uploads.append(traffic.uploads)
                assert x.device.type == "cuda"
                assert x.shape == (ROWS, LENGTH)
            assert uploads[1] == uploads[2], f"{sampler}: an upload a step"


@pytest.mark.parametrize("default", ["cuda", None])
@pytest.mark.parametrize("name", ["masked", "masked columns"])
def test_block_samplers_observations_and_starts(name, default):
    with fake_cuda(default):
        process = PROCESSES[name]()
        model = network(ddm.MaskPredictor, process)
        start = torch.full((ROWS, LENGTH), VOCAB, device="cuda")
        runs = [
            (samplers.FirstHitting(), {}),
            (samplers.FirstHitting(refresh=3), {}),
            (samplers.KUnmask((3, 1)), {}),
            (samplers.FirstHitting(), {"observe": {1: 0}}),
            (samplers.Ancestral(), {"observe": [-1, 1, -1, -1], "steps": 3}),
            (samplers.Euler(), {"observe": start - VOCAB - 1, "steps": 3}),
            (samplers.Euler(), {"start": start, "times": [0.9, 0.5, 0.2]}),
            (samplers.Euler(), {"steps": 3, "final_denoise": False}),
            ([samplers.Ancestral(), samplers.Euler()], {"steps": 3}),
            (samplers.Ancestral(), {"steps": 3, "batch_size": 2}),
        ]
        for sampler, options in runs:
            x = ddm.sample(sampler, model, ROWS, **options)
            assert (x.device.type, x.shape) == ("cuda", (ROWS, LENGTH))


@pytest.mark.parametrize("default", ["cuda", None])
@pytest.mark.parametrize("name", ["masked", "uniform", "dense"])
def test_scores_run_too(name, default):
    with fake_cuda(default):
        process = PROCESSES[name]()
        process.schedule = schedules.LogLinear()  # the reverse rate of a score is infinite where alpha is 0
        model = network(ddm.Score, process)
        for sampler in (samplers.Euler(), samplers.TauLeaping()):
            assert ddm.sample(sampler, model, ROWS, steps=3).device.type == "cuda"


@pytest.mark.parametrize("default", ["cuda", None])
@pytest.mark.parametrize("name", PROCESSES)
def test_forward_laws_live_where_the_tokens_are(name, default):
    with fake_cuda(default):
        process = PROCESSES[name]()
        x = torch.zeros(ROWS, LENGTH, dtype=torch.int64, device="cuda")
        t = torch.full((ROWS,), 0.5, device="cuda")
        for law in (
            process.marginal(x, t, validate_args=False),
            process.transition(x, 0.25, t, validate_args=False),
            process.bridge(x, x, 0.25, 0.5, validate_args=False),
        ):
            y = law.sample((2,))
            assert y.device.type == "cuda"
            assert law.log_prob(y).device.type == "cuda"


def test_the_global_state_is_left_as_found():
    before = torch.get_default_device()
    with fake_cuda("cuda"):
        model = network(ddm.X0, PROCESSES["masked"]())
        ddm.sample(samplers.Ancestral(), model, 2, steps=2)
    assert torch.get_default_device() == before


class OnTheHost(schedules.Linear):
    """A schedule that forgets where the time is."""

    def sigma(self, t):
        return -torch.log1p(-torch.linspace(0.5, 0.5, 1, dtype=torch.float64, device="cpu"))


class Reading(samplers.Ancestral):
    """A step that reads a value back."""

    def reveal(self, process, t, s):
        return torch.full((), float(super().reveal(process, t, s)), device=t.device)


class Compacting(samplers.Ancestral):
    """A step whose shapes depend on values."""

    def step(self, model, x, t, s):
        masked = model.process.space.is_mask(x)
        x[masked] = x[masked]
        return super().step(model, x, t, s)


@pytest.mark.parametrize("sampler", [Reading(), Compacting()])
def test_planted_waits_are_caught(sampler):
    with fake_cuda(None):
        model = network(ddm.X0, PROCESSES["masked"]())
        with pytest.raises(HostWait):
            ddm.sample([sampler, samplers.Euler()], model, ROWS, steps=2)


def test_a_schedule_on_the_host_is_caught():
    with fake_cuda(None):
        model = network(ddm.X0, ddm.ForwardProcess(rates.Masked(VOCAB), OnTheHost(), length=LENGTH))
        with pytest.raises((AssertionError, RuntimeError), match="device"):
            ddm.sample(samplers.Ancestral(), model, ROWS, steps=2)


def test_a_uniform_on_the_host_is_caught(monkeypatch):
    drawn = random.uniform
    monkeypatch.setattr(random, "uniform", lambda shape, device=None: drawn(shape, "cpu"))
    with fake_cuda(None), pytest.raises((AssertionError, RuntimeError), match="device"):
        ddm.sample(samplers.Ancestral(), network(ddm.X0, PROCESSES["masked"]()), ROWS, steps=2)


def test_a_draw_follows_its_weights_to_the_device():
    with fake_cuda(None):
        weights = torch.rand(ROWS, 100, device="cuda")
        assert inverse_cdf(weights, torch.rand(ROWS, dtype=torch.float64, device="cuda")).device.type == "cuda"
