"""The identities of n-step samplers against step matrices, push and the exact reverse kernels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from wrong_models import KINDS, SCHEDULES, Dense, wrong

import ddm_pyro as ddm

SAMPLERS = [
    ddm.samplers.Ancestral(),
    ddm.samplers.Euler(),
    ddm.samplers.TauLeaping(),
    ddm.samplers.TauLeaping(multi_jump="reject"),
]


def case(seed):
    rng = np.random.default_rng(seed)
    states, length = [(2, 1), (4, 1), (2, 2), (3, 2), (2, 3)][rng.integers(5)]
    masked = bool(rng.integers(2))
    target = ddm.targets.RandomTabular(
        num_states=states, length=length, seed=seed, concentration=0.7, zeros=float(rng.choice([0.0, 0.4]))
    )
    rate = ddm.rates.Masked(states) if masked else ddm.rates.Uniform(states)
    process = ddm.ForwardProcess(rate, SCHEDULES[rng.integers(len(SCHEDULES))], length=length)
    sampler = SAMPLERS[rng.integers(len(SAMPLERS))]
    kind = KINDS[rng.integers(3 if isinstance(sampler, ddm.samplers.Ancestral) else len(KINDS))]
    model = wrong(kind, target.denoiser(process), float(rng.choice([0.01, 0.2, 1.0])), seed)
    times = np.sort(rng.uniform(0.05, 0.9, size=int(rng.integers(0, 4))))[::-1].tolist()
    first = 1.0 if isinstance(sampler, ddm.samplers.Ancestral) or (masked and model.primary == "x0") else 0.95
    stop = 0.0 if masked and rng.integers(2) else 0.02
    denoise = model.primary == "x0" and bool(rng.integers(2))
    return rng, target, model, sampler, [first, *times, stop], denoise


def observe(rng, model, sampler, times, denoise):
    """A random observable as it is given, and on all states."""
    space = model.process.space
    masks = space.mask is not None and not denoise and (times[-1] > 0.0 or sampler.leaves_noise)
    f = torch.from_numpy(rng.normal(size=space.num_states if masks else space.data.num_states))
    return f, masks


@pytest.mark.parametrize("seed", [*range(16), *(pytest.param(k, marks=pytest.mark.slow) for k in range(16, 150))])
def test_parts_are_the_local_errors_of_step_matrices(seed) -> None:
    rng, target, model, sampler, times, denoise = case(seed)
    f, masks = observe(rng, model, sampler, times, denoise)
    conditioned = bool(seed % 2) if model.process.is_masked else None
    found = ddm.bounds.decompose(
        target, model, f, sampler=sampler, times=times, conditioned=conditioned, final_denoise=denoise
    )
    dense, exact = Dense(target, model), target.denoiser(model.process)
    top = times[0] if conditioned else None
    v = np.zeros(dense.size)
    v[np.ones(dense.size, bool) if masks else dense.clean] = f.numpy()
    p_final = dense.start if denoise else dense.law(times[-1], top)
    left = p_final @ v
    score, discretization, by_state = [], [], np.zeros(dense.size)

    def stage(t, s, mine, ideal, v):
        p = dense.law(t, top)
        score.append(p @ (ideal - mine) @ v)
        discretization.append(p @ (dense.exact_kernel(t, s, top) - ideal) @ v)
        by_state[:] += p * ((ideal - mine) @ v)
        return mine @ v

    if denoise and (times[-1] > 0.0 or sampler.leaves_noise):
        draw = dense.denoise(times[-1])
        v = stage(times[-1], 0.0, draw, dense.denoise(times[-1], exact), v) if times[-1] > 0.0 else draw @ v
    for s, t in itertools.pairwise(times[::-1]):
        v = stage(t, s, dense.step(sampler, t, s), dense.step(sampler, t, s, exact), v)
    total = left - dense.prior() @ v
    assert abs(found.total - total) < 1e-10
    assert abs(found.residual) < 1e-10
    assert abs(found.initialization - (dense.law(times[0], top) - dense.prior()) @ v) < 1e-10
    np.testing.assert_allclose(found.score_by_time.numpy()[::-1], score, atol=1e-10)
    np.testing.assert_allclose(found.discretization_by_time.numpy()[::-1], discretization, atol=1e-10)
    np.testing.assert_allclose(found.score_by_state.numpy(), by_state, atol=1e-10)
    assert abs(float(found.score_by_position.sum()) - found.score) < 1e-10
    law = ddm.push(sampler, model, times=times, final_denoise=denoise)
    if law.pmf.numel() == len(f):
        p = torch.from_numpy(p_final if masks else p_final[dense.clean])
        assert abs(found.total - float((p - law.pmf) @ f)) < 1e-10


@pytest.mark.parametrize("seed", [0, 1, 3, *(pytest.param(k, marks=pytest.mark.slow) for k in (2, 4, 5, 6))])
def test_split_by_the_adjoint(seed) -> None:
    """The score part is that of the continuous process, the rest the residuals of dense steps on dense u."""
    rng, target, model, sampler, times, denoise = case(100 + seed)
    times = [*times[:-1], 0.02]
    f, masks = observe(rng, model, sampler, times, denoise)
    options = {"times": times, "final_denoise": denoise}
    found = ddm.bounds.decompose(target, model, f, sampler=sampler, split="adjoint", **options)
    by_kernels = ddm.bounds.decompose(target, model, f, sampler=sampler, **options)
    assert abs(found.total - by_kernels.total) < 1e-10
    assert abs(found.residual) < 1e-8
    ideal = ddm.bounds.decompose(target, model, f, **options)
    np.testing.assert_allclose(found.score_by_time.numpy(), ideal.score_by_time.numpy(), atol=1e-9)
    np.testing.assert_allclose(found.score_by_position.numpy(), ideal.score_by_position.numpy(), atol=1e-9)
    dense = Dense(target, model)
    v = np.zeros(dense.size)
    v[np.ones(dense.size, bool) if masks else dense.clean] = f.numpy()
    if denoise:
        v = dense.denoise(0.02) @ v
    u, p = dense.run(v, 0.02, times[0]).sol, dense.prior()
    for k, (t, s) in enumerate(itertools.pairwise(times)):
        step = dense.step(sampler, t, s)
        expected = p @ (u(np.log(t / (1 - t)) if t < 1 else 36.0) - step @ u(np.log(s / (1 - s))))
        assert abs(float(found.discretization_by_time[k]) - expected) < 1e-8
        p = p @ step


@pytest.mark.parametrize("split", ["kernels", "adjoint"])
@pytest.mark.parametrize(
    "sampler",
    [ddm.samplers.FirstHitting(), ddm.samplers.FirstHitting(refresh=2), ddm.samplers.KUnmask((2, 1))],
    ids=str,
)
def test_block_samplers(sampler, split) -> None:
    target = ddm.targets.RandomTabular(num_states=3, length=3, seed=4, zeros=0.3)
    process = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Constant(1.0), length=3)
    model = wrong("mixed", target.denoiser(process), 0.3, 0)
    f = torch.arange(27.0).double().sin()
    found = ddm.bounds.decompose(target, model, f, sampler=sampler, split=split)
    law = ddm.push(sampler, model)
    assert abs(found.total - float((target.pmf - law.pmf) @ f)) < 1e-12
    assert abs(found.residual) < 1e-12
    assert abs(found.initialization) < 1e-15
    assert abs(float(found.score_by_position.sum()) - found.score) < 1e-12
    one_by_one = sampler == ddm.samplers.FirstHitting()
    assert (abs(found.discretization) < 1e-12) == one_by_one
    # The exact model reveals several positions at once wrongly, and nothing else.
    ideal = ddm.bounds.decompose(target, target.denoiser(process), f, sampler=sampler, split=split)
    assert float(ideal.score_by_state.abs().max()) < 1e-12
    assert (abs(ideal.total) < 1e-12) == one_by_one


def test_predictor_and_corrector() -> None:
    target = ddm.targets.RandomTabular(num_states=3, length=2, seed=4)
    process = ddm.ForwardProcess(ddm.rates.Uniform(3), ddm.schedules.Constant(3.0), length=2)
    model = wrong("ratio", target.denoiser(process), 0.3, 0)
    samplers, times = [ddm.samplers.TauLeaping(), ddm.samplers.GibbsCorrector()], [1.0, 0.5, 0.1]
    f = torch.arange(9.0).double().cos()
    found = ddm.bounds.decompose(target, model, f, sampler=samplers, times=times, final_denoise=False)
    law = ddm.push(samplers, model, times=times, final_denoise=False)
    p = process.push(target.pmf, 0.0, 0.1)
    assert abs(found.total - float((p - law.pmf) @ f)) < 1e-12
    assert abs(found.residual) < 1e-12
    assert found.score_by_position is None


def test_a_positions_share_is_the_change_when_its_table_is_replaced() -> None:
    """One step from all masks, two positions: E under (exact, exact) -> (model, exact) -> (model, model)."""
    target = ddm.targets.RandomTabular(num_states=3, length=2, seed=9)
    process = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=2)
    model = wrong("mixed", target.denoiser(process), 0.5, 0)
    f = torch.arange(9.0).double().square().reshape(3, 3)
    found = ddm.bounds.decompose(target, model, f, sampler=ddm.samplers.Ancestral(), steps=1)
    masks, t = torch.tensor([3, 3]), torch.tensor(1.0)
    exact, mine = (one.x0_log_probs(masks, t).exp() for one in (target.denoiser(process), model))
    means = [a[0] @ f @ b[1] for a, b in ((exact, exact), (mine, exact), (mine, mine))]
    expected = [float(means[0] - means[1]), float(means[1] - means[2])]
    np.testing.assert_allclose(found.score_by_position.numpy(), expected, atol=1e-12)
