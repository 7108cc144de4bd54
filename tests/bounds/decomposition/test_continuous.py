"""The continuous identity against dense Kolmogorov equations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from wrong_models import KINDS, SCHEDULES, Dense, wrong

import ddm_pyro as ddm

TOLERANCE = 1e-8


def case(seed, **fixed):
    rng = np.random.default_rng(seed)
    states, length = [(2, 1), (3, 1), (4, 1), (2, 2), (3, 2), (2, 3)][rng.integers(6)]
    drawn = {
        "masked": bool(rng.integers(2)),
        "schedule": SCHEDULES[rng.integers(len(SCHEDULES))],
        "kind": KINDS[rng.integers(len(KINDS))],
        "e": float(rng.choice([0.01, 0.1, 0.5, 1.0])),
        "zeros": float(rng.choice([0.0, 0.4])),
        "stop": float(rng.choice([0.0, 0.02, 0.3])),
        "start": float(rng.choice([1.0, 1.0, 0.7])),
        "conditioned": bool(rng.integers(2)),
        "denoise": bool(rng.integers(2)),
        **fixed,
    }
    target = ddm.targets.RandomTabular(
        num_states=states, length=length, seed=seed, concentration=float(rng.choice([0.3, 3.0])), zeros=drawn["zeros"]
    )
    rate = ddm.rates.Masked(states) if drawn["masked"] else ddm.rates.Uniform(states)
    process = ddm.ForwardProcess(rate, drawn["schedule"], length=length)
    model = wrong(drawn["kind"], target.denoiser(process), drawn["e"], seed)
    if not drawn["masked"]:
        drawn["conditioned"] = False
        if drawn["kind"].startswith("mixed") and drawn["stop"] == 0.0:
            drawn["stop"] = 0.02  # these rates have no limit at 0
    drawn["denoise"] = drawn["denoise"] and drawn["stop"] > 0.0 and model.primary == "x0"
    return rng, target, model, drawn


def run(rng, target, model, drawn, **options):
    """The decomposition of a random observable, and the same observable on all states."""
    space = model.process.space
    masks = drawn["masked"] and drawn["stop"] > 0.0 and not drawn["denoise"]
    f = torch.from_numpy(rng.normal(size=space.num_states if masks else space.data.num_states))
    found = ddm.bounds.decompose(
        target,
        model,
        f,
        start=drawn["start"],
        stop=drawn["stop"],
        conditioned=drawn["conditioned"] if drawn["masked"] else None,
        final_denoise=drawn["denoise"],
        **options,
    )
    dense = Dense(target, model)
    full = np.zeros(dense.size)
    full[np.ones(dense.size, bool) if masks else dense.clean] = f.numpy()
    return found, dense, full


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(k, marks=pytest.mark.slow) for k in range(6, 60))])
def test_parts_sum_to_the_error_of_the_law_by_the_forward_equation(seed) -> None:
    found, dense, f = run(*(world := case(seed)))
    drawn = world[-1]
    top = drawn["start"] if drawn["conditioned"] else None
    law = dense.run(dense.prior(), drawn["start"], drawn["stop"], transpose=True).y[:, -1]
    p = dense.law(drawn["stop"], top)
    if drawn["denoise"]:
        law, p = law @ dense.denoise(drawn["stop"]), dense.start
    if drawn["masked"] and drawn["stop"] == 0.0 and drawn["kind"].startswith("ratio"):
        # What is not yet revealed at t = 1e-13 is revealed by the rates there.
        jump = dense.rates(1e-13)
        leave = jump.sum(1, keepdims=True)
        jump = np.where(leave > 0, jump / np.where(leave > 0, leave, 1.0), np.eye(dense.size))
        law = law @ np.linalg.matrix_power(jump, dense.length)
    assert abs(found.total - (p - law) @ f) <= TOLERANCE
    assert abs(sum(found.parts.values()) - (p - law) @ f) <= TOLERANCE
    for split in (found.score_by_time, found.score_by_position, found.score_by_state):
        assert abs(float(split.sum()) - found.score) <= TOLERANCE
    assert found.discretization == 0.0 or drawn["denoise"]
    if drawn["conditioned"]:
        assert found.initialization == 0.0


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(k, marks=pytest.mark.slow) for k in range(2, 8))])
@pytest.mark.parametrize("masked", [True, False])
def test_every_share_is_the_integral_it_is_said_to_be(seed, masked) -> None:
    """Initialization and the shares of times, positions and states, by dense u and a fine independent quadrature."""
    kind = KINDS[1 + seed % 4]
    world = case(seed, masked=masked, kind=kind, stop=0.05, start=0.9, denoise=False)
    times = [0.9, 0.6, 0.3, 0.05]
    rng, target, model, drawn = world
    found, dense, f = run(rng, target, model, {**drawn, "start": 1.0, "stop": 0.0} | _interval(drawn))
    assert found.times[0] == 0.9
    top = 0.9 if drawn["conditioned"] else None
    solution = dense.run(f, 0.05, 0.9)
    u_top = solution.y[:, -1]
    assert abs(found.initialization - (dense.law(0.9, top) - dense.prior()) @ u_top) <= TOLERANCE
    shares = np.zeros((3, dense.size, dense.length))
    nodes, weights = np.polynomial.legendre.leggauss(20)
    for k, (high, low) in enumerate(itertools.pairwise(times)):
        a, b = (math.log(t / (1 - t)) for t in (low, high))
        for piece in range(3):
            left, width = a + (b - a) * piece / 3, (b - a) / 3
            for node, weight in zip(nodes, weights, strict=True):
                z = left + width * (node + 1) / 2
                t = 1 / (1 + math.exp(-z))
                u, p = solution.sol(z), dense.law(t, top)
                error = (dense.flows(t, top) - p[:, None] * dense.rates(t)) * (u[None, :] - u[:, None])
                for i, j, site, _ in dense.neighbors:
                    shares[k, i, site] += weight * width / 2 * t * (1 - t) * error[i, j]
    again = ddm.bounds.decompose(
        target,
        model,
        found.observable,
        times=times,
        final_denoise=False,
        conditioned=drawn["conditioned"] if masked else None,
    )
    np.testing.assert_allclose(again.times.numpy(), times)
    np.testing.assert_allclose(again.score_by_time.numpy(), shares.sum((1, 2)), atol=TOLERANCE)
    for one in (found, again):
        np.testing.assert_allclose(one.score_by_position.numpy(), shares.sum((0, 1)), atol=TOLERANCE)
        np.testing.assert_allclose(one.score_by_state.numpy(), shares.sum((0, 2)), atol=TOLERANCE)


def _interval(drawn):
    return {"start": drawn["start"], "stop": drawn["stop"]}


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("conditioned", [True, False])
def test_masked_processes_to_the_data_by_the_average_over_orders(schedule, conditioned) -> None:
    """At stop = 0 a time-free model's law is that of generation in a uniformly random order, for every schedule."""
    target = ddm.targets.RandomTabular(num_states=2, length=3, seed=5, zeros=0.3)
    process = ddm.ForwardProcess(ddm.rates.Masked(2), schedule, length=3)
    model = wrong("mixed", target.denoiser(process), 0.4, 0)
    law = np.zeros((2, 2, 2))
    for x in itertools.product(range(2), repeat=3):
        for order in itertools.permutations(range(3)):
            seen, p = [2, 2, 2], 1.0
            for site in order:
                p *= float(model.x0_log_probs(torch.tensor(seen), 0.5)[site, x[site]].exp())
                seen[site] = x[site]
            law[x] += p / 6
    f = torch.linspace(-1, 1, 8, dtype=torch.float64) ** 3
    found = ddm.bounds.decompose(target, model, f.reshape(2, 2, 2), conditioned=conditioned)
    # Where alpha(1) > 0, unconditioned or not, the sampler starts from all masks.
    assert abs(found.total - float(f @ (target.pmf - torch.from_numpy(law).reshape(-1)))) < 1e-12
    assert abs(found.residual) < 1e-12
    survive = float(schedule.alpha(torch.tensor(1.0)))
    assert (found.initialization == 0.0) == (conditioned or survive == 0.0)


def test_time_free_and_timed_solvers_agree() -> None:
    """A time-free model declared to depend on time takes the general road to the same numbers."""
    target = ddm.targets.RandomTabular(num_states=3, length=2, seed=2)
    process = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Cosine(), length=2)
    model = wrong("mixed", target.denoiser(process), 0.3, 0)
    f, times = torch.arange(9.0).double().sin(), [1.0, 0.8, 0.5, 0.1, 0.0]
    known = ddm.bounds.decompose(target, model, f, times=times)
    model.time_free = False
    general = ddm.bounds.decompose(target, model, f, times=times)
    for name in ("score_by_time", "score_by_position", "score_by_state"):
        np.testing.assert_allclose(getattr(general, name).numpy(), getattr(known, name).numpy(), atol=1e-10)


@pytest.mark.parametrize("rate", [ddm.rates.Masked(3), ddm.rates.Uniform(3)], ids=str)
def test_an_exact_model_makes_no_score_error(rate) -> None:
    target = ddm.targets.RandomTabular(num_states=3, length=2, seed=1, zeros=0.3)
    process = ddm.ForwardProcess(rate, ddm.schedules.Constant(1.5), length=2)
    conditioned = False if rate.has_mask else None
    found = ddm.bounds.decompose(target, target.denoiser(process), torch.arange(9.0), conditioned=conditioned)
    assert float(found.score_by_state.abs().max()) < 1e-12
    assert abs(found.total - found.initialization) < 1e-10
    # From all masks the exact model draws the data law, however early it starts; from uniform noise it does not.
    assert (abs(found.total) < 1e-12) == rate.has_mask


@pytest.mark.slow
def test_rates_without_a_limit_at_zero_are_refused() -> None:
    target = ddm.targets.RandomTabular(num_states=3, length=2, seed=1)
    process = ddm.ForwardProcess(ddm.rates.Uniform(3), ddm.schedules.LogLinear(), length=2)
    model = wrong("mixed", target.denoiser(process), 0.2, 0)
    with pytest.raises(ValueError, match="no limit there; give stop= > 0"):
        ddm.bounds.decompose(target, model, torch.arange(9.0))
    sparse = ddm.targets.RandomTabular(num_states=3, length=2, seed=1, zeros=0.5)
    # Rates that diverge at states the chain leaves at once do no harm.
    found = ddm.bounds.decompose(sparse, sparse.denoiser(process), torch.arange(9.0))
    assert abs(found.residual) < 1e-8


class Slow(ddm.Parameterization):
    """The exact score times a small constant: masks are revealed late, but rightly."""

    primary = "score"

    def __init__(self, exact, factor):
        super().__init__(exact.process)
        self.exact, self.factor = exact, factor

    def log_score(self, x, t):
        return self.exact.log_score(x, t) + math.log(self.factor)


def test_masks_revealed_slowly_are_revealed_in_the_limit() -> None:
    """At rate 0.1 lambda a mask survives to t with probability t^0.1; the limit t -> 0 still is the data law."""
    target = ddm.targets.RandomTabular(num_states=2, length=2, seed=6, zeros=0.25)
    process = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), length=2)
    model = Slow(target.denoiser(process), 0.1)
    found = ddm.bounds.decompose(target, model, torch.tensor([1.0, -2.0, 0.5, 3.0]))
    assert abs(found.total) < 1e-9
    assert abs(found.residual) < 1e-9
    assert abs(ddm.bounds.decompose(target, model, ddm.create("metrics", "core/tv")).total) < 1e-9
