from __future__ import annotations

import numpy as np
import pytest
import torch
from loss_worlds import world

import ddm_pyro as ddm
from ddm_pyro import X0, losses, networks, random, targets
from ddm_pyro.training import TrainingDiverged
from ddm_pyro.training.data import draw_batch, open_data
from ddm_pyro.training.ema import MovingAverage

DATA = torch.tensor([[0, 1, 2], [2, 2, 1], [0, 0, 0], [1, 2, 0]])


def tiny(kind="masked", width=16, **kw):
    process = world(kind, "linear", (3, 3, 3)).process
    torch.manual_seed(0)
    return X0(networks.MLP.for_process(process, width=width, **kw), process)


def train(model, data=DATA, **kw):
    given = {"loss": losses.NELBO(), "steps": 10, "batch_size": 8, "lr": 1e-2, "warmup": 3, "progress": False}
    return ddm.fit(model, data, **{**given, **kw})


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize(("kind", "gap"), [("masked", 0.02), ("uniform", 0.2)])
def test_learns_a_law(kind, gap):
    small = world(kind, "linear", (3, 3))
    torch.manual_seed(0)
    model = X0(networks.MLP.for_process(small.process, width=32), small.process)
    before = small.integral(losses.NELBO(), model).item()
    data = targets.Tabular(torch.from_numpy(small.pmf))
    train(model, data, steps=300, batch_size=128, lr=5e-3, ema=0.98)
    after, truth = small.integral(losses.NELBO(), model).item(), small.conditional_entropy()
    assert truth - 1e-6 < after < truth + gap
    assert after - truth < 0.3 * (before - truth)


def test_learns_a_score():
    small = world("uniform", "constant", (3, 3), np.array([[8.0, 1, 1], [1, 8, 1], [1, 1, 8]]) / 30)
    torch.manual_seed(0)
    network = networks.Transformer.for_process(small.process, "score", width=16, depth=1, heads=2)
    model = ddm.Score(network, small.process)
    exact = losses.ScoreEntropy("explicit", exact=small.exact)
    before = small.integral(exact, model, nodes=20).item()
    data = targets.Tabular(torch.from_numpy(small.pmf))
    train(model, data, loss=losses.ScoreEntropy(), steps=200, batch_size=64, ema=0.95)
    assert small.integral(exact, model, nodes=20).item() < 0.3 * before


def test_same_seed_same_result_other_seed_another():
    first, second, third = (train(tiny(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.losses, second.losses)
    assert torch.equal(weights(first.model), weights(second.model))
    assert not torch.equal(first.losses, third.losses)
    assert first.losses.dtype == torch.float64
    assert first.losses.shape == (10,)


def test_global_generator_untouched():
    torch.manual_seed(11)
    model = tiny()
    torch.manual_seed(11)
    state = torch.get_rng_state()
    train(model)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(train(tiny()).losses, train(tiny()).losses)


def test_a_sample_depends_on_its_index_only():
    process = tiny().process
    device = torch.device("cpu")
    source = open_data(DATA, process, device)
    with random.indexed(3, range(600)):
        whole = draw_batch(source, process, 600, device)
    with random.indexed(3, range(300, 600)):
        part = draw_batch(source, process, 300, device)
    assert torch.equal(whole[0][300:], part[0])
    # Strata are those of the batch; inside its stratum a time is the sample's own.
    torch.testing.assert_close((whole[2][300:] * 600) % 1, (part[2] * 300) % 1, rtol=0, atol=1e-9)


def test_times_are_stratified_and_noise_follows_them():
    process = tiny().process
    device = torch.device("cpu")
    with random.indexed(0, range(50_000)):
        x0, xt, t, *_ = draw_batch(open_data(DATA, process, device), process, 50_000, device)
    assert torch.equal((t * 50_000).floor().long(), torch.arange(50_000))
    masked = (xt == 3).double()
    assert bool(((xt == x0) | (xt == 3)).all())
    # Linear schedule: P(masked) = t, so masked - t has mean zero and variance t (1 - t).
    for weight in (torch.ones_like(t), t - 0.5):
        error = ((masked - t.unsqueeze(-1)) * weight.unsqueeze(-1)).sum()
        assert abs(float(error)) < 4.3 * float((3 * t * (1 - t) * weight**2).sum().sqrt())
    counts = (x0.unsqueeze(1) == DATA).all(-1).double().sum(0)
    assert bool(((counts - 12_500).abs() < 4.5 * (50_000 * 0.25 * 0.75) ** 0.5).all())


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_average_follows_its_formula(decay):
    torch.manual_seed(0)
    path = torch.randn(30, 4, dtype=torch.float64)
    average = MovingAverage([path[0]], decay)
    expected = path[0].clone()
    for step in range(30):
        average.update([path[step]], step)
        keep = min(decay, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * path[step]
    torch.testing.assert_close(average.values[0], expected)


def test_the_model_returned_holds_the_average(tmp_path):
    trails = []

    class Watched(losses.NELBO):
        def __call__(self, model, *args):
            trails.append(weights(model))
            return super().__call__(model, *args)

    start = weights(tiny())
    result = train(tiny(), loss=Watched(), steps=11, ema=0.9)
    plain = train(tiny(), steps=10, ema=None)
    trails.append(None)
    expected = start
    for step in range(10):
        keep = min(0.9, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * trails[step + 1]
    ten = train(tiny(), steps=10, ema=0.9)
    torch.testing.assert_close(weights(ten.model), expected, rtol=1e-5, atol=1e-7)
    assert torch.equal(weights(plain.model), trails[10])
    assert not torch.equal(weights(result.model), trails[10])


def test_the_first_update_is_that_of_adamw_with_warmup_and_clipping():
    model = tiny()
    before = weights(model)
    train(model, steps=1, lr=0.01, warmup=4, ema=None, grad_clip=1e-9, weight_decay=0.0)
    moved = (weights(model) - before).abs()
    # Adam's first step is lr g / (|g| + 1e-8): with a gradient of norm 1e-9 every entry moves less than lr / 40.
    assert 0 < float(moved.max()) < 0.01 / 4 * 0.1
    model = tiny()
    train(model, steps=1, lr=0.01, warmup=4, ema=None, grad_clip=None)
    assert float((weights(model) - before).abs().max()) == pytest.approx(0.0025, rel=1e-3)


def test_weight_decay_shrinks():
    plain, decayed = train(tiny(), ema=None), train(tiny(), ema=None, weight_decay=10.0)
    assert float(weights(decayed.model).norm()) < 0.8 * float(weights(plain.model).norm())


def test_mixed_precision_trains():
    result = train(tiny(), steps=30, precision="bf16")
    assert bool(result.losses.isfinite().all())
    assert all(p.dtype == torch.float32 for p in result.model.parameters())
    assert not torch.equal(result.losses, train(tiny(), steps=30).losses)


def test_every_source_of_data():
    target = targets.Tabular(torch.full((3, 3, 3), 1 / 27, dtype=torch.float64))
    assert train(tiny(), target).losses.shape == (10,)
    split = targets.DataSet(target.space, train=DATA, test=DATA[:1])
    assert torch.equal(train(tiny(), split).losses, train(tiny(), DATA.to(torch.uint8)).losses)


def test_modes_gradients_and_reports():
    model = tiny().eval()
    seen = []
    result = train(model, progress=lambda done, loss: seen.append((done, loss)))
    assert result.model is model
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    assert seen == list(zip(range(1, 11), result.losses.tolist(), strict=True))


def test_any_module_will_do():
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Parameter(torch.zeros(3, 3))

        def forward(self, x, t):
            return self.table.expand(*x.shape[:-1], 3, 3)

    model = ddm.MaskPredictor(Own(), tiny().process)
    train(model, DATA[:1], steps=200, lr=0.1, ema=0.9)
    assert model.network.table.argmax(-1).tolist() == DATA[0].tolist()


class Bad(losses.NELBO):
    """A loss that is spoilt at one call."""

    def __init__(self, at, value=torch.nan, gradient_only=False):
        object.__setattr__(self, "state", [0, at, value, gradient_only])

    def __call__(self, model, x0, xt, t):
        self.state[0] += 1
        value = super().__call__(model, x0, xt, t)
        if self.state[0] - 1 != self.state[1]:
            return value
        if self.state[3]:
            return value + (weights_sum(model) * 0).sqrt()
        return value * self.state[2]


def weights_sum(model):
    return sum(p.sum() for p in model.parameters())


@pytest.mark.parametrize("bad", [Bad(7), Bad(7, torch.inf), Bad(7, gradient_only=True)], ids=["nan", "inf", "gradient"])
def test_divergence_stops_and_keeps_the_checkpoint(tmp_path, bad):
    path = tmp_path / "run.ckpt"
    model = tiny()
    with pytest.raises(TrainingDiverged, match=r"diverged at step 7: .* lower lr=0\.01.*keeps step 6"):
        train(model, loss=bad, checkpoint=path, checkpoint_every=3)
    assert ddm.load(path).meta["step"] == 6
    assert bool(weights(model).isfinite().all())
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(0, 3, dtype=torch.int64), r"shape \(0, 3\)"),
        (torch.zeros(3, dtype=torch.int64), r"shape \(3,\)"),
        (torch.zeros(2, 4, dtype=torch.int64), "the length 3"),
        (torch.tensor([[0, 1, 3]]), "3 is the mask id"),
        (torch.tensor([[0, 1, -1]]), r"\[0, 1, -1\]"),
        (torch.tensor([[0.5, 1, 1]]), "fractions"),
        (targets.Tabular(torch.full((2, 2), 0.25)), "must agree"),
    ],
)
def test_bad_data_are_quoted(data, message):
    with pytest.raises(ValueError, match=message):
        train(tiny(), data)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 2.5}, r"batch_size=2\.5"),
        ({"lr": -1.0}, r"lr=-1\.0 must be a positive number of at most 100"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"lr": 1e300}, r"lr=1e\+300 must be a positive number of at most 100"),
        ({"lr": "fast"}, "lr='fast' must be a positive number"),
        ({"lr": None}, "lr=None"),
        ({"lr": True}, "lr=True"),
        ({"lr": 1 + 2j}, "lr="),
        ({"steps": 1.5}, r"steps=1\.5 must be a whole number"),
        ({"steps": "10"}, "steps='10'"),
        ({"steps": True}, "steps=True"),
        ({"steps": None}, "steps=None"),
        ({"batch_size": "8"}, "batch_size='8'"),
        ({"seed": 1.0}, r"seed=1\.0 must be a whole number"),
        ({"seed": "one"}, "seed='one'"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": True}, "seed=True"),
        ({"ema": 1.0}, r"ema=1\.0"),
        ({"ema": -0.1}, r"ema=-0\.1"),
        ({"ema": "on"}, "ema='on' must be a number in"),
        ({"grad_clip": "no"}, "grad_clip='no'"),
        ({"grad_clip": float("inf")}, "grad_clip=inf"),
        ({"weight_decay": 1e300}, r"weight_decay=1e\+300 must be .* at most 1/lr = 100"),
        ({"weight_decay": [0.1]}, r"weight_decay=\[0\.1\]"),
        ({"precision": None}, "precision=None"),
        ({"warmup": 2.0}, r"warmup=2\.0"),
        ({"device": "gpu:x"}, "device='gpu:x' must name a device"),
        ({"device": [0]}, r"device=\[0\] must name a device"),
        ({"checkpoint": 7}, "checkpoint=7 must be the path"),
        ({"progress": "yes"}, "progress='yes' must be True, False or a function"),
        ({"precision": "fp8"}, "precision='fp8'"),
        ({"grad_clip": 0.0}, r"grad_clip=0\.0"),
        ({"warmup": -1}, "warmup=-1"),
        ({"weight_decay": -0.1}, r"weight_decay=-0\.1"),
        ({"seed": None}, "seed=None"),
        ({"checkpoint_every": 0}, "checkpoint_every=0"),
    ],
)
def test_bad_settings_are_quoted(setting, message):
    with pytest.raises(ValueError, match=message) as found:
        train(tiny(), **setting)
    assert str(found.value).count("\n") == 0


def test_numbers_of_any_kind_are_the_same_run():
    whole = train(tiny(), steps=4, seed=3, lr=0.5**6, warmup=2).losses
    kinds = {"steps": np.int64(4), "seed": np.int32(3), "lr": np.float64(0.5**6), "warmup": np.uint8(2)}
    assert torch.equal(train(tiny(), **kinds).losses, whole)


def test_wrong_kinds_are_quoted():
    with pytest.raises(TypeError, match="must be a Parameterization"):
        train(tiny().network)
    with pytest.raises(TypeError, match="must be a Loss"):
        train(tiny(), loss=losses.NELBO)
    with pytest.raises(TypeError, match="must be an"):
        train(tiny(), [[0, 1, 2]])
    exact = targets.Tabular(torch.full((3, 3, 3), 1 / 27)).denoiser(tiny().process)
    with pytest.raises(ValueError, match="nothing to train"):
        train(exact)
