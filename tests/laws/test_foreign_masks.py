"""Masked chains written by others: the short cuts of masks are taken exactly where they are right."""

import itertools

import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.targets import random_tabular


class Given(ddm.rates.RateMatrix):
    """A chain with a mask, known by its matrix alone."""

    has_mask = True

    def __init__(self, matrix):
        self._matrix = torch.tensor(matrix, dtype=torch.float64)
        self.vocab_size = len(matrix) - 1

    def matrix(self):
        return self._matrix


TOKENWISE = [[-3.0, 0.0, 3.0], [0.0, -1.0, 1.0], [0.0, 0.0, 0.0]]
MUTATING = [[-2.0, 1.0, 1.0], [1.5, -2.5, 1.0], [0.0, 0.0, 0.0]]
PLAIN = [[-1.0, 0.0, 1.0], [0.0, -1.0, 1.0], [0.0, 0.0, 0.0]]
TWICE = [[-2.0, 0.0, 2.0], [0.0, -2.0, 2.0], [0.0, 0.0, 0.0]]


def process(matrix, schedule, length=2):
    return ddm.ForwardProcess(Given(matrix), schedule, length=length)


@pytest.mark.parametrize("matrix", [TOKENWISE, MUTATING, PLAIN, TWICE])
def test_exact_is_bayes_rule(matrix):
    target, forward = random_tabular((2, 2), seed=4), process(matrix, ddm.schedules.Constant(total=1.3))
    t = torch.tensor(0.4, dtype=torch.float64)
    kernel = torch.linalg.matrix_exp(1.3 * 0.4 * torch.tensor(matrix, dtype=torch.float64))
    pmf, exact = target.tabular().pmf.reshape(2, 2), target.denoiser(forward)
    for x in forward.space.enumerate():
        joint = pmf * kernel[:2, x[0]].unsqueeze(1) * kernel[:2, x[1]]
        joint = joint / joint.sum()
        wanted = torch.stack([joint.sum(1), joint.sum(0)])
        torch.testing.assert_close(exact.x0_log_probs(x.unsqueeze(0), t)[0].exp(), wanted, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize(("matrix", "masked"), [(TOKENWISE, False), (MUTATING, False), (PLAIN, True), (TWICE, True)])
def test_only_one_speed_is_a_masked_process(matrix, masked):
    forward = process(matrix, ddm.schedules.Linear())
    assert forward.is_masked is masked
    assert random_tabular((2, 2), seed=0).denoiser(forward).time_free is masked


@pytest.mark.parametrize("sampler", [ddm.samplers.Ancestral(), ddm.samplers.Euler(), ddm.samplers.TauLeaping()])
def test_a_mask_at_twice_the_speed_is_the_mask_on_a_faster_schedule(sampler):
    target = random_tabular((2, 2), seed=1)
    foreign = process(TWICE, ddm.schedules.Constant(total=2.0))
    ours = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Constant(total=4.0), length=2)
    found = ddm.push(sampler, target.denoiser(foreign), steps=5).pmf
    torch.testing.assert_close(found, ddm.push(sampler, target.denoiser(ours), steps=5).pmf, atol=1e-13, rtol=0)
    drawn = ddm.sample(sampler, target.denoiser(foreign), 8, steps=5, seed=0)
    assert torch.equal(drawn, ddm.sample(sampler, target.denoiser(ours), 8, steps=5, seed=0))


@pytest.mark.parametrize("matrix", [TOKENWISE, MUTATING])
def test_reverse_steps_of_other_masks_tend_to_the_data(matrix):
    """The reverse process from the exact p_1 gives back p_0, at first order in the step."""
    target = random_tabular((2, 2), seed=2)
    forward = process(matrix, ddm.schedules.Constant(total=3.0))
    padded = torch.zeros(3, 3, dtype=torch.float64)
    padded[:2, :2] = target.tabular().pmf.reshape(2, 2)
    start, exact = forward.push(padded.reshape(-1), 0.0, 1.0), target.denoiser(forward)
    errors = [
        float((ddm.push(ddm.samplers.Ancestral(), exact, steps=n, pmf=start).pmf - target.tabular().pmf).abs().sum())
        for n in (32, 64, 128)
    ]
    assert all(b < 0.56 * a for a, b in itertools.pairwise(errors))
