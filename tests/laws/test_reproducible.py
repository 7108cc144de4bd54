"""sample(seed) is a function of (seed, global index): not of batches, splits, or the global generator."""

from __future__ import annotations

import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.rates import Masked, RankOne, Uniform
from ddm_pyro.samplers import (
    Ancestral,
    Euler,
    FirstHitting,
    GibbsCorrector,
    Gillespie,
    KUnmask,
    TauLeaping,
    Uniformization,
)
from ddm_pyro.schedules import Constant, Linear
from ddm_pyro.targets.tabular import random_tabular

TARGET = random_tabular((3, 3, 3), seed=1)
MASKED = TARGET.denoiser(ddm.ForwardProcess(Masked(3), Linear(), length=3))
UNIFORM = TARGET.denoiser(ddm.ForwardProcess(Uniform(3), Constant(3.0), length=3))
SKEWED = TARGET.denoiser(ddm.ForwardProcess([RankOne([0.2, 0.3, 0.5]) for _ in range(3)], Constant(3.0)))


class Clocked(torch.nn.Module):
    """A network that depends on time, so that the hitting clock shows."""

    def forward(self, x, t):
        return torch.stack([t, -t, 2 * t], -1).unsqueeze(-2) * (1.0 + x.unsqueeze(-1))


CASES = {
    "ancestral": (Ancestral(), MASKED, {"steps": 4}),
    "euler": (Euler(), MASKED, {"steps": 4}),
    "tau": (TauLeaping("reject"), MASKED, {"steps": 4}),
    "first-hitting": (FirstHitting(), MASKED, {}),
    "first-hitting in time": (FirstHitting(2), ddm.X0(Clocked(), MASKED.process), {}),
    "k-unmask": (KUnmask((2, 1)), MASKED, {}),
    "gillespie masked": (Gillespie(), MASKED, {"steps": 4}),
    "uniformization masked": (Uniformization(), MASKED, {"steps": 4}),
    "observe": (Ancestral(), MASKED, {"steps": 4, "observe": {1: 2}}),
    "a law to start from": (
        Ancestral(),
        MASKED,
        {"times": [0.5, 0.0], "start": MASKED.process.marginal(torch.tensor([0, 1, 2]), 0.5)},
    ),
    "ancestral uniform": (Ancestral(), UNIFORM, {"steps": 4}),
    "euler skewed": (Euler(), SKEWED, {"steps": 4}),
    "gillespie": (Gillespie(), UNIFORM, {"steps": 4}),
    "uniformization": (Uniformization(early_stopping=0.1), UNIFORM, {"steps": 4}),
    "corrector": ([Ancestral(), GibbsCorrector()], UNIFORM, {"steps": 4}),
    "gillespie corrector": ([Gillespie(), GibbsCorrector()], UNIFORM, {"times": [1.0, 0.5, 0.2]}),
}
EACH = pytest.mark.parametrize(("sampler", "model", "arguments"), CASES.values(), ids=CASES)


@EACH
def test_batches_do_not_enter(sampler, model, arguments):
    whole = ddm.sample(sampler, model, 300, seed=5, batch_size=1000, **arguments)
    for size in (1, 7, 256):
        n = 12 if size == 1 else 300
        assert torch.equal(ddm.sample(sampler, model, n, seed=5, batch_size=size, **arguments), whole[:n])
    assert torch.equal(ddm.sample(sampler, model, 300, seed=5, **arguments), whole)


@EACH
def test_workers_can_split_the_indices(sampler, model, arguments):
    whole = ddm.sample(sampler, model, 600, seed=5, batch_size=600, **arguments)
    for first, last in ((0, 100), (100, 400), (250, 260), (400, 600)):
        part = ddm.sample(sampler, model, last - first, seed=5, first_index=first, **arguments)
        assert torch.equal(part, whole[first:last])


@EACH
def test_the_global_generator_is_left_as_found(sampler, model, arguments):
    torch.manual_seed(17)
    expected = torch.rand(2)
    torch.manual_seed(17)
    ddm.sample(sampler, model, 10, seed=5, **arguments)
    assert torch.equal(torch.rand(2), expected)


@EACH
def test_seeds_differ_and_repeat(sampler, model, arguments):
    a, b, c = (ddm.sample(sampler, model, 100, seed=seed, **arguments) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@EACH
def test_without_a_seed_the_global_generator_decides(sampler, model, arguments):
    def draw(seed):
        torch.manual_seed(seed)
        return ddm.sample(sampler, model, 100, **arguments)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


@pytest.mark.parametrize("size", [1, 5, 64])
def test_given_starts_and_conditions_follow_their_rows(size):
    generator = torch.Generator().manual_seed(0)
    start = torch.randint(4, (64, 3), generator=generator)
    observe = torch.where(torch.rand(64, 3, generator=generator) < 0.3, torch.randint(3, (64, 3)), -1)

    class Shifted(torch.nn.Module):
        def forward(self, x, t, shift):
            return shift[:, None, None] * torch.tensor([0.0, 1.0, 2.0]).expand(*x.shape, 3)

    model = ddm.MaskPredictor(Shifted(), MASKED.process).bind(shift=torch.linspace(-3, 3, 64))
    for arguments in ({"start": start}, {"observe": observe}, {"start": start, "observe": observe}):
        whole = ddm.sample(FirstHitting(), model, 64, seed=3, batch_size=64, **arguments)
        assert torch.equal(ddm.sample(FirstHitting(), model, 64, seed=3, batch_size=size, **arguments), whole)
        known = arguments.get("observe")
        if known is not None:
            assert torch.equal(whole[known >= 0], known[known >= 0])
