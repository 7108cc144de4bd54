"""Observables, IPMs, other processes, refusals, the plot."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from wrong_models import Dense, Mixed, wrong

import ddm_pyro as ddm


def world(rate=None, length=2, kind="mixed", e=0.3, schedule=None):
    rate = ddm.rates.Masked(3) if rate is None else rate
    target = ddm.targets.RandomTabular(num_states=3, length=length, seed=3, zeros=0.2)
    process = ddm.ForwardProcess(rate, schedule or ddm.schedules.LogLinear(0.2), length=length)
    return target, wrong(kind, target.denoiser(process), e, 1)


@pytest.mark.parametrize(
    ("metric", "rate"),
    [
        ("core/tv", ddm.rates.Masked(3)),
        ("core/w1-hamming", ddm.rates.Masked(3)),
        ("core/mmd-hamming", ddm.rates.Masked(3)),
        ("core/bounded-lipschitz", ddm.rates.Uniform(3)),
    ],
    ids=str,
)
def test_an_ipm_is_decomposed_by_its_own_witness(metric, rate) -> None:
    target, model = world(rate)
    ipm = ddm.create("metrics", metric)
    stop = {} if rate.has_mask else {"stop": 0.05}
    found = ddm.bounds.decompose(target, model, ipm, **stop)
    dense = Dense(target, model)
    law = dense.run(dense.prior(), 1.0, 0.0 if rate.has_mask else 0.05, transpose=True).y[:, -1]
    law = law if rate.has_mask else law @ dense.denoise(0.05)
    value = ipm(target.tabular(), ddm.Tabular(torch.from_numpy(law[dense.clean]).clamp(min=0.0), space=target.space))
    assert found.total == pytest.approx(value.value, abs=1e-8)
    assert abs(found.residual) < 1e-8
    assert found.observable.shape == (9,)
    sampler = ddm.samplers.Ancestral()
    found = ddm.bounds.decompose(target, model, ipm, sampler=sampler, steps=3)
    assert found.total == pytest.approx(ipm(target.tabular(), ddm.push(sampler, model, steps=3)).value, abs=1e-8)


def test_where_masks_are_left_the_metric_sees_them() -> None:
    target, model = world()
    found = ddm.bounds.decompose(target, model, ddm.create("metrics", "core/tv"), stop=0.3, final_denoise=False)
    dense = Dense(target, model)
    law = dense.run(dense.prior(), 1.0, 0.3, transpose=True).y[:, -1]
    assert found.total == pytest.approx(0.5 * np.abs(dense.law(0.3, 1.0) - law).sum(), abs=1e-8)
    assert found.observable.shape == (16,)


def test_a_function_and_its_table_are_one_observable() -> None:
    target, model = world()
    f = torch.arange(9.0).double().sin()
    by_table = ddm.bounds.decompose(target, model, f.reshape(3, 3))
    by_tokens = ddm.bounds.decompose(target, model, lambda x: f[3 * x[:, 0] + x[:, 1]])
    assert by_table.total == by_tokens.total
    assert torch.equal(by_table.observable, f)


@pytest.mark.parametrize(
    "process",
    [
        ddm.ForwardProcess([ddm.rates.Uniform(2), ddm.rates.Uniform(3)], ddm.schedules.Constant(2.0)),
        ddm.ForwardProcess([ddm.rates.Masked(2), ddm.rates.Masked(3)], ddm.schedules.Linear()),
        ddm.ForwardProcess(
            [ddm.rates.RankOne(torch.tensor([0.2, 0.8])), ddm.rates.RankOne(torch.tensor([0.5, 0.3, 0.2]))],
            ddm.schedules.Constant(2.0),
        ),
        ddm.ForwardProcess(
            [
                ddm.rates.Dense(torch.tensor([[-1.0, 1.0], [0.5, -0.5]])),
                ddm.rates.Dense(torch.tensor([[-1.0, 1.0, 0.0], [0.0, -0.3, 0.3], [2.0, 0.0, -2.0]])),
            ],
            ddm.schedules.Constant(1.0),
        ),
    ],
    ids=["uniform", "masked", "rank-one", "dense"],
)
def test_alphabets_and_rates_that_differ_by_position(process) -> None:
    target = ddm.targets.Tabular(torch.tensor([[0.1, 0.2, 0.05], [0.3, 0.1, 0.25]], dtype=torch.float64))
    model = Mixed(target.denoiser(process), 0.2, timed=True)
    f = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]], dtype=torch.float64)
    found = ddm.bounds.decompose(target, model, f, stop=0.1)
    assert abs(found.residual) < 1e-9
    # Many small exact events: the ancestral sampler's law tends to the continuous one, halving its error each time.
    gaps = []
    for steps in (32, 64):
        times = torch.linspace(1.0, 0.1, steps + 1).tolist()
        gaps.append(ddm.bounds.decompose(target, model, f, sampler=ddm.samplers.Ancestral(), times=times).total)
    assert abs(2 * gaps[1] - gaps[0] - found.total) < 0.1 * abs(gaps[1] - gaps[0]) + 1e-9
    by_steps = ddm.bounds.decompose(target, model, f, sampler=ddm.samplers.Ancestral(), times=[1.0, 0.4, 0.1])
    law = ddm.push(ddm.samplers.Ancestral(), model, times=[1.0, 0.4, 0.1])
    assert abs(by_steps.total - float((target.pmf - law.pmf) @ f.reshape(-1))) < 1e-12
    assert abs(by_steps.residual) < 1e-12


def test_a_float32_network() -> None:
    torch.manual_seed(0)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.out = torch.nn.Linear(9, 16), torch.nn.Linear(16, 6)

        def forward(self, x, t):
            seen = torch.nn.functional.one_hot(x, 4).flatten(-2).float()
            return self.out(torch.tanh(self.inner(torch.cat([seen, t.unsqueeze(-1)], -1)))).unflatten(-1, (2, 3))

    target, model = world()
    model = ddm.X0(Network(), model.process)
    before = torch.random.get_rng_state()
    f = torch.arange(9.0)
    found = ddm.bounds.decompose(target, model, f)
    assert abs(found.residual) < 1e-6
    assert torch.equal(before, torch.random.get_rng_state())
    found = ddm.bounds.decompose(target, model, f, sampler=ddm.samplers.Ancestral(), steps=3)
    assert abs(found.residual) < 1e-9


def test_plot_shows_three_panels_and_the_sum() -> None:
    target, model = world()
    found = ddm.bounds.decompose(target, model, torch.arange(9.0), sampler=ddm.samplers.Euler(), steps=4)
    figure = found.plot()
    assert len(figure.axes) == 3
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx([*found.parts.values(), found.total])
    assert figure.axes[1].lines[0].get_ydata()[-1] == pytest.approx(found.score)
    assert [bar.get_height() for bar in figure.axes[2].patches] == pytest.approx(found.score_by_position.tolist())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observable": torch.zeros(8)}, r"shape \(8,\); \(3, 3\) or \(9,\)"),
        ({"observable": torch.full((9,), torch.nan)}, "values must be finite"),
        ({"observable": lambda x: x}, "one number a row"),
        ({"observable": torch.zeros(9), "stop": 0.2, "final_denoise": False}, "masks included"),
        ({"start": 0.2, "stop": 0.3}, "start=0.2 and stop=0.3"),
        ({"times": [0.2, 0.5]}, "decrease strictly"),
        ({"times": [1.0, 0.5], "steps": 3}, "not both"),
        ({"steps": 0}, "steps=0"),
        ({"split": "half"}, "split='half'"),
        ({"sampler": ddm.samplers.Ancestral(), "steps": 2, "stop": 0.1}, "give a sampler times="),
        ({"sampler": ddm.samplers.Ancestral()}, "needs steps="),
    ],
)
def test_refusals(options, message) -> None:
    target, model = world()
    options = {"observable": torch.zeros(9), **options}
    with pytest.raises(ValueError, match=message):
        ddm.bounds.decompose(target, model, **options)


def test_more_refusals() -> None:
    target, model = world(ddm.rates.Uniform(3))
    with pytest.raises(ValueError, match="conditioned=True needs"):
        ddm.bounds.decompose(target, model, torch.zeros(9), conditioned=True)
    with pytest.raises(TypeError, match="must be a tensor"):
        ddm.bounds.decompose(target, model, "f", stop=0.1)
    other = ddm.targets.RandomTabular(num_states=2, length=2)
    with pytest.raises(ValueError, match="must agree"):
        ddm.bounds.decompose(other, model, torch.zeros(4))
    with pytest.raises(ValueError, match="reveals masks"):
        ddm.bounds.decompose(target, model, torch.zeros(9), sampler=ddm.samplers.FirstHitting())
    big = ddm.ForwardProcess(ddm.rates.Masked(50), ddm.schedules.Linear(), length=8)
    chain = ddm.targets.PottsChain(num_states=50, length=8, coupling=1.0)
    with pytest.raises(ValueError, match="every state listed"):
        ddm.bounds.decompose(chain, chain.denoiser(big), lambda x: x[:, 0])
