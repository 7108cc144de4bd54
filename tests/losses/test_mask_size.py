"""Li and Cai's loss against the blocks of k-unmask, set by set."""

from __future__ import annotations

import itertools
import math

import numpy as np
import oracles
import pytest
import torch
from loss_worlds import Diluted, Tilted, world

from ddm_pyro import ForwardProcess, losses, push, rates, samplers, schedules, targets
from ddm_pyro.losses.mask_size import mask_count_law
from ddm_pyro.planning import reveal_error

SCHEDULES = ["linear", "log-linear", "cosine", "geometric", "constant"]


def block_cross_entropy(small, model, sizes):
    """E sum over blocks of -log p(block | what is revealed), every subset of every size in turn."""
    length, x0 = len(small.sizes), oracles.sequences(small.sizes)
    masks, total = length, 0.0
    for size in sizes:
        sets = list(itertools.combinations(range(length), masks))
        for chosen in sets:
            hidden = np.isin(np.arange(length), chosen)
            x = torch.from_numpy(np.where(hidden, max(small.sizes), x0))
            log_p = model.x0_log_probs(x, torch.ones(len(x0))).detach().numpy()
            token = np.take_along_axis(log_p, x0[..., None], -1)[..., 0]
            # Of the masked positions a uniform block of ``size``: each with probability size / masks.
            total -= (small.pmf.ravel() * (token * hidden).sum(-1)).sum() * size / masks / len(sets)
        masks -= size
    return total


@pytest.mark.parametrize("sizes", [None, (1, 2), (2, 1), (3,), (1, 1, 1)])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_its_mean_is_the_cross_entropy_of_the_blocks(schedule, sizes):
    small = world("masked", schedule, (2, 2, 2), oracles.normalized(np.arange(1.0, 9) ** 2).reshape(2, 2, 2))
    torch.manual_seed(7)
    model = Tilted(small.exact, theta=torch.randn(Tilted(small.exact).theta.shape, dtype=torch.float64))
    found = float(small.integral(losses.MaskSizeWeighted(sizes), model, nodes=60))
    assert found == pytest.approx(block_cross_entropy(small, model, sizes or (1, 1, 1)), rel=1e-7)


def test_it_bounds_k_unmask_and_its_excess_is_the_error_of_the_plan():
    target = targets.PottsChain(num_states=3, length=4, coupling=1.0)
    process = ForwardProcess(rates.Masked(3), schedules.Linear(), length=4)
    small = world("masked", "linear", (3, 3, 3, 3), target.tabular().pmf.reshape(3, 3, 3, 3).numpy())
    for sizes in ((2, 2), (3, 1), (1, 3)):
        value = block_cross_entropy(small, target.denoiser(process), sizes)
        error = reveal_error(target.information_curve(), sizes)
        found = float(small.integral(losses.MaskSizeWeighted(sizes), target.denoiser(process), nodes=40))
        assert found == pytest.approx(value, rel=1e-8)
        assert found - oracles.entropy(small.pmf) == pytest.approx(error, abs=1e-7)


def test_the_excess_of_a_diluted_predictor_is_its_training_error():
    small = world("masked", "cosine", (3, 3, 3), oracles.hash_pmf(3, 3))
    loss = losses.MaskSizeWeighted()
    truth = float(small.integral(loss, small.exact))
    assert truth == pytest.approx(3.164312270304, abs=1e-8)  # one by one, no error but the predictor's
    assert float(small.integral(loss, Diluted(small.exact, 0.1))) - truth == pytest.approx(0.00186075, abs=5e-9)


@pytest.mark.parametrize("noise", [schedules.Linear(), schedules.Cosine(), schedules.Constant(total=3.0)])
@pytest.mark.parametrize("length", [1, 5, 40])
def test_the_law_of_the_number_of_masks(noise, length):
    process = ForwardProcess(rates.Masked(2), noise, length=length)
    law = mask_count_law(process, torch.device("cpu")).numpy()
    assert law.sum() == pytest.approx(1.0, abs=1e-10)
    if noise == schedules.Linear():
        np.testing.assert_allclose(law, 1 / (length + 1), rtol=1e-9)
    t = (np.arange(200_000) + 0.5) / 200_000
    p = 1 - noise.alpha(torch.from_numpy(t)).numpy()
    m = length // 2
    expected = (math.comb(length, m) * p**m * (1 - p) ** (length - m)).mean()
    assert law[m] == pytest.approx(expected, rel=1e-6)


def test_it_completes_without_a_constant_and_needs_no_masks():
    small = world("masked", "geometric", (2, 2))
    x0 = torch.from_numpy(oracles.sequences((2, 2)))
    assert losses.MaskSizeWeighted().constant(small.process, x0).tolist() == [0.0] * 4
    assert losses.MaskSizeWeighted((2,))(small.exact, x0, x0, 0.3).tolist() == [0.0] * 4
    # one mask, where no block of two has one
    assert losses.MaskSizeWeighted((2,))(small.exact, x0, torch.tensor([[0, 2]] * 4), 0.3).tolist() == [0.0] * 4


def test_what_cannot_be_is_refused():
    masked, uniform = world("masked", "linear", (2, 2)), world("uniform", "linear", (2, 2))
    x = torch.tensor([[0, 1]])
    for bad in ((), (0, 2), (1.5, 0.5), (True, True)):
        with pytest.raises(ValueError, match="must be whole numbers of at least 1"):
            losses.MaskSizeWeighted(bad)
    with pytest.raises(ValueError, match=r"sum to 3; they must sum to the length 2"):
        losses.MaskSizeWeighted((1, 2))(masked.exact, x, x, 0.5)
    with pytest.raises(ValueError, match="does not mask its tokens"):
        losses.MaskSizeWeighted()(uniform.exact, x, x, 0.5)


def test_the_sampler_of_the_sizes_is_bounded():
    small = world("masked", "linear", (2, 2, 2), oracles.normalized(np.arange(1.0, 9) ** 3).reshape(2, 2, 2))
    law = push(samplers.KUnmask((2, 1)), small.exact).pmf.reshape(-1).numpy()
    nll = -(small.pmf.ravel() * np.log(law)).sum()
    assert nll < float(small.integral(losses.MaskSizeWeighted((2, 1)), small.exact)) < nll + 0.2
