"""Ratio matching against conditionals summed in numpy; what sees its own token does not profit from it."""

from __future__ import annotations

import itertools

import numpy as np
import oracles
import pytest
import torch
from birth_death import BirthDeath
from loss_worlds import Tilted, World, world
from torch import nn

import ddm_pyro as ddm
from ddm_pyro import losses, networks, rates, schedules, targets
from ddm_pyro.evaluation.validation import network_class
from ddm_pyro.losses.ratio_matching import blank_symbols

T = 0.3
KINDS = ["uniform", "masked", "rank-one", "dense"]
SCHEDULES = ["linear", "log-linear", "cosine", "geometric", "constant"]


class Table(nn.Module):
    """Free logits of x_0^l for every context of other tokens: hollow, whatever they are."""

    is_hollow = True

    def __init__(self, process, logits=None, scale=0.0, seed=0):
        super().__init__()
        self.space = process.space
        shape = (self.space.num_states, self.space.length, self.space.vocab_size)
        drawn = scale * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        self.logits = nn.Parameter(drawn if logits is None else logits)

    def forward(self, x, t):
        rows = [self.logits[self.space.index(x.index_fill(-1, torch.tensor([k]), 0)), k] for k in range(x.shape[-1])]
        return torch.stack(rows, -2)


def truth_of_the_others(small: World, t):
    """log p(x_0^l | the other tokens at t) as ``Table`` wants it, by sums over all sequences."""
    width = [len(q) for q in small.matrices]
    joint = (small.pmf.ravel()[:, None] * small.kernel(t)).reshape(-1, *width)
    x0 = oracles.sequences(small.sizes)
    out = np.full((int(np.prod(width)), len(width), max(small.sizes)), -30.0)
    for state, x in enumerate(oracles.sequences(width)):
        for at in range(len(width)):
            context = tuple(slice(None) if k == at else x[k] for k in range(len(width)))
            weight = joint[(slice(None), *context)].sum(-1)
            law = np.bincount(x0[:, at], weight, minlength=max(small.sizes))
            if law.sum() > 0:
                out[state, at] = np.log(np.maximum(law / law.sum(), 1e-13))
    return torch.from_numpy(out)


def conditionals(small: World, law):
    """law(x^l = . | others) of a law over all states, for every state: a list of (states, symbols of l)."""
    width = [len(q) for q in small.matrices]
    table = np.asarray(law).reshape(width)
    found = []
    for at in range(len(width)):
        line = np.moveaxis(np.broadcast_to(table.sum(at, keepdims=True), width), at, -1)
        share = np.divide(np.moveaxis(table, at, -1), line, out=np.zeros_like(line), where=line > 0)
        index = oracles.sequences(width)
        others = np.delete(index, at, 1)
        found.append(share[tuple(others.T)])
    return found


def conditional_entropies(small: World, t):
    """sum_l H(X_t^l | the others)."""
    law = small.pmf.ravel() @ small.kernel(t)
    width = [len(q) for q in small.matrices]
    parts = [oracles.entropy(law) - oracles.entropy(law.reshape(width).sum(at)) for at in range(len(width))]
    return sum(parts)


class SeesAll(ddm.LeaveOneOut):
    """The same model, not said to be hollow."""

    @property
    def is_hollow(self):
        return False


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
def test_its_mean_at_the_truth_is_the_conditional_entropy(kind, schedule):
    small = world(kind, schedule, (3, 2) if kind != "dense" else (3, 3))
    loss, expected = losses.RatioMatching(), conditional_entropies(small, T)
    assert float(small.mean(loss, small.exact, T)) == pytest.approx(expected, rel=1e-10)
    for primary in ("x0", "score"):
        assert float(small.mean(loss, Tilted(small.exact, primary), T).detach()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", ["uniform", "masked"])
@pytest.mark.parametrize("sizes", [(1,), (2,), (4,), (1, 3), (2, 1, 3), (2, 2, 2)])
def test_any_alphabets_and_laws_with_zeros(kind, sizes):
    weights = np.arange(int(np.prod(sizes)), dtype=float) % 3
    small = world(kind, "cosine", sizes, oracles.normalized(weights + (weights.sum() == 0)).reshape(sizes))
    expected = conditional_entropies(small, T)
    for model in (small.exact, Tilted(small.exact)):
        value = small.mean(losses.RatioMatching(), model, T)
        assert float(value.detach()) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", [losses.RatioMatching(), losses.RatioMatching("squared")], ids=repr)
def test_a_hollow_model_is_least_at_the_truth_and_its_excess_is_a_divergence(kind, loss):
    small = world(kind, "log-linear", (3, 2) if kind != "dense" else (3, 3))
    truth = ddm.LeaveOneOut(Table(small.process, truth_of_the_others(small, T)), small.process)
    assert truth.is_hollow
    least = small.mean(loss, truth, T)
    least.backward()
    assert float(truth.network.logits.grad.abs().max()) < 1e-10
    assert float(least.detach()) == pytest.approx(float(small.mean(loss, small.exact, T)), rel=1e-10)
    off = ddm.LeaveOneOut(Table(small.process, scale=1.0), small.process)
    value = float(small.mean(loss, off, T).detach())
    width = [len(q) for q in small.matrices]
    law = small.pmf.ravel() @ small.kernel(T)
    x = torch.from_numpy(oracles.sequences(width))
    if small.process.is_masked:
        x = torch.where(x == torch.tensor(small.sizes), max(small.sizes), x)
    logits = off.network(x, None).detach().softmax(-1).numpy()
    excess = 0.0
    for at, (true, size) in enumerate(zip(conditionals(small, law), small.sizes, strict=True)):
        clean = logits[:, at, :size]
        clean = clean / clean.sum(-1, keepdims=True)
        found = clean @ small_kernel(small, at)
        if loss.kind == "log":
            gap = np.where(true > 0, true * np.log(np.where(true > 0, true, 1.0) / found), 0.0).sum(-1)
        else:
            gap = 0.5 * np.square(true - found).sum(-1)
        excess += (law * gap).sum()
    assert excess > 0.01
    assert value - float(least.detach()) == pytest.approx(excess, rel=1e-8)


def small_kernel(small: World, at):
    from scipy.linalg import expm

    return expm(small.sigma(T) * small.matrices[at])[: small.sizes[at]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_hollow_model_costs_one_row_and_is_the_same_as_blanked(kind):
    small = world(kind, "geometric", (3, 2) if kind != "dense" else (3, 3))
    network = Table(small.process, scale=1.0)
    x0, xt, _ = small.pairs(T)
    t = torch.full((len(x0),), T, dtype=torch.float64)
    for loss in (losses.RatioMatching(), losses.RatioMatching("squared")):
        one = loss(ddm.LeaveOneOut(network, small.process), x0, xt, t)
        torch.testing.assert_close(loss(SeesAll(network, small.process), x0, xt, t), one, rtol=1e-10, atol=1e-12)


def test_to_see_the_token_is_no_help():
    small = world("uniform", "linear", (3, 3))
    _, xt, weight = small.pairs(T)

    class Copies(nn.Module):
        def forward(self, x, t):
            return 8.0 * nn.functional.one_hot(x, 3).double()

    cheat = ddm.LeaveOneOut(Copies(), small.process)
    seen = cheat.conditionals(xt, torch.tensor(T, dtype=torch.float64)).gather(-1, xt.unsqueeze(-1)).squeeze(-1)
    truth = float(small.mean(losses.RatioMatching(), small.exact, T))
    assert float((weight * -seen.log().sum(-1)).sum()) < truth - 0.5
    assert float(small.mean(losses.RatioMatching(), cheat, T)) > truth + 0.5


def test_conditionals_are_the_ratio_score():
    for kind in ("uniform", "masked", "dense"):
        small = world(kind, "cosine", (3, 3))
        x = small.process.space.enumerate()
        t = torch.tensor(T, dtype=torch.float64)
        table = small.exact.conditionals(x, t)
        ratio = table / table.gather(-1, x.unsqueeze(-1))
        score, rate = small.exact.log_score(x, t).exp(), small.process.in_rates(x, t)
        possible = torch.from_numpy(small.pmf.ravel() @ small.kernel(T) > 0)[:, None, None] & (rate > 0)
        moves = small.process.moves(x).expand(score.shape)
        torch.testing.assert_close(ratio.gather(-1, moves)[possible], score[possible], rtol=1e-9, atol=1e-12)


def test_two_symbols_squared_is_one_minus_the_conditional():
    small = world("uniform", "constant", (2, 2, 2), oracles.normalized(np.arange(1.0, 9)).reshape(2, 2, 2))
    law = small.pmf.ravel() @ small.kernel(T)
    own = [c[np.arange(8), oracles.sequences((2, 2, 2))[:, at]] for at, c in enumerate(conditionals(small, law))]
    expected = sum((law * (1 - c) ** 2).sum() for c in own)
    found = small.mean(losses.RatioMatching("squared"), small.exact, T)
    assert float(found) == pytest.approx(expected, rel=1e-10)


def test_what_may_stand_for_a_token():
    x, t = torch.tensor([[0, 1]]), torch.tensor([0.5], dtype=torch.float64)
    masked = ddm.ForwardProcess([rates.Masked(2), rates.Masked(1)], schedules.Linear())
    # a position with one token may show it: nothing else could have been there
    assert blank_symbols(masked, x * 0, t).tolist() == [[[False, False, True], [True, False, True]]]
    uneven = ddm.ForwardProcess([rates.Uniform(2), rates.Uniform(3)], schedules.Linear())
    assert blank_symbols(uneven, x, t).tolist() == [[[True, True, False], [True, True, True]]]
    holed = ddm.ForwardProcess(rates.RankOne([0.5, 0.5, 0.0]), schedules.Linear(), length=2)
    assert blank_symbols(holed, x, t).tolist() == [[[True, True, False]] * 2]


def test_shapes_rows_and_conditions():
    small = world("uniform", "linear", (3, 3))
    x0, xt, _ = small.pairs(T)
    t = torch.linspace(0.1, 0.9, len(x0), dtype=torch.float64)
    for model in (small.exact, Tilted(small.exact), ddm.LeaveOneOut(Table(small.process, scale=1.0), small.process)):
        whole = losses.RatioMatching()(model, x0, xt, t).detach()
        shaped = losses.RatioMatching()(model, x0[:6].reshape(2, 3, 2), xt[:6].reshape(2, 3, 2), t[:6].reshape(2, 3))
        torch.testing.assert_close(shaped.detach().flatten(), whole[:6], rtol=1e-12, atol=0)
        torch.testing.assert_close(losses.RatioMatching()(model, x0[0], xt[0], t[0]).detach(), whole[0])
    torch.manual_seed(0)
    network = networks.MLP.for_process(small.process, width=8, classes=2)
    nn.init.normal_(network.head.weight)
    model = ddm.X0(network, small.process)
    label = torch.arange(len(x0)) % 2
    whole = losses.RatioMatching()(model.bind(label=label), x0, xt, t)
    for k in (0, 1):
        part = losses.RatioMatching()(model.bind(label=label[k::2]), x0[k::2], xt[k::2], t[k::2])
        torch.testing.assert_close(part, whole[k::2])


@pytest.mark.slow
@pytest.mark.parametrize("network", [networks.HollowMLP, networks.HollowTransformer])
def test_a_hollow_network_learns_the_score_from_it(network):
    small = world("uniform", "constant", (3, 3), np.array([[8.0, 1, 1], [1, 8, 1], [1, 1, 8]]) / 30)
    torch.manual_seed(0)
    model = ddm.LeaveOneOut(network.for_process(small.process, width=16, depth=1), small.process)
    explicit = losses.ScoreEntropy("explicit", exact=small.exact)
    before = float(small.integral(explicit, model, nodes=20).detach())
    data = targets.Tabular(torch.from_numpy(small.pmf))
    settings = {"steps": 200, "batch_size": 64, "lr": 5e-3, "warmup": 5, "ema": 0.95, "progress": False}
    ddm.fit(model, data, loss=losses.RatioMatching(), **settings)
    assert float(small.integral(explicit, model, nodes=20).detach()) < 0.3 * before


def test_what_cannot_be_is_refused():
    small = world("uniform", "linear", (3, 3))
    x = torch.tensor([[0, 2]])
    with pytest.raises(ValueError, match="kind='brier' must be 'log' or 'squared'"):
        losses.RatioMatching("brier")
    with pytest.raises(ValueError, match=r"t = 0.*hollow model"):
        losses.RatioMatching()(Tilted(small.exact), x, x, 0.0)
    assert losses.RatioMatching()(small.exact, x, x, 0.0).isfinite().all()
    with pytest.raises(ValueError, match="is no bound"):
        losses.RatioMatching().constant(small.process, x)
    counts = ddm.ForwardProcess(BirthDeath(2.0), schedules.Linear(), length=2)
    with pytest.raises(ValueError, match="countable"):
        losses.RatioMatching()(ddm.Score(nn.Identity(), counts), x, x, 0.5)


def test_kinds_of_data_are_all_the_loss_reads():
    """x_0 plays no part: the loss is a function of x_t, t and the model."""
    small = world("masked", "cosine", (3, 3))
    x0, xt, _ = small.pairs(T)
    for model, other in itertools.product((small.exact, Tilted(small.exact)), (x0.flip(-1), x0 * 0)):
        first, second = (losses.RatioMatching()(model, start, xt, T) for start in (x0, other))
        torch.testing.assert_close(first, second)


def test_both_have_names():
    assert ddm.create("losses", "ratio-matching", kind="squared") == losses.RatioMatching("squared")
    assert network_class("hollow-mlp") is networks.HollowMLP
    assert network_class("hollow-transformer") is networks.HollowTransformer
