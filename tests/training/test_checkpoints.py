from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from loss_worlds import ASYMMETRIC, SIGMA
from safetensors.torch import load_file, save_file

import ddm_pyro as ddm
from ddm_pyro import ForwardProcess, losses, networks, rates, schedules, targets

DATA = torch.tensor([[0, 1, 2], [2, 2, 1], [0, 0, 0], [1, 2, 0]])


def tiny(width=16, schedule=None, rate=None):
    process = ForwardProcess(rate or rates.Masked(3), schedule or schedules.Linear(), length=3)
    torch.manual_seed(0)
    return ddm.X0(networks.MLP.for_process(process, width=width), process)


def train(model, data=DATA, **kw):
    given = {"loss": losses.NELBO(), "steps": 12, "batch_size": 8, "lr": 1e-2, "warmup": 5, "progress": False}
    return ddm.fit(model, data, **{**given, **kw})


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


class Interrupted(losses.NELBO):
    """Raises at one call."""

    def __init__(self, at, error):
        object.__setattr__(self, "state", [0, at, error])

    def __repr__(self):
        return "NELBO()"

    def __call__(self, *args):
        self.state[0] += 1
        if self.state[0] > self.state[1]:
            raise self.state[2]
        return super().__call__(*args)


@pytest.mark.parametrize("ema", [0.9, None])
@pytest.mark.parametrize("stop", [1, 5, 12])
def test_resumes_bit_for_bit(tmp_path, ema, stop):
    whole = train(tiny(), ema=ema, checkpoint=tmp_path / "whole.ckpt")
    train(tiny(), ema=ema, steps=stop, checkpoint=tmp_path / "part.ckpt")
    torch.manual_seed(99)
    fresh = tiny()
    torch.nn.init.normal_(fresh.network.enter.weight)
    resumed = train(fresh, ema=ema, checkpoint=tmp_path / "part.ckpt")
    assert torch.equal(resumed.losses, whole.losses)
    assert torch.equal(weights(resumed.model), weights(whole.model))
    first, second = load_file(tmp_path / "whole.ckpt"), load_file(tmp_path / "part.ckpt")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of memory")])
def test_an_interruption_keeps_the_last_finished_step(tmp_path, error):
    whole = train(tiny())
    path = tmp_path / "run.ckpt"
    loss = Interrupted(7, error)
    with pytest.raises(type(error)):
        train(tiny(), loss=loss, checkpoint=path)
    assert ddm.load(path).meta["step"] == 7
    loss.state[1] = 1_000
    resumed = train(tiny(), loss=loss, checkpoint=path)
    assert torch.equal(resumed.losses, whole.losses)
    assert torch.equal(weights(resumed.model), weights(whole.model))


def test_an_interruption_inside_an_update_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    path, model = tmp_path / "run.ckpt", tiny()
    plain = torch.optim.AdamW.step
    calls = []

    def torn(self, *args, **kw):
        calls.append(0)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return plain(self, *args, **kw)

    monkeypatch.setattr(torch.optim.AdamW, "step", torn)
    with pytest.raises(KeyboardInterrupt):
        train(model, checkpoint=path, checkpoint_every=5)
    monkeypatch.undo()
    assert ddm.load(path).meta["step"] == 5
    assert torch.equal(train(tiny(), checkpoint=path).losses, train(tiny()).losses)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.ckpt"
    train(tiny(), steps=5, checkpoint=path)
    before = path.read_bytes()

    def full(*args):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        train(tiny(), checkpoint=path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]


def test_dropout_resumes_too(tmp_path):
    def build():
        model = tiny()
        model.network.enter = torch.nn.Sequential(model.network.enter, torch.nn.Dropout(0.3))
        return model

    whole = train(build())
    train(build(), steps=4, checkpoint=tmp_path / "run.ckpt")
    torch.rand(17)
    assert torch.equal(train(build(), checkpoint=tmp_path / "run.ckpt").losses, whole.losses)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 5}, "trained with seed=0, not 5"),
        ({"batch_size": 4}, "batch_size=8, not 4"),
        ({"lr": 0.5}, r"lr=0\.01, not 0\.5"),
        ({"ema": None}, r"ema=0\.999, not None"),
        ({"loss": losses.CrossEntropy()}, "CrossEntropy"),
        ({"data": DATA[:3]}, "other data"),
        ({"steps": 3}, "has 5 steps, more than steps=3"),
        ({"model": tiny(width=8)}, "another network or process"),
        ({"model": tiny(schedule=schedules.Cosine())}, "another network or process"),
    ],
)
def test_another_run_is_refused(tmp_path, change, message):
    path = tmp_path / "run.ckpt"
    train(tiny(), steps=5, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        train(change.pop("model", tiny()), **{"checkpoint": path, **change})
    assert path.read_bytes() == before


def test_other_data_of_a_law_and_other_rates_are_refused(tmp_path):
    laws = [
        targets.Tabular(torch.tensor(p, dtype=torch.float64).reshape(3, 1, 1).expand(3, 3, 3) / 9)
        for p in ([0.2, 0.3, 0.5], [0.2, 0.5, 0.3])
    ]
    path = tmp_path / "run.ckpt"
    train(tiny(), laws[0], steps=3, checkpoint=path)
    with pytest.raises(ValueError, match="other data"):
        train(tiny(), laws[1], checkpoint=path)
    path = tmp_path / "dense.ckpt"
    train(tiny(rate=rates.Dense(ASYMMETRIC)), steps=3, checkpoint=path)
    with pytest.raises(ValueError, match="another network or process"):
        train(tiny(rate=rates.Dense(ASYMMETRIC.T - np.diag(ASYMMETRIC.sum(0)))), checkpoint=path)
    assert train(tiny(rate=rates.Dense(ASYMMETRIC)), steps=4, checkpoint=path).losses.shape == (4,)


RATES = [
    rates.Uniform(3),
    rates.Masked(3),
    rates.RankOne([0.61, 0.17, 0.22]),
    rates.Dense(ASYMMETRIC),
    [rates.Masked(2), rates.Masked(4), rates.Masked(2)],
]


@pytest.mark.parametrize("rate", RATES, ids=repr)
@pytest.mark.parametrize("schedule", [noise for noise, _ in SIGMA.values()], ids=repr)
@pytest.mark.parametrize("timeless", [False, True])
@pytest.mark.parametrize("head", ["x0", "score"])
def test_saved_models_come_back(tmp_path, rate, schedule, head, timeless):
    process = ForwardProcess(rate, schedule, None if isinstance(rate, list) else 3)
    view = ddm.Score if head == "score" else ddm.MaskPredictor if timeless and process.is_masked else ddm.X0
    network = networks.Transformer if timeless else networks.MLP
    model = view(network.for_process(process, head, width=8, depth=1), process)
    torch.nn.init.normal_(model.network.head.weight)
    state = torch.get_rng_state()
    ddm.save(tmp_path / "model.ckpt", model, source="survey", rows=12)
    again = ddm.load(tmp_path / "model.ckpt")
    assert torch.equal(torch.get_rng_state(), state)
    assert type(again) is view
    assert again.meta == {"source": "survey", "rows": 12}
    assert again.process.schedule == schedule
    assert again.process.space == process.space
    x = torch.tensor([[0, 1, 1], [1, 0, 0]])
    t = torch.tensor([0.2, 0.7])
    torch.testing.assert_close(again.log_score(x, t), model.log_score(x, t), rtol=1e-12, atol=0)
    torch.testing.assert_close(again.process.row(x, t * 0, t), process.row(x, t * 0, t), rtol=1e-14, atol=1e-300)


def test_a_foreign_network_needs_its_model(tmp_path):
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Parameter(torch.randn(3))
            self.tied = self.table

        def forward(self, x, t):
            return self.table.expand(*x.shape, 3)

    process = tiny().process
    model = ddm.X0(Own(), process)
    ddm.save(tmp_path / "own.ckpt", model)
    with pytest.raises(ValueError, match="network are not the core's: build it and pass model="):
        ddm.load(tmp_path / "own.ckpt")
    again = ddm.load(tmp_path / "own.ckpt", model=ddm.X0(Own(), process))
    assert torch.equal(again.network.table, model.network.table)
    with pytest.raises(ValueError, match="do not fit the model"):
        ddm.load(tmp_path / "own.ckpt", model=tiny())


def test_load_gives_the_average_and_the_settings(tmp_path):
    result = train(tiny(), checkpoint=tmp_path / "run.ckpt", ema=0.9, seed=4)
    loaded = ddm.load(tmp_path / "run.ckpt")
    assert torch.equal(weights(loaded), weights(result.model))
    assert (loaded.meta["step"], loaded.meta["seed"], loaded.meta["lr"]) == (12, 4, 0.01)
    assert not loaded.training


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def damaged(path, how):
    whole = path.read_bytes()
    if how == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "one byte":
        path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("not a checkpoint")
    elif how == "pickle":
        path.write_bytes(pickle.dumps(Trap()))
    elif how == "torch":
        torch.save({"model": Trap()}, path)
    elif how == "foreign":
        save_file({"a": torch.zeros(2)}, path)
    elif how == "later":
        save_file({"a": torch.zeros(2)}, path, {"ddm_pyro": json.dumps({"format": 99, "digest": ""})})
    elif how == "no json":
        save_file({"a": torch.zeros(2)}, path, {"ddm_pyro": "{"})


@pytest.mark.parametrize(
    "how", ["truncated", "one byte", "empty", "text", "pickle", "torch", "foreign", "later", "no json"]
)
def test_damaged_files_are_refused_and_left_alone(tmp_path, how):
    path = tmp_path / "run.ckpt"
    train(tiny(), steps=2, checkpoint=path)
    damaged(path, how)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"run\.ckpt (is|has)"):
        ddm.load(path)
    with pytest.raises(ValueError, match=r"run\.ckpt (is|has)"):
        train(tiny(), checkpoint=path)
    assert path.read_bytes() == before


def test_files_of_the_wrong_kind(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no checkpoint at"):
        ddm.load(tmp_path / "none.ckpt")
    ddm.save(tmp_path / "model.ckpt", tiny())
    with pytest.raises(ValueError, match="without training state"):
        train(tiny(), checkpoint=tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match="is no checkpoint"):
        ddm.load(tmp_path)
    with pytest.raises(ValueError, match="plain JSON values"):
        ddm.save(tmp_path / "other.ckpt", tiny(), note=object())
    with pytest.raises(TypeError, match="must be a Parameterization"):
        ddm.save(tmp_path / "other.ckpt", tiny().network)
    assert not (tmp_path / "other.ckpt").exists()


@pytest.mark.parametrize("network", [networks.HollowMLP, networks.HollowTransformer])
def test_hollow_models_come_back(tmp_path, network):
    process = tiny(rate=rates.Uniform(3)).process
    model = ddm.LeaveOneOut(network.for_process(process, width=8, depth=1), process)
    torch.nn.init.normal_(model.network.head.weight)
    ddm.save(tmp_path / "model.ckpt", model)
    again = ddm.load(tmp_path / "model.ckpt")
    assert again.is_hollow
    x, t = torch.tensor([[0, 1, 1], [1, 0, 0]]), torch.tensor([0.2, 0.7])
    assert torch.equal(again.conditionals(x, t), model.conditionals(x, t))
