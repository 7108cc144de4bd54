"""Times and noise of a batch, however arranged, leave the expected loss and its gradient alone."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from birth_death import BirthDeath
from loss_worlds import Tilted, world
from scipy.stats import chi2, norm

import ddm_pyro as ddm
from ddm_pyro import losses, networks, random, schedules, targets
from ddm_pyro.training import times as times_module
from ddm_pyro.training.archive import read_archive, write_archive
from ddm_pyro.training.data import draw_batch, open_data
from ddm_pyro.training.noise import draw_noise, even_uniforms
from ddm_pyro.training.times import TIME_BINS, ImportanceTimes, WeightedTimes, open_times

CPU = torch.device("cpu")
FALSE_ALARM = 2e-5
NAMES = ["uniform", "stratified", "antithetic", "importance", [3.0, 1.0, 0.5]]


def opened(name):
    law = open_times(name, CPU)
    if name == "importance":  # a state far from uniform, some slices never seen
        counts = (torch.arange(TIME_BINS) % 5 > 0).double()
        law.load({"squares": counts * torch.arange(TIME_BINS).double() ** 3, "counts": counts})
    return law


@pytest.mark.parametrize("name", NAMES, ids=str)
@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_the_weighted_mean_is_the_integral(monkeypatch, name, size):
    law, nodes = opened(name), 4000
    total = np.zeros(3)
    for node in range(nodes):
        monkeypatch.setattr(
            random, "uniform", lambda shape, device=None, node=node: torch.full(shape, (node + 0.5) / nodes).double()
        )
        u, weight = law.draw(size, CPU)
        assert 0 <= float(u.min()) <= float(u.max()) < 1
        weight = torch.ones_like(u) if weight is None else weight
        total += [float((weight * f).mean()) / nodes for f in (torch.ones_like(u), u.exp(), (u - 0.2).abs().sqrt())]
    root = (0.2**1.5 + 0.8**1.5) / 1.5
    np.testing.assert_allclose(total, [1.0, np.e - 1.0, root], atol=2e-3)


@pytest.mark.parametrize("noise", ["independent", "low-variance"])
@pytest.mark.parametrize("name", NAMES, ids=str)
@pytest.mark.parametrize(("kind", "schedule"), [("masked", "linear"), ("uniform", "cosine")])
def test_the_gradient_of_a_batch_is_unbiased(kind, schedule, name, noise):
    small = world(kind, schedule, (2, 3), oracles.normalized(np.arange(1.0, 7) ** 2).reshape(2, 3))
    # Finite at every t for every model, so that the mean has a variance to speak of.
    loss = losses.CrossEntropy()
    torch.manual_seed(7)
    start = 0.5 * torch.randn(Tilted(small.exact).theta.shape, dtype=torch.float64)
    model = Tilted(small.exact, theta=start.clone().requires_grad_())
    small.integral(loss, model, nodes=30).backward()
    direction, expected = model.theta.grad, float(model.theta.grad.square().sum())
    source = open_data(targets.Tabular(torch.from_numpy(small.pmf)), small.process, CPU)
    law, batches, size, drawn = opened(name), 400, 20, []
    for k in range(batches):
        with random.indexed(3, range(k * size, (k + 1) * size)):
            drawn.append(draw_batch(source, small.process, size, CPU, loss, law, noise))
    x0, xt, t = (torch.cat([batch[k] for batch in drawn]) for k in range(3))
    step = 1e-5
    with torch.no_grad():
        up, down = (loss(Tilted(small.exact, theta=start + s * direction), x0, xt, t) for s in (step, -step))
    slope = (up - down) / (2 * step)
    if drawn[0].weight is not None:
        slope = slope * torch.cat([batch.weight for batch in drawn])
    means = slope.reshape(batches, size).mean(-1)
    error = float(means.std() / batches**0.5)
    assert abs(float(means.mean()) - expected) < norm.isf(FALSE_ALARM / 2) * error
    assert error < 0.1 * expected


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 11])
def test_rows_fall_in_different_slices(rows):
    slices = (even_uniforms((rows, 5), CPU) * rows).long().sort(0).values
    assert torch.equal(slices, torch.arange(rows).unsqueeze(-1).expand(-1, 5))


def test_every_row_alone_is_uniform_on_the_cube():
    torch.manual_seed(3)
    draws = torch.stack([even_uniforms((3, 2), CPU) for _ in range(6000)])
    cells = (draws * 4).long()
    for row in range(3):
        counts = torch.bincount(cells[:, row, 0] * 4 + cells[:, row, 1], minlength=16).double()
        assert float(((counts - 375) ** 2 / 375).sum()) < chi2.isf(FALSE_ALARM, 15)
    both = torch.bincount(cells[:, 0, 0] * 4 + cells[:, 1, 0], minlength=16).double()
    assert float(((both - 375) ** 2 / 375).sum()) > 1000  # rows are far from independent of each other


def test_masks_come_in_the_number_they_should():
    process = world("masked", "linear", (3, 3, 3)).process
    x0 = torch.tensor([[0, 1, 2]]).expand(64, -1)
    masked = draw_noise(process, x0, torch.full((64,), 0.3), "low-variance") == 3
    assert set(masked.sum(0).tolist()) <= {19, 20}  # of 64 rows at 0.3
    assert not torch.equal(masked[:, 0], masked[:, 1])


def test_a_law_that_is_not_drawn_from_uniforms_is_refused():
    process = ddm.ForwardProcess(BirthDeath(2.0), schedules.Linear(), length=2)
    with pytest.raises(ValueError, match=r"noise='low-variance' .* use noise='independent'"):
        draw_noise(process, torch.tensor([[3, 1]]), torch.tensor([0.5]), "low-variance")


def test_importance_follows_the_root_of_the_second_moment():
    law = ImportanceTimes(CPU)
    torch.testing.assert_close(law.law(), torch.full((TIME_BINS,), 1 / TIME_BINS, dtype=torch.float64))
    u = (torch.arange(TIME_BINS) + 0.5).double() / TIME_BINS
    size = 1.0 + 5.0 * u
    for k in range(40):  # losses of mean 0: only the second moment can tell
        law.update(u, size * (-1) ** k)
    torch.testing.assert_close(law.law(), 0.9 * size / size.sum() + 0.1 / TIME_BINS)
    some = ImportanceTimes(CPU)
    some.update(u[:2], torch.tensor([1.0, 3.0]))
    assert float(some.law()[5]) == pytest.approx(0.9 * 2.0 / 64 + 0.1 / 32)  # unseen: the average of what is seen
    assert float(some.law().sum()) == pytest.approx(1.0)
    zero = ImportanceTimes(CPU)
    zero.update(u, torch.zeros(TIME_BINS))
    assert float(zero.draw(10, CPU)[1].max()) == pytest.approx(1.0)


def test_importance_forgets():
    law = ImportanceTimes(CPU)
    u = (torch.arange(TIME_BINS) + 0.5).double() / TIME_BINS
    law.update(u, torch.where(u < 0.1, 1000.0, 1.0))
    for _ in range(500):
        law.update(u, torch.ones(TIME_BINS))
    torch.testing.assert_close(
        law.law(), torch.full((TIME_BINS,), 1 / TIME_BINS, dtype=torch.float64), rtol=1e-3, atol=0
    )


def test_weights_never_exceed_the_inverse_of_the_uniform_share():
    _, weight = opened("importance").draw(5000, CPU)
    assert float(weight.max()) < 1 / times_module.UNIFORM_SHARE + 1e-9
    u, weight = WeightedTimes(torch.tensor([0.75, 0.25])).draw(64, CPU)
    torch.testing.assert_close(weight, torch.where(u < 0.5, 2 / 3, 2.0).double())


def test_importance_reads_less_spread_from_a_spiky_loss():
    def spread(law):
        means = []
        for k in range(400):
            with random.indexed(1, range(k * 16, (k + 1) * 16)):
                u, weight = law.draw(16, CPU)
            value = 1.0 / (u + 0.02) ** 1.5
            law.update(u, value)
            means.append(float((value if weight is None else weight * value).mean()))
        return np.var(means[100:])

    assert spread(ImportanceTimes(CPU)) < 0.2 * spread(open_times("stratified", CPU))


def test_pairs_mirror_each_other():
    u, weight = open_times("antithetic", CPU).draw(7, CPU)
    assert weight is None
    torch.testing.assert_close(u[0:6:2] + u[1:6:2], torch.ones(3, dtype=torch.float64))


DATA = torch.tensor([[0, 1, 2], [2, 2, 1], [0, 0, 0], [1, 2, 0]])


def train(**kw):
    process = world("masked", "linear", (3, 3, 3)).process
    torch.manual_seed(0)
    model = ddm.X0(networks.MLP.for_process(process, width=8), process)
    given = {"loss": losses.NELBO(), "steps": 12, "batch_size": 10, "lr": 1e-2, "warmup": 5, "progress": False}
    return ddm.fit(model, DATA, **{**given, **kw})


@pytest.mark.parametrize("noise", ["independent", "low-variance"])
@pytest.mark.parametrize("times", NAMES, ids=str)
def test_resumes_bit_for_bit(tmp_path, times, noise):
    setting = {"times": times, "noise": noise}
    whole = train(**setting)
    train(steps=5, checkpoint=tmp_path / "run.ckpt", **setting)
    resumed = train(checkpoint=tmp_path / "run.ckpt", **setting)
    assert torch.equal(resumed.losses, whole.losses)
    assert all(map(torch.equal, resumed.model.parameters(), whole.model.parameters()))


def test_settings_differ_and_are_told_apart(tmp_path):
    seen = [train(times=times, noise=noise).losses for times in NAMES for noise in ("independent", "low-variance")]
    assert len({tuple(losses.tolist()) for losses in seen}) == 10
    assert torch.equal(train().losses, train(times="stratified", noise="independent").losses)
    train(steps=3, checkpoint=tmp_path / "run.ckpt")
    with pytest.raises(ValueError, match="trained with times='stratified', not 'uniform'"):
        train(times="uniform", checkpoint=tmp_path / "run.ckpt")
    with pytest.raises(ValueError, match="trained with noise='independent', not 'low-variance'"):
        train(noise="low-variance", checkpoint=tmp_path / "run.ckpt")


def test_a_checkpoint_from_before_these_settings_resumes(tmp_path):
    whole = train()
    train(steps=5, checkpoint=tmp_path / "run.ckpt")
    tensors, record = read_archive(tmp_path / "run.ckpt")
    for name in ("times", "noise"):
        del record["meta"][name]
    write_archive(tmp_path / "old.ckpt", tensors, record)
    assert torch.equal(train(checkpoint=tmp_path / "old.ckpt").losses, whole.losses)


def test_weights_from_any_sequence_are_the_same_run():
    first = train(times=[3, 1, 1]).losses
    for same in ((3.0, 1.0, 1.0), np.array([3.0, 1.0, 1.0]), torch.tensor([3.0, 1.0, 1.0])):
        assert torch.equal(train(times=same).losses, first)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"times": "sobol"}, "times='sobol' must be 'stratified'"),
        ({"times": None}, "times=None must be"),
        ({"times": 3}, "times=3 must be"),
        ({"times": []}, r"times=\[\] must be"),
        ({"times": [1.0, 0.0]}, r"times=\[1\.0, 0\.0\] must be .* never be learned"),
        ({"times": [1.0, float("nan")]}, "times=.*nan"),
        ({"times": ["a"]}, "times="),
        ({"times": np.ones((2, 2))}, "times="),
        ({"noise": "quasi"}, "noise='quasi' must be one of 'independent', 'low-variance'"),
        ({"noise": None}, "noise=None"),
    ],
)
def test_bad_draws_are_quoted(setting, message):
    with pytest.raises(ValueError, match=message):
        train(**setting)
