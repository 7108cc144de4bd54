"""The Gibbs corrector is the heat bath of p_s, at data (s = 0) and for columns of different sizes too."""

import itertools

import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.targets import random_tabular

SIZES = (2, 3)
COLUMNS = {
    "uniform": [ddm.rates.Uniform(2), ddm.rates.Uniform(3)],
    "dense": [ddm.rates.Dense([[-1.0, 1.0], [0.5, -0.5]]), ddm.rates.RankOne([0.2, 0.3, 0.5])],
}


def heat_bath(law):
    """The transition matrix of one update of a random position, by loops."""
    table = law.reshape(SIZES)
    states = list(itertools.product(*map(range, SIZES)))
    matrix = torch.zeros(len(states), len(states), dtype=torch.float64)
    for i, x in enumerate(states):
        for position, size in enumerate(SIZES):
            others = [tuple(v if k == position else x[k] for k in range(2)) for v in range(size)]
            total = sum(table[y] for y in others)
            for y in others:
                matrix[i, states.index(y)] += 0.5 * table[y] / total
    return matrix


@pytest.mark.parametrize("kind", COLUMNS)
def test_each_step_is_followed_by_a_heat_bath(kind):
    target = random_tabular(SIZES, seed=7)
    forward = ddm.ForwardProcess(COLUMNS[kind], ddm.schedules.Constant(total=2.0))
    exact, p0 = target.denoiser(forward), target.tabular().pmf
    times = [1.0, 0.6, 0.3, 0.0]
    law = None
    for t, s in itertools.pairwise(times):
        law = ddm.push(ddm.samplers.Ancestral(), exact, times=[t, s], pmf=law, final_denoise=False).pmf
        law = law @ heat_bath(forward.push(p0, 0.0, s))
    found = ddm.push([ddm.samplers.Ancestral(), ddm.samplers.GibbsCorrector()], exact, times=times).pmf
    torch.testing.assert_close(found, law, atol=1e-12, rtol=0)


def test_leave_one_out_heads_answer_without_noise():
    forward = ddm.ForwardProcess(ddm.rates.Uniform(3), ddm.schedules.Linear(), length=2)
    network = ddm.networks.MLP.for_process(forward, width=8, depth=1)
    x, t = torch.tensor([[0, 2], [1, 1]]), torch.zeros((), dtype=torch.float64)
    with torch.no_grad():
        found = ddm.LeaveOneOut(network, forward).conditionals(x, t)
        logits = network(x, torch.zeros(2)).double()
    torch.testing.assert_close(found, logits.softmax(-1), atol=1e-6, rtol=1e-5)
