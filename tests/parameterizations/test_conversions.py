"""x0-posterior, ratio score and reverse rate against brute-force enumeration of p_t, for every kind of rate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pairs import PROCESSES, pair, states_of

import ddm_pyro as ddm
from ddm_pyro.targets.tabular import random_tabular


def law(oracle, zeros=0.0):
    return random_tabular(oracle.sizes, seed=3, concentration=0.6, zeros=zeros)


def at(t):
    return torch.tensor(t, dtype=torch.float64)


def along_moves(oracle, process, table):
    """Rows (N, L, A) over local symbols, read at the package's moves; NaN where the move is off the alphabet."""
    x = states_of(oracle)
    moves = process.moves(x).expand(*x.shape, -1).numpy()
    out = np.zeros(moves.shape)
    for (k, site, m), v in np.ndenumerate(moves):
        symbols = oracle.symbols[site]
        out[k, site, m] = table[k, site, symbols.index(v)] if v in symbols else np.nan
    return out


class Tabulated(ddm.Parameterization):
    """A score given as a table over all states."""

    primary = "score"

    def __init__(self, process, states, log_scores):
        super().__init__(process)
        self.index = {tuple(x): k for k, x in enumerate(states)}
        self.table = log_scores

    def log_score(self, x, t):
        rows = [self.index[tuple(row)] for row in x.reshape(-1, x.shape[-1]).tolist()]
        return self.table[rows].reshape(*x.shape, -1)


def ratios(oracle, pmf, t):
    """p_t(x with site set to v) / p_t(x), (N, L, A)."""
    p = oracle.forward(pmf, t)
    out = np.zeros((len(p), oracle.length, max(len(symbols) for symbols in oracle.symbols)))
    for k, x in enumerate(oracle.local):
        for site in range(oracle.length):
            for v in range(len(oracle.symbols[site])):
                out[k, site, v] = p[oracle.where[(*x[:site], v, *x[site + 1 :])]] / p[k]
    return out


@pytest.mark.parametrize("schedule", ["linear", "geometric"])
@pytest.mark.parametrize("name", PROCESSES)
def test_exact_posterior(name, schedule):
    process, oracle = pair(name, schedule)
    target = law(oracle, zeros=0.4)
    for t in (0.3, 0.95):
        expected = oracle.posterior(target.pmf, t)
        found = target.denoiser(process).x0_log_probs(states_of(oracle), at(t)).exp().numpy()
        np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in PROCESSES if not name.startswith("masked")])
@pytest.mark.parametrize("t", [0.2, 0.9])
def test_score_of_the_posterior_is_the_ratio_of_p_t(name, t):
    process, oracle = pair(name, "cosine")
    target = law(oracle)
    expected = along_moves(oracle, process, ratios(oracle, target.pmf, t))
    found = target.denoiser(process).log_score(states_of(oracle), at(t)).exp().numpy()
    inside = ~np.isnan(expected)
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-8)


@pytest.mark.parametrize("name", ["masked", "masked alphabets"])
def test_masked_score_at_masks_is_the_ratio_of_p_t(name):
    process, oracle = pair(name, "log-linear")
    target, x = law(oracle), states_of(oracle)
    expected = along_moves(oracle, process, ratios(oracle, target.pmf, 0.6))
    found = target.denoiser(process).log_score(x, at(0.6)).exp().numpy()
    masks = process.space.is_mask(x).numpy()
    inside = masks[..., None] & ~np.isnan(expected)
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-9)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("name", PROCESSES)
def test_reverse_rate(name, schedule):
    process, oracle = pair(name, schedule)
    target = law(oracle)
    expected = along_moves(oracle, process, oracle.site_rates(target.pmf, 0.7))
    found = target.denoiser(process).reverse_rate(states_of(oracle), at(0.7)).numpy()
    assert (found[np.isnan(expected)] == 0).all()
    inside = ~np.isnan(expected)
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_given_score_has_the_posterior_and_the_rates_of_its_law(name):
    process, oracle = pair(name, "log-linear")
    target, x, t = law(oracle), states_of(oracle), 0.4
    scores = torch.from_numpy(np.nan_to_num(along_moves(oracle, process, ratios(oracle, target.pmf, t)))).log()
    model = Tabulated(process, oracle.states, scores)
    time = at(t)
    posterior = model.x0_log_probs(x, time).exp().numpy()
    np.testing.assert_allclose(posterior, oracle.posterior(target.pmf, t), atol=1e-8)
    rates = along_moves(oracle, process, oracle.site_rates(target.pmf, t))
    np.testing.assert_allclose(model.reverse_rate(x, time).numpy(), np.nan_to_num(rates), rtol=1e-8, atol=1e-12)
    rows = torch.tensor([0, 2, x.numel() - 1])
    expected = oracle.posterior(target.pmf, t).reshape(x.numel(), -1)[rows]
    np.testing.assert_allclose(model.x0_log_probs(x, time, at=rows).exp().numpy(), expected, atol=1e-8)


@pytest.mark.parametrize("name", ["uniform", "dense", "masked", "mixed alphabets"])
def test_wrong_scores_have_no_posterior(name):
    process, oracle = pair(name, "log-linear")
    x = states_of(oracle)
    # One that is being learned is refused with no warning about its gradient (warnings are errors here).
    scores = torch.full((*x.shape, process.moves(x).shape[-1]), 5.0, dtype=torch.float64, requires_grad=True)
    with pytest.raises(ValueError, match="leaves the simplex"):
        Tabulated(process, oracle.states, scores).x0_log_probs(x, at(0.3))


def test_a_score_says_nothing_of_x0_where_alpha_is_zero():
    process, oracle = pair("uniform", "linear")
    x = states_of(oracle)
    model = Tabulated(process, oracle.states, torch.zeros(*x.shape, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="alpha"):
        model.x0_log_probs(x, at(1.0))


def test_moves_that_skip_symbols_have_no_x0_view():
    class Ring(ddm.rates.Dense):
        def moves(self, x):
            return torch.stack([(x + 1) % 4, (x - 1) % 4], -1)

        def out_rates(self, x):
            return torch.full((*x.shape, 2), 0.5, dtype=torch.float64)

        in_rates = out_rates

    generator = np.roll(np.eye(4), 1, 1) / 2 + np.roll(np.eye(4), -1, 1) / 2 - np.eye(4)
    process = ddm.ForwardProcess(Ring(generator), ddm.schedules.Constant(2.0), length=2)
    x = process.space.enumerate()
    model = Tabulated(process, x.tolist(), torch.zeros(16, 2, 2, dtype=torch.float64))
    with pytest.raises(NotImplementedError, match="every symbol"):
        model.x0_log_probs(x, at(0.5))
    target = random_tabular((4, 4), seed=2)
    score = target.denoiser(process).log_score(x, at(0.5)).exp()
    p = process.push(target.pmf, 0.0, 0.5)
    expected = p[process.space.index(torch.stack([(x[:, 0] + 1) % 4, x[:, 1]], -1))] / p
    np.testing.assert_allclose(score[:, 0, 0].numpy(), expected.numpy(), rtol=1e-9)


@pytest.mark.parametrize("name", ["uniform", "masked", "mixed alphabets"])
def test_times_broadcast_against_the_batch(name):
    process, oracle = pair(name, "cosine")
    model, x = law(oracle).denoiser(process), states_of(oracle)[:6]
    times = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)
    for view in (model.x0_log_probs, model.log_score, model.reverse_rate):
        rows = torch.stack([view(one, time) for one, time in zip(x, times, strict=True)])
        assert torch.allclose(view(x, times), rows, rtol=1e-10)
        grid = view(x.reshape(2, 3, -1), times.reshape(2, 3))
        assert torch.allclose(grid, rows.reshape(grid.shape), rtol=1e-10)
        assert torch.allclose(view(x[:1], 0.5), view(x[:1], torch.tensor([0.5])), rtol=1e-12)
