"""Exact, X0, MaskPredictor and Score around a network: carrying over, selecting, conditioning, refusing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import ddm_pyro as ddm
from ddm_pyro import MaskPredictor, Score
from ddm_pyro.parameterizations import X0, Exact
from ddm_pyro.targets.tabular import random_tabular

MASKED = ddm.ForwardProcess(ddm.rates.Masked(3), ddm.schedules.Linear(), length=4)
UNIFORM = ddm.ForwardProcess(ddm.rates.Uniform(3), ddm.schedules.Linear(), length=4)
MIXED = ddm.ForwardProcess([ddm.rates.Masked(2), ddm.rates.Masked(4)], ddm.schedules.Cosine())


class Network(nn.Module):
    """Logits that depend on every input; remembers the times it was given."""

    def __init__(self, width, dtype=torch.float32):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(8, width, generator=generator).to(dtype))

    def forward(self, x, t, shift=None):
        self.times = t
        logits = self.weight[x] + t[..., None, None]
        return logits if shift is None else logits * shift[..., None, None]


class Split(Network):
    """The same in two parts, counting the rows its head sees."""

    seen = 0

    def trunk(self, x, t):
        return nn.functional.one_hot(x, 8).to(self.weight) + 0.0 * t[..., None, None]

    def head(self, hidden):
        self.seen = len(hidden.reshape(-1, hidden.shape[-1]))
        return hidden @ self.weight

    def forward(self, x, t):
        return self.head(self.trunk(x, t))


def test_revealed_tokens_are_carried_over():
    model, x = X0(Network(3), MASKED), torch.tensor([[0, 3, 2, 3]])
    p = model.x0_log_probs(x, torch.tensor(0.5)).exp()
    assert torch.equal(p[0, [0, 2]], torch.eye(3)[[0, 2]])
    assert torch.allclose(p[0, 1], torch.softmax(Network(3).weight[3] + 0.5, -1))
    assert torch.allclose(p.sum(-1), torch.ones(1, 4))


def test_unmasked_noise_carries_nothing_over():
    p = X0(Network(3), UNIFORM).x0_log_probs(torch.tensor([[0, 1, 2, 0]]), torch.tensor(0.5)).exp()
    assert torch.allclose(p[0, 0], torch.softmax(Network(3).weight[0], -1))


def test_symbols_off_an_alphabet_get_no_probability():
    x = torch.tensor([[4, 4], [1, 4]])
    p = X0(Network(4), MIXED).x0_log_probs(x, torch.tensor(0.5)).exp()
    assert torch.equal(p[0, 0, 2:], torch.zeros(2))
    assert torch.allclose(p.sum(-1), torch.ones(2, 2))


@pytest.mark.parametrize("network", [Network, Split])
@pytest.mark.parametrize("process", [MASKED, UNIFORM, MIXED], ids=["masked", "uniform", "mixed"])
def test_chosen_positions_are_rows_of_the_whole(network, process):
    vocab, length = process.space.vocab_size, process.length
    model = X0(network(vocab), process)
    x = process.marginal(torch.zeros(5, length, dtype=torch.int64), 0.7).sample()
    time, at = torch.linspace(0.1, 0.9, 5), torch.tensor([0, length, 5 * length - 1, 1])
    whole = model.x0_log_probs(x, time)
    assert torch.allclose(model.x0_log_probs(x, time, at=at), whole.flatten(0, -2)[at])


def test_the_head_runs_on_chosen_positions_only():
    network = Split(3)
    X0(network, MASKED).x0_log_probs(torch.full((50, 4), 3), torch.tensor(0.5), at=torch.tensor([7, 11]))
    assert network.seen == 2


def test_a_mask_predictor_sees_time_zero_and_is_time_free():
    network = Network(3)
    model = MaskPredictor(network, MASKED)
    x = torch.full((2, 4), 3)
    assert model.time_free
    assert torch.equal(model.x0_log_probs(x, torch.tensor(0.9)), model.x0_log_probs(x, torch.tensor([0.1, 0.2])))
    assert torch.equal(network.times, torch.zeros(2))
    with pytest.raises(ValueError, match="masked process"):
        MaskPredictor(network, UNIFORM)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_network_gets_time_in_its_own_dtype(dtype):
    network = Network(3, dtype)
    p = X0(network, MASKED).x0_log_probs(torch.full((2, 4), 3), torch.tensor(1 / 3, dtype=torch.float64))
    assert network.times.dtype == dtype
    assert p.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_conditioning_is_passed_on_and_follows_rows():
    model, x = X0(Network(3), MASKED), torch.full((4, 4), 3)
    shift = torch.tensor([0.0, 1.0, 2.0, 3.0])
    bound = model.bind(shift=shift)
    whole = bound.x0_log_probs(x, torch.tensor(0.5))
    assert torch.allclose(whole[0].exp(), torch.full((4, 3), 1 / 3))
    assert torch.equal(bound.rows(torch.tensor([2, 0])).x0_log_probs(x[:2], torch.tensor(0.5)), whole[[2, 0]])
    assert model.cond == {}
    assert torch.equal(whole[1], model.x0_log_probs(x, torch.tensor(0.5))[1])


def test_a_score_head_may_leave_out_the_mask():
    x, t = torch.full((1, 4), 3), torch.tensor(0.5)
    short, full = Score(Network(3), MASKED), Score(Network(4), MASKED)
    assert short.log_score(x, t).shape == full.log_score(x, t).shape == (1, 4, 4)
    assert bool((short.reverse_rate(x, t)[..., 3] == 0).all())
    rate = 1 / (1 - 0.5) * torch.exp(short.log_score(x, t).double()[0, 0, 0])
    assert torch.allclose(short.reverse_rate(x, t)[0, 0, 0], rate)


@pytest.mark.parametrize(("head", "width"), [(X0, 4), (X0, 2), (Score, 2), (Score, 5)])
def test_heads_of_a_wrong_width_are_refused(head, width):
    view = head(Network(width), MASKED)
    with pytest.raises(ValueError, match=str(width)):
        getattr(view, "x0_log_probs" if head is X0 else "log_score")(torch.full((1, 4), 3), torch.tensor(0.5))


def test_swapped_arguments_are_refused():
    with pytest.raises(TypeError, match="network"):
        X0(MASKED, Network(3))
    with pytest.raises(TypeError, match="Process"):
        X0(Network(3), "masked")


def test_exact_model_needs_the_same_space():
    with pytest.raises(ValueError, match="must agree"):
        Exact(random_tabular((3, 3)), MASKED)


@pytest.mark.parametrize("process", [MASKED, UNIFORM], ids=["masked", "uniform"])
def test_impossible_contexts_get_the_uniform_law(process):
    pmf = torch.zeros(3, 3, 3, 3)
    pmf[0, 0, 0, 0] = 1.0
    model = ddm.targets.Tabular(pmf).denoiser(process)
    x = torch.tensor([[1, 3, 3, 3]]) if process is MASKED else torch.tensor([[1, 0, 0, 0]])
    p = model.x0_log_probs(x, torch.tensor(0.5 if process is MASKED else 0.0)).exp()
    assert torch.allclose(p[0, 1:], torch.full((3, 3), 1 / 3, dtype=torch.float64))
    assert not p.isnan().any()


def test_time_free_only_where_noise_is_a_mask():
    target = random_tabular((3,) * 4)
    assert target.denoiser(MASKED).time_free
    assert not target.denoiser(UNIFORM).time_free
