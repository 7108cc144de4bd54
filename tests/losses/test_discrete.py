"""The discrete-time bound against the divergence of whole chains, enumerated in numpy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import oracles
import pytest
import torch
from loss_worlds import SIGMA, Tilted, World, world
from scipy.linalg import expm

from ddm_pyro import ForwardProcess, fit, losses, networks, push, rates, samplers, schedules
from ddm_pyro.parameterizations import X0
from ddm_pyro.samplers import Ancestral, Euler, TauLeaping

TIMES = (1.0, 0.7, 0.2, 0.0)
SHAPES = {"uniform": (3, 2), "masked": (2, 2), "rank-one": (2, 3), "dense": (3,)}


def tilted(small, seed=5, scale=0.6):
    torch.manual_seed(seed)
    return Tilted(small.exact, theta=scale * torch.randn(Tilted(small.exact).theta.shape, dtype=torch.float64))


def finite(small):
    """With a noise at t = 1 that the matrix exponential can take."""
    sigma = small.sigma
    small.sigma = lambda t: 60.0 if t == 1 and small.process.schedule.alpha(1.0) == 0 else sigma(t)
    return small


def token_kernel(matrix, sigma, s, t):
    """From s to t; where no time is infinite."""
    return expm((sigma(t) - sigma(s)) * matrix)


def step_matrix(small: World, model, t, s):
    """P(x_s | x_t) of the averaged bridge over all states, one position at a time from Bayes' rule."""
    width = [len(matrix) for matrix in small.matrices]
    states = oracles.sequences(width)
    p = model.x0_log_probs(torch.from_numpy(states), torch.tensor(t, dtype=torch.float64)).exp().detach().numpy()
    out = np.ones((len(states), len(states)))
    for at, (matrix, size) in enumerate(zip(small.matrices, small.sizes, strict=True)):
        early, late = token_kernel(matrix, small.sigma, 0, s), token_kernel(matrix, small.sigma, s, t)
        joint = early[:size, :, None] * late[None]  # x_0, x_s, x_t
        total = joint.sum(1, keepdims=True)
        bridge = np.divide(joint, total, out=np.zeros_like(joint), where=total > 0)
        for row, x in enumerate(states):
            out[row] *= (p[row, at, :size] @ bridge[:, :, x[at]])[states[:, at]]
    return out


def chain_bound(small: World, model, times):
    """E[log q(x_1 .. x_N | x_0) - log p(x_0 .. x_N)] of whole chains."""
    up = times[::-1]
    kernels = [np.ones((1, 1)) for _ in up[1:]]
    for k in range(len(kernels)):
        for matrix in small.matrices:
            kernels[k] = np.kron(kernels[k], token_kernel(matrix, small.sigma, up[k], up[k + 1]))
    width = [len(matrix) for matrix in small.matrices]
    law = np.zeros(width)
    law[tuple(slice(0, size) for size in small.sizes)] = small.pmf
    law, total = law.ravel(), 0.0
    for k, kernel in enumerate(kernels):
        joint = law[:, None] * kernel
        step = step_matrix(small, model, up[k + 1], up[k]).T
        some = joint > 0
        total += (joint[some] * (np.log(kernel[some]) - np.log(step[some]))).sum()
        law = joint.sum(0)
    prior = np.ones(1)
    for matrix in small.matrices:
        prior = np.kron(prior, expm(200 * matrix)[0])
    some = law > 0
    return total - (law[some] * np.log(prior[some])).sum()


def bound(small: World, loss, model):
    grid = loss.times or np.linspace(1, 0, loss.steps + 1)
    x0 = torch.from_numpy(oracles.sequences(small.sizes))
    start = (torch.from_numpy(small.pmf.ravel()) * loss.constant(small.process, x0)).sum()
    return float(start + torch.stack([small.mean(loss, model, t) for t in grid[:-1]]).mean())


@pytest.mark.parametrize("schedule", ["log-linear", "geometric", "constant"])
@pytest.mark.parametrize("kind", ["uniform", "rank-one", "dense"])
def test_it_is_the_bound_of_whole_chains(kind, schedule):
    sizes = SHAPES[kind]
    small = world(kind, schedule, sizes, oracles.normalized(np.arange(1.0, np.prod(sizes) + 1) ** 2).reshape(sizes))
    model = tilted(small)
    for loss in (losses.DiscreteNELBO(times=TIMES), losses.DiscreteNELBO(1), losses.DiscreteNELBO(4)):
        times = loss.times or tuple(np.linspace(1, 0, loss.steps + 1))
        assert bound(small, loss, model) == pytest.approx(chain_bound(small, model, times), rel=1e-9)


@pytest.mark.parametrize("schedule", list(SIGMA))
def test_masked_steps_are_the_bound_of_the_chain_of_reveals(schedule):
    small = finite(world("masked", schedule, SHAPES["masked"]))
    model, loss = tilted(small), losses.DiscreteNELBO(times=TIMES)
    alpha = [np.exp(-small.sigma(t)) for t in TIMES]
    expected = 0.0
    x0 = oracles.sequences(small.sizes)
    for high, low in pairwise(alpha):
        for row, p0 in zip(x0, small.pmf.ravel(), strict=True):
            for hidden in oracles.sequences((2, 2)).astype(bool):
                x = torch.from_numpy(np.where(hidden, 2, row))
                seen = np.where(hidden, 1 - high, high).prod()
                log_p = model.x0_log_probs(x[None], torch.ones(1))[0].detach().numpy()
                token = -log_p[np.arange(2), row]
                expected += p0 * seen * (low - high) / (1 - high) * (token * hidden).sum()
    found = np.mean([float(small.mean(loss, model, t)) for t in TIMES[:-1]])
    assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "log-linear"])
@pytest.mark.parametrize("kind", ["uniform", "masked"])
def test_many_steps_tend_to_the_continuous_bound(kind, schedule):
    small = finite(world(kind, schedule, (2, 2)))
    model = tilted(small)
    limit = float(small.integral(losses.NELBO(), model))
    x0 = torch.from_numpy(oracles.sequences(small.sizes))
    start = float((torch.from_numpy(small.pmf.ravel()) * losses.NELBO().constant(small.process, x0)).sum())
    if np.isfinite(start):
        gaps = [abs(bound(small, losses.DiscreteNELBO(n), model) - start - limit) for n in (64, 128)]
    else:
        gaps = [
            abs(np.mean([float(small.mean(losses.DiscreteNELBO(n), model, k / n)) for k in range(1, n + 1)]) - limit)
            for n in (64, 128)
        ]
    assert gaps[1] < 0.62 * gaps[0] + 1e-9
    assert gaps[1] < 0.02


@pytest.mark.parametrize("sampler", [Ancestral(), Euler(), TauLeaping()])
@pytest.mark.parametrize("kind", ["uniform", "masked"])
def test_tables_of_any_sampler(kind, sampler):
    small = world(kind, "log-linear", (3, 2))
    model, t, s = tilted(small), 0.2, 0.1
    x0, xt, _ = small.pairs(t)
    times = torch.full((len(x0),), t, dtype=torch.float64)
    bridge = small.process.bridge(x0, xt, s, t)
    step = sampler.step(model, xt, times, times - (t - s))
    states = small.process.space.enumerate().unsqueeze(1).expand(-1, len(x0), -1)
    log_q, log_p = bridge.log_prob(states), step.log_prob(states)
    some = log_q > -torch.inf
    expected = torch.where(some, log_q.exp() * torch.where(some, log_q - log_p, 0.0), 0.0).sum(0) * 3
    found = losses.DiscreteNELBO(times=(1.0, t, s, 0.0), sampler=sampler)(model, x0, xt, times)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_it_bounds_what_the_sampler_draws():
    small = world("uniform", "constant", (3, 2))
    model = tilted(small)
    for steps in (2, 6):
        loss = losses.DiscreteNELBO(steps)
        law = push(Ancestral(), model, steps=steps).pmf.reshape(-1).detach().numpy()
        nll = -(small.pmf.ravel() * np.log(law)).sum()
        assert nll < bound(small, loss, model) < nll + 1.5


def test_times_batches_and_single_precision():
    small = world("uniform", "cosine", (3, 3))
    model, loss = tilted(small), losses.DiscreteNELBO(10)
    x0, xt, _ = small.pairs(0.3)
    t = torch.full((len(x0),), 0.3, dtype=torch.float64)
    whole = loss(model, x0, xt, t)
    torch.testing.assert_close(loss(model, x0, xt, t.float()), whole, rtol=1e-12, atol=0)
    shaped = loss(model, x0[:6].reshape(2, 3, 2), xt[:6].reshape(2, 3, 2), t[:6].reshape(2, 3))
    torch.testing.assert_close(shaped.flatten(), whole[:6], rtol=1e-12, atol=0)
    torch.testing.assert_close(loss(model, x0[0], xt[0], 0.3), whole[0], rtol=1e-12, atol=0)
    same = losses.DiscreteNELBO(times=tuple(k / 10 for k in range(10, -1, -1)))
    torch.testing.assert_close(same(model, x0, xt, t), whole, rtol=1e-12, atol=0)


def test_the_noise_time_of_a_uniform_number_is_the_end_of_its_slice():
    loss = losses.DiscreteNELBO(times=(1.0, 0.5, 0.3, 0.0))
    u = torch.tensor([0.0, 0.1, 1 / 3, 0.34, 2 / 3 + 1e-9, 1.0], dtype=torch.float64)
    assert loss.noise_time(u).tolist() == [0.3, 0.3, 0.3, 0.5, 1.0, 1.0]
    assert losses.NELBO().noise_time(u) is u


def test_fit_draws_on_the_grid():
    process = ForwardProcess(rates.Uniform(2), schedules.Linear(), length=2)
    torch.manual_seed(0)
    model = X0(networks.MLP.for_process(process, width=8), process)
    data = torch.tensor([[0, 1], [1, 1]])
    found = fit(model, data, loss=losses.DiscreteNELBO(3), steps=60, batch_size=32, lr=1e-2, progress=False).losses
    assert float(found[-10:].mean()) < float(found[:10].mean())


def test_what_cannot_be_is_refused():
    small = world("masked", "linear", (2, 2))
    x = torch.tensor([[0, 2]])
    with pytest.raises(ValueError, match=r"t=0.3 is no time of .*noise_time"):
        losses.DiscreteNELBO(4)(small.exact, x * 0, x, 0.3)
    with pytest.raises(ValueError, match="needs steps= or times="):
        losses.DiscreteNELBO()
    with pytest.raises(ValueError, match="needs steps= or times="):
        losses.DiscreteNELBO(2, times=(1.0, 0.0))
    for bad in (0, 1.5, True):
        with pytest.raises(ValueError, match="must be a whole number"):
            losses.DiscreteNELBO(bad)
    for times in ((1.0,), (1.0, 0.1), (0.9, 0.0), (1.0, 0.5, 0.5, 0.0), (0.0, 1.0)):
        with pytest.raises(ValueError, match="must decrease strictly from 1 to 0"):
            losses.DiscreteNELBO(times=times)
    with pytest.raises(TypeError, match="must be a Sampler"):
        losses.DiscreteNELBO(3, sampler="euler")
    with pytest.raises(ValueError, match="compares tables a position"):
        losses.DiscreteNELBO(2, sampler=samplers.FirstHitting())(small.exact, x * 0, x, 0.5)
