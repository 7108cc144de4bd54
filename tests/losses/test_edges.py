"""The ends of time, impossible tokens, large vocabularies, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loss_worlds import ASYMMETRIC

from ddm_pyro import X0, ForwardProcess, Score, losses, rates, schedules
from ddm_pyro.losses import masked
from ddm_pyro.networks import MLP

RATES = [rates.Uniform(3), rates.Masked(3), rates.RankOne([0.6, 0.1, 0.3]), rates.Dense(ASYMMETRIC), rates.Uniform(1)]
SCHEDULES = [schedules.Linear(), schedules.LogLinear(), schedules.Cosine(), schedules.Geometric(), schedules.Constant()]
ALL = [losses.NELBO(), losses.ScoreEntropy(), losses.ScoreMatching(), losses.CrossEntropy(), losses.GeneralizedKL()]


class Given(torch.nn.Module):
    """A network that returns the same logits at every position."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.as_tensor(logits))

    def forward(self, x, t):
        return self.logits.expand(*x.shape, -1)


def model_of(rate, schedule, head="x0"):
    process = ForwardProcess(rate, schedule, length=2)
    torch.manual_seed(0)
    network = MLP.for_process(process, head, width=8)
    torch.nn.init.normal_(network.head.weight, std=0.1)
    return (X0 if head == "x0" else Score)(network, process)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("rate", RATES, ids=repr)
@pytest.mark.parametrize("t", [1e-6, 0.5, 1 - 1e-12, 1.0])
def test_no_nan_at_the_ends_of_time(rate, schedule, t):
    for head in ("x0", "score"):
        model = model_of(rate, schedule, head)
        torch.manual_seed(1)
        x0 = torch.randint(0, rate.vocab_size, (64, 2))
        xt = model.process.marginal(x0, t).sample()
        for loss in ALL[: 5 if head == "x0" else 3]:
            if isinstance(loss, losses.GeneralizedKL) and isinstance(rate, rates.Dense):
                continue
            model.zero_grad()
            value = loss(model, x0, xt, t)
            assert value.shape == (64,)
            assert value.dtype == torch.float64
            assert not bool(value.isnan().any())
            if head == "x0" or t < 1:
                # Only rates that are infinite, at t = 1 itself, make a score that is off infinitely bad.
                assert bool(value.isfinite().all())
            value[value.isfinite()].sum().backward()
            assert all(p.grad is None or not bool(p.grad.isnan().any()) for p in model.parameters())


@pytest.mark.parametrize("rate", RATES, ids=repr)
def test_no_noise_is_no_loss_for_x0_models(rate):
    model = model_of(rate, schedules.Linear())
    x0 = torch.tensor([[0, 0], [rate.vocab_size - 1, 0]])
    for loss in (losses.NELBO(), losses.ScoreEntropy()):
        value = loss(model, x0, x0, 0.0)
        assert value.tolist() == [0.0, 0.0]
        value.sum().backward()
        assert all(p.grad is None or bool((p.grad == 0).all()) for p in model.parameters())


@pytest.mark.parametrize("schedule", [schedules.Linear(), schedules.Cosine()], ids=repr)
def test_masked_integrand_is_finite_and_right_at_the_end(schedule):
    process = ForwardProcess(rates.Masked(2), schedule, length=2)
    model = X0(Given(np.log([0.25, 0.75])), process)
    value = losses.NELBO()(model, torch.tensor([[0, 1]]), torch.tensor([[2, 2]]), 1.0)
    weight = 1.0 if schedule == schedules.Linear() else 0.0
    assert float(value.detach()) == pytest.approx(-weight * np.log(0.25 * 0.75), abs=1e-12)


def test_impossible_tokens_elsewhere_do_no_harm():
    process = ForwardProcess(rates.Masked(3), schedules.Linear(), length=2)
    model = X0(Given([0.0, 1.0, -torch.inf]), process)
    for loss in (losses.NELBO(), losses.CrossEntropy(), losses.GeneralizedKL()):
        value = loss(model, torch.tensor([[0, 2], [1, 0]]), torch.tensor([[3, 2], [3, 3]]), 0.5)
        value.sum().backward()
        assert bool(value.isfinite().all())
        assert bool(model.network.logits.grad.isfinite().all())


def test_a_token_of_probability_zero_costs_infinity():
    process = ForwardProcess(rates.Masked(2), schedules.Linear(), length=1)
    model = X0(Given([0.0, -torch.inf]), process)
    assert losses.NELBO()(model, torch.tensor([[1]]), torch.tensor([[2]]), 0.5).item() == torch.inf


def test_uniform_noise_at_a_large_vocabulary_needs_no_square_matrix():
    size, t = 50_257, 0.3
    process = ForwardProcess(rates.Uniform(size), schedules.Linear(), length=2)
    torch.manual_seed(0)
    logits = torch.randn(size, dtype=torch.float64)
    x0, xt = torch.tensor([[5, 50_000]]), torch.tensor([[5, 7]])
    found = losses.NELBO()(X0(Given(logits), process), x0, xt, t)
    expected, p, kept, spread = 0.0, torch.softmax(logits, -1).numpy(), 1 - t, t / size
    for start, now in zip(x0[0].tolist(), xt[0].tolist(), strict=True):
        quotient = p / np.where(np.arange(size) == now, kept + spread, spread)
        score = kept * quotient + spread * quotient.sum()
        ratio = (kept * (np.arange(size) == start) + spread) / (kept * (start == now) + spread)
        terms = score - ratio + ratio * np.log(ratio / score)
        expected += (terms.sum() - terms[now]) / size / (1 - t)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_network_precision_does_not_leak_into_weights():
    model = X0(Given([0.1, 0.2, 0.3]), ForwardProcess(rates.Masked(3), schedules.Linear(), length=2))
    x0, xt = torch.zeros(1, 2, dtype=torch.int64), torch.full((1, 2), 3)
    small = losses.NELBO()(model, x0, xt, torch.tensor([1e-9], dtype=torch.float64))
    one = losses.CrossEntropy()(model, x0, xt, 0.5)
    assert small.item() / one.item() == pytest.approx(1e9, rel=1e-12)


def test_what_each_loss_says_of_itself():
    exact = model_of(rates.Masked(3), schedules.Linear())
    bounds = [loss.is_bound for loss in (*ALL, losses.ScoreEntropy("explicit", exact=exact))]
    assert bounds == [True, True, False, False, True, False]
    assert all("posterior" in loss.minimizer or "score" in loss.minimizer for loss in ALL)
    with pytest.raises(ValueError, match=r"CrossEntropy.+ is no bound"):
        losses.CrossEntropy().constant(exact.process, torch.zeros(1, 2, dtype=torch.int64))


def test_bad_arguments_are_quoted():
    model = model_of(rates.Masked(3), schedules.Linear())
    x = torch.zeros(4, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"x0 has shape \(4, 2\) and xt \(4, 3\)"):
        losses.NELBO()(model, x, torch.zeros(4, 3, dtype=torch.int64), 0.5)
    with pytest.raises(ValueError, match=r"t has shape \(2,\)"):
        losses.NELBO()(model, x, x, torch.rand(2))
    with pytest.raises(ValueError, match=r"t has shape \(4, 1\)"):
        losses.NELBO()(model, x, x, torch.rand(4, 1))
    with pytest.raises(TypeError, match="must be a Parameterization"):
        losses.NELBO()(model.network, x, x, 0.5)
    score = model_of(rates.Masked(3), schedules.Linear(), "score")
    for loss in (losses.CrossEntropy(), losses.GeneralizedKL()):
        with pytest.raises(ValueError, match="x0-posterior, not Score"):
            loss(score, x, x, 0.5)
    with pytest.raises(ValueError, match="refreshed from one law"):
        losses.GeneralizedKL()(model_of(rates.Dense(ASYMMETRIC), schedules.Linear()), x, x, 0.5)
    for loss in (losses.ScoreEntropy, losses.ScoreMatching):
        with pytest.raises(ValueError, match="kind='implict'"):
            loss("implict")
        with pytest.raises(ValueError, match="needs exact="):
            loss("explicit")
        with pytest.raises(ValueError, match="takes no exact="):
            loss(exact=model)


@pytest.mark.parametrize("rate", RATES, ids=repr)
@pytest.mark.parametrize("head", ["x0", "score"])
def test_off_the_cpu_no_value_is_read(rate, head):
    # Tensors on the meta device have no values: whatever would make a host wait for a GPU raises here.
    model = model_of(rate, schedules.Cosine(), head).to("meta")
    x0, xt = (torch.zeros(4, 2, dtype=torch.int64, device="meta") for _ in range(2))
    t = torch.zeros(4, dtype=torch.float64, device="meta")
    for loss in ALL[: 5 if head == "x0" else 3]:
        if isinstance(loss, losses.GeneralizedKL) and isinstance(rate, rates.Dense):
            continue
        value = loss(model, x0, xt, t)
        value.mean().backward()
        assert value.shape == (4,)
        assert all(p.grad is not None for p in model.network.head.parameters())


def test_all_positions_or_only_the_masked_ones_is_the_same_loss(monkeypatch):
    model = model_of(rates.Masked(3), schedules.Linear())
    torch.manual_seed(2)
    x0 = torch.randint(0, 3, (50, 2))
    xt = model.process.marginal(x0, 0.5).sample()
    few = losses.CrossEntropy()(model, x0, xt, 0.5)
    few.sum().backward()
    gradient = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    monkeypatch.setattr(masked, "runs_on_host", lambda x: False)
    every = losses.CrossEntropy()(model, x0, xt, 0.5)
    every.sum().backward()
    torch.testing.assert_close(every, few)
    torch.testing.assert_close([p.grad for p in model.parameters()], gradient)
