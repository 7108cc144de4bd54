"""LeaveOneOut: the posterior is the network's law of the other tokens times the token's own evidence."""

import pytest
import torch
from torch import nn

import ddm_pyro as ddm
from ddm_pyro.targets import random_tabular

SIZES = (2, 3, 2)
RATES = {
    "uniform": [ddm.rates.Uniform(size) for size in SIZES],
    "masked": [ddm.rates.Masked(size) for size in SIZES],
    "rank-one": [ddm.rates.RankOne([1.0 / (size + 1)] * (size - 1) + [2.0 / (size + 1)]) for size in SIZES],
}


class Others(nn.Module):
    """log p(x_0^l = v | x_t without position l), by sums over all sequences: no evidence of the token itself."""

    def __init__(self, target, forward):
        super().__init__()
        self.pmf, self.forward_process = target.tabular().pmf, forward

    def forward(self, x, t):
        space = self.forward_process.space
        states = space.data.enumerate()
        out = torch.full((len(x), space.length, space.vocab_size), -torch.inf, dtype=torch.float64)
        for row in range(len(x)):
            time = t[row].double()
            table = self.forward_process.likelihood(x[row], torch.zeros_like(time), time)
            for position in range(space.length):
                weights = self.pmf.clone()
                for other in set(range(space.length)) - {position}:
                    weights = weights * table[other][states[:, other]]
                for token in range(space.position_sizes[position]):
                    out[row, position, token] = weights[states[:, position] == token].sum().log()
        return out


@pytest.mark.parametrize("kind", RATES)
@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_posterior_is_exact_when_the_network_knows_the_others(kind, t):
    target = random_tabular(SIZES, seed=3)
    forward = ddm.ForwardProcess(RATES[kind], ddm.schedules.Cosine())
    model, exact = ddm.LeaveOneOut(Others(target, forward), forward), target.denoiser(forward)
    x = forward.space.enumerate()
    time = torch.tensor(t, dtype=torch.float64)
    found, wanted = model.x0_log_probs(x, time).exp(), exact.x0_log_probs(x, time).exp()
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)


def test_selected_rows_agree_with_all_rows():
    forward = ddm.ForwardProcess(ddm.rates.Uniform(4), ddm.schedules.Linear(), length=5)
    model = ddm.LeaveOneOut(ddm.networks.MLP.for_process(forward, width=16, depth=1), forward)
    x, t = torch.randint(0, 4, (3, 5), generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, 0.5, 0.9])
    at = torch.tensor([0, 7, 14])
    whole = model.x0_log_probs(x, t).flatten(0, -2)[at]
    torch.testing.assert_close(model.x0_log_probs(x, t, at=at), whole)


def test_a_token_without_noise_is_certain_and_its_loss_is_small_from_the_start():
    forward = ddm.ForwardProcess(ddm.rates.Uniform(3), ddm.schedules.Linear(), length=4)
    network = ddm.networks.MLP.for_process(forward, width=8, depth=1)
    x, t = torch.tensor([[0, 1, 2, 0]]), torch.tensor([1e-7], dtype=torch.float64)
    plain, ours = ddm.X0(network, forward), ddm.LeaveOneOut(network, forward)
    own = ours.x0_log_probs(x, t).gather(-1, x.unsqueeze(-1)).exp()
    assert own.min().item() > 1 - 1e-5
    loss = ddm.losses.NELBO()
    assert loss(ours, x, x, t).item() < 0.1 * loss(plain, x, x, t).item()
