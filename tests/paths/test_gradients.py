"""Gradients with respect to rates and times against finite differences."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from ddm_pyro import ForwardProcess
from ddm_pyro.paths import BridgePath, CTMCPath, panel_log_prob
from ddm_pyro.rates import Dense, RankOne
from ddm_pyro.schedules import Constant, LogLinear

RATES = torch.tensor([[0.0, 1.0, 0.5], [0.2, 0.0, 0.7], [3.0, 0.1, 0.0]], dtype=torch.float64)
X0 = torch.tensor([0, 2])


def process(rates, length=2):
    return ForwardProcess(Dense.from_rates(rates), LogLinear(0.2), length)


def watched():
    """Paths long enough to hold every kind of jump."""
    torch.manual_seed(3)
    return process(RATES).path(X0, max_jumps=30).sample((6,))


PATHS = watched()
GRID = torch.tensor([[1, 2], [1, 0], [2, 0]])
PANEL = torch.tensor([[0, 2], [-1, 0], [2, -1]])
SCORES = {
    "transition": lambda r: process(r).transition(X0, 0.1, 0.7).log_prob(torch.tensor([[1, 2], [0, 1]])),
    "path": lambda r: process(r).path(X0, max_jumps=30).log_prob(PATHS),
    "grid": lambda r: process(r).path(X0, times=[0.2, 0.5, 0.9]).log_prob(GRID),
    "panel": lambda r: panel_log_prob(process(r), PANEL, [0.1, 0.4, 0.9]),
    "bridge": lambda r: BridgePath(process(r), X0, torch.tensor([1, 1]), 0.1, 0.9, max_jumps=2).log_prob(
        torch.tensor([[0.3, 1, 1], [0.6, 0, 1]]).double()
    ),
    "marginal": lambda r: process(r).marginal(X0, 0.5).log_prob(GRID),
    "two rates": lambda r: (
        ForwardProcess([Dense.from_rates(r), Dense.from_rates(2 * r)], Constant(1.5))
        .path(X0, max_jumps=30)
        .log_prob(PATHS)
    ),
}


@pytest.mark.parametrize("name", SCORES)
def test_rates(name) -> None:
    rates = RATES.clone().requires_grad_()
    assert SCORES[name](rates).requires_grad
    assert gradcheck(SCORES[name], (rates,), eps=1e-6, atol=1e-6)


def test_refreshing_laws() -> None:
    weights = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64, requires_grad=True)

    def score(w):
        process = ForwardProcess(RankOne(w / w.sum()), LogLinear(0.2), 2)
        bridge = BridgePath(process, X0, torch.tensor([1, 1]), 0.1, 0.9, max_jumps=2)
        path = torch.tensor([[0.3, 1, 1], [0.6, 0, 1]]).double()
        return (
            process.path(X0, max_jumps=30).log_prob(PATHS).sum()
            + bridge.log_prob(path)
            + process.marginal(X0, 0.5).log_prob(torch.tensor([1, 2]))
        )

    assert gradcheck(score, (weights,), eps=1e-6, atol=1e-6)


def test_jump_times() -> None:
    times = torch.tensor([0.3, 0.6], dtype=torch.float64, requires_grad=True)

    def score(times):
        path = torch.stack([times, torch.tensor([1.0, 0.0]).double(), torch.tensor([1.0, 1.0]).double()], -1)
        return CTMCPath(process(RATES), X0, 0.1, 0.9, max_jumps=2).log_prob(path)

    assert gradcheck(score, (times,), eps=1e-6, atol=1e-6)


def test_impossible_paths_do_not_spoil_the_gradient_of_others() -> None:
    rates = RATES.clone()
    rates[1, 0] = 0.0
    rates.requires_grad_()
    paths = torch.tensor([[[0.5, 0, 1], [0.6, 0, 0]], [[0.5, 0, 1], [0.6, 0, 2]], [[0.6, 0, 1], [0.5, 0, 0]]])
    scores = process(rates).path(X0, max_jumps=2).log_prob(paths)
    assert scores.isneginf().tolist() == [True, False, True]
    (gradient,) = torch.autograd.grad(scores[1], rates, retain_graph=True)
    assert bool(gradient.isfinite().all())
    (gradient,) = torch.autograd.grad(torch.where(scores.isfinite(), scores, 0.0).sum(), rates)
    assert bool(gradient.isfinite().all())


def test_the_likelihood_is_largest_at_counts_over_time() -> None:
    # The maximum likelihood rate of a watched chain: jumps u -> v over the time spent in u.
    paths = ForwardProcess(Dense.from_rates(RATES), Constant(2.0), 2).path(X0, max_jumps=60).sample((200,))
    jumps, spent = torch.zeros(3, 3).double(), torch.zeros(3).double()
    for path in paths:
        x, since = X0.tolist(), [0.0, 0.0]
        for time, position, symbol in path[path[:, 1] >= 0].tolist():
            position, symbol = int(position), int(symbol)
            jumps[x[position], symbol] += 1
            spent[x[position]] += 2.0 * (time - since[position])
            x[position], since[position] = symbol, time
        for position in range(2):
            spent[x[position]] += 2.0 * (1.0 - since[position])
    best = (jumps / spent.unsqueeze(-1)).requires_grad_()
    law = ForwardProcess(Dense.from_rates(best), Constant(2.0), 2).path(X0, max_jumps=60)
    (gradient,) = torch.autograd.grad(law.log_prob(paths).sum(), best)
    torch.testing.assert_close(gradient, torch.zeros(3, 3).double(), rtol=0, atol=1e-9)


def test_dense_keeps_gradients_off_the_diagonal_and_no_others() -> None:
    matrix = Dense.from_rates(RATES).matrix().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Dense(matrix).matrix()[0].square().sum(), matrix)
    # Row 0 is (-1.5, 1, .5), the diagonal minus the sum of the others.
    torch.testing.assert_close(gradient[0], torch.tensor([0.0, 5.0, 4.0]).double())
    assert not Dense(RATES - torch.diag(RATES.sum(-1))).matrix().requires_grad
    assert Dense(matrix).exit_bound() == pytest.approx(3.1)
    with pytest.raises(ValueError, match="must not be negative"):
        Dense.from_rates(-matrix)
    with pytest.raises(ValueError, match="square"):
        Dense.from_rates(torch.ones(2, 3))
