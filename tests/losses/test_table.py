"""Every loss on every schedule: least at the truth, its identity, a gradient without bias; masked and uniform noise.

Laws of 2 to 4 tokens and 1 to 3 positions, zeros included, enumerated; one column a loss, one row a schedule.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import oracles
import pytest
import torch
from loss_worlds import SIGMA, Tilted, world
from scipy.stats import norm

from ddm_pyro import losses

FALSE_ALARM = 2e-5
TIMES = (0.1, 0.6)
KINDS = ["uniform", "masked"]
SCHEDULES = list(SIGMA)
LAWS = {
    "dense": oracles.normalized(np.arange(1.0, 9) ** 2).reshape(2, 2, 2),
    "one position": np.array([0.5, 0.0, 0.2, 0.3]),
    "zeros": np.array([[0.0, 0.1, 0.3], [0.25, 0.0, 0.0], [0.05, 0.3, 0.0]]),
    "uneven": oracles.normalized(np.arange(1.0, 7)).reshape(2, 3),
    "point": np.array([[0.0, 0.0], [1.0, 0.0]]),
}
MAKERS = {
    "NELBO": lambda exact: losses.NELBO(),
    "entropy": lambda exact: losses.ScoreEntropy(),
    "explicit entropy": lambda exact: losses.ScoreEntropy("explicit", exact=exact),
    "implicit entropy": lambda exact: losses.ScoreEntropy("implicit"),
    "matching": lambda exact: losses.ScoreMatching(),
    "explicit matching": lambda exact: losses.ScoreMatching("explicit", exact=exact),
    "implicit matching": lambda exact: losses.ScoreMatching("implicit"),
    "ratio matching": lambda exact: losses.RatioMatching(),
    "squared ratio matching": lambda exact: losses.RatioMatching("squared"),
    "cross entropy": lambda exact: losses.CrossEntropy(),
    "generalized KL": lambda exact: losses.GeneralizedKL(),
    "discrete NELBO": lambda exact: losses.DiscreteNELBO(times=(1.0, 0.6, 0.1, 0.0)),
    "mask-size weighted": lambda exact: losses.MaskSizeWeighted(),
}
OF_POSTERIORS = {"cross entropy", "generalized KL", "discrete NELBO", "mask-size weighted"}
CASES = [
    (kind, primary, name)
    for kind in KINDS
    for primary in ("x0", "score")
    for name in MAKERS
    if not (name in OF_POSTERIORS and primary == "score") and not (name == "mask-size weighted" and kind == "uniform")
]


@functools.cache
def each(kind, schedule):
    return [world(kind, schedule, pmf.shape, pmf) for pmf in LAWS.values()]


def tilt(small, primary, scale, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = Tilted(small.exact, primary).theta.shape
    return Tilted(small.exact, primary, scale * torch.randn(shape, dtype=torch.float64, generator=generator))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("kind", "primary", "name"), CASES)
def test_the_truth_is_the_minimum(kind, primary, name, schedule):
    for small in each(kind, schedule):
        loss = MAKERS[name](small.exact)
        for t in TIMES:
            model = Tilted(small.exact, primary)
            least = small.mean(loss, model, t)
            if least.requires_grad:  # nothing to learn where no row has a loss
                least.backward()
                assert float(model.theta.grad.abs().max()) < 1e-12 * max(1.0, abs(least.item()))
            with torch.no_grad():
                assert float(small.mean(loss, tilt(small, primary, 0.3), t)) >= least.item() - 1e-12


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
def test_sampled_gradients_have_the_enumerated_mean(kind, schedule):
    """x_0 by the law, x_t by ``process.marginal``: the mean of the gradient along that of the enumerated mean."""
    t, step, columns = 0.6, 1e-5, [case for case in CASES if case[0] == kind]
    limit = norm.isf(FALSE_ALARM / 2 / (4 * len(columns)))  # the budget is that of the whole test
    for small in each(kind, schedule)[:4]:
        x0, xt, weight = small.pairs(t)
        time, counts = torch.full((len(x0),), t, dtype=torch.float64), sampled_pairs(small, t, x0, xt)
        for _, primary, name in columns:
            loss, model = MAKERS[name](small.exact), tilt(small, primary, 0.5)
            model.theta.requires_grad_()
            small.mean(loss, model, t).backward()
            expected, theta = float(model.theta.grad.norm()), model.theta.detach()
            direction = model.theta.grad / expected
            with torch.no_grad():
                up = loss(Tilted(small.exact, primary, theta + step * direction), x0, xt, time)
                down = loss(Tilted(small.exact, primary, theta - step * direction), x0, xt, time)
            slope = (up - down) / (2 * step)
            mean = float((weight * slope).sum())
            assert mean == pytest.approx(expected, rel=1e-5, abs=1e-9)
            error = float((weight * (slope - mean).square()).sum().sqrt()) / float(counts.sum()) ** 0.5
            found = float((counts * slope).sum() / counts.sum())
            assert abs(found - mean) <= limit * error + 1e-12, name


def sampled_pairs(small, t, x0, xt, number=20_000):
    """How often each (x_0, x_t) comes when both are drawn; every draw must be one of them."""
    space = small.process.space
    torch.manual_seed(8)
    rows = torch.from_numpy(oracles.sequences(small.sizes))
    drawn = rows[torch.multinomial(torch.from_numpy(small.pmf.ravel()), number, replacement=True)]
    noised = small.process.marginal(drawn, torch.full((number,), t, dtype=torch.float64)).sample()
    keys, seen = (space.data.index(a) * space.num_states + space.index(b) for a, b in ((x0, xt), (drawn, noised)))
    order = keys.argsort()
    at = torch.searchsorted(keys[order], seen).clamp(max=len(keys) - 1)
    assert torch.equal(keys[order][at], seen)
    return torch.zeros(len(keys), dtype=torch.float64).index_add(0, order[at], torch.ones(number, dtype=torch.float64))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_are_the_entropy_and_their_excess_the_explicit_loss(kind, schedule):
    """int NELBO = H(X_0 | X_1) at the truth; anywhere int NELBO - H(X_0 | X_1) = KL of paths = int explicit >= 0."""
    for small in each(kind, schedule):
        entropy = small.conditional_entropy()
        for loss in (losses.NELBO(), losses.ScoreEntropy()):
            assert float(small.integral(loss, small.exact)) == pytest.approx(entropy, abs=2e-8)
        model, explicit = tilt(small, "x0", 0.4), losses.ScoreEntropy("explicit", exact=small.exact)
        with torch.no_grad():
            excess = float(small.integral(losses.NELBO(), model)) - entropy
            path = float(small.integral(explicit, model))
        assert excess == pytest.approx(path, abs=1e-7)
        assert path >= -1e-12


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_completed_bound_is_the_entropy_and_the_mismatch_of_the_ends(kind, schedule):
    """int NELBO + KL(q(x_1 | x_0) || prior) - H(p_0) = KL(p_1 || prior) at the truth."""
    for small in each(kind, schedule):
        x0 = torch.from_numpy(oracles.sequences(small.sizes))
        start = losses.NELBO().constant(small.process, x0)
        if not bool(start.isfinite().all()):
            assert kind == "masked"
            assert float(small.process.schedule.alpha(1.0)) > 0
            continue
        end = small.pmf.ravel() if kind == "masked" else small.pmf.ravel() @ small.kernel(min(1.0, 1 - 1e-15))
        mismatch = 0.0 if kind == "masked" else np.log(len(end)) - oracles.entropy(end)
        value = small.integral(losses.NELBO(), small.exact) + (torch.from_numpy(small.pmf.ravel()) * start).sum()
        assert float(value) - oracles.entropy(small.pmf) == pytest.approx(mismatch, abs=2e-8)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_constants_between_kinds(kind, schedule):
    """denoising - explicit = E sum_y R[y, x] (K(r_0) - K(r)), and E sum_y R[y, x] (r_0^2 - r^2), by enumeration."""
    for small, t in itertools.product(each(kind, schedule), (0.2, 0.8)):
        kernel, pace = small.kernel(t), float(small.process.schedule.rate(t))
        width = [len(matrix) for matrix in small.matrices]
        states, law = oracles.sequences(width), small.pmf.ravel() @ small.kernel(t)
        of_entropy = of_squares = 0.0
        for x, y in itertools.permutations(range(len(states)), 2):
            differing = np.flatnonzero(states[x] != states[y])
            if len(differing) != 1:
                continue
            at = differing[0]
            rate = pace * small.matrices[at][states[y, at], states[x, at]]
            for p0, q in zip(small.pmf.ravel(), kernel, strict=True):
                if rate > 0 and p0 * q[x] > 0:
                    own, true = q[y] / q[x], law[y] / law[x]
                    k = [a * (np.log(a) - 1) if a > 0 else 0.0 for a in (own, true)]
                    of_entropy += p0 * q[x] * rate * (k[0] - k[1])
                    of_squares += p0 * q[x] * rate * (own**2 - true**2)
        with torch.no_grad():
            for name, expected in ((losses.ScoreEntropy, of_entropy), (losses.ScoreMatching, of_squares)):
                for model in (tilt(small, "x0", 0.7), tilt(small, "score", 0.7)):
                    gap = small.mean(name(), model, t) - small.mean(name("explicit", exact=small.exact), model, t)
                    assert float(gap) == pytest.approx(expected, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
def test_cross_entropy_is_that_of_the_tokens(kind, schedule):
    """At the truth E CrossEntropy = sum_l H(X_0^l | X_t), the masked ones (a revealed token has no entropy)."""
    for small, t in itertools.product(each(kind, schedule), TIMES):
        joint = (small.pmf.ravel()[:, None] * small.kernel(t)).reshape(*small.sizes, -1)
        expected = -oracles.entropy(joint.sum(tuple(range(len(small.sizes))))) * len(small.sizes)
        for at in range(len(small.sizes)):
            expected += oracles.entropy(joint.sum(tuple(k for k in range(len(small.sizes)) if k != at)))
        assert float(small.mean(losses.CrossEntropy(), small.exact, t)) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_masked_bounds_of_a_timeless_model_know_no_schedule(schedule):
    """Mean over orders of the autoregressive cross entropy, if all is masked in the end; or MaskSizeWeighted."""
    for small in each("masked", schedule):
        model, length = tilt(small, "x0", 0.4), len(small.sizes)
        rows, hidden_id = oracles.sequences(small.sizes), max(small.sizes)
        expected = 0.0
        for order in itertools.permutations(range(length)):
            for k, at in enumerate(order):
                hidden = np.isin(np.arange(length), order[k:])
                x = torch.from_numpy(np.where(hidden, hidden_id, rows))
                log_p = (
                    model.x0_log_probs(x, torch.ones(len(rows))).detach().numpy()[np.arange(len(rows)), at, rows[:, at]]
                )
                some = small.pmf.ravel() > 0
                expected -= (small.pmf.ravel()[some] * log_p[some]).sum()
        expected /= len(list(itertools.permutations(range(length))))
        with torch.no_grad():
            assert float(small.integral(losses.MaskSizeWeighted(), model)) == pytest.approx(expected, rel=1e-6)
            if schedule in ("linear", "cosine"):
                for loss in (losses.NELBO(), losses.ScoreEntropy(), losses.GeneralizedKL()):
                    assert float(small.integral(loss, model)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_masked_forms_agree_row_by_row(schedule):
    for small in each("masked", schedule):
        x0, xt, _ = small.pairs(0.4)
        t, model = torch.full((len(x0),), 0.4, dtype=torch.float64), tilt(small, "x0", 0.5)
        with torch.no_grad():
            one, two, three = (
                loss(model, x0, xt, t) for loss in (losses.NELBO(), losses.ScoreEntropy(), losses.GeneralizedKL())
            )
        torch.testing.assert_close(two, one, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(three, one, rtol=1e-9, atol=1e-12)
