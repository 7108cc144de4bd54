from __future__ import annotations

import pytest
import torch

from ddm_pyro import X0, ForwardProcess, Score, rates, schedules
from ddm_pyro.networks import MLP, HollowMLP, HollowTransformer, Transformer

BUILD = [
    lambda **kw: MLP(**{"width": 8, "depth": 1, **kw}),
    lambda **kw: Transformer(**{"width": 8, "depth": 1, "heads": 2, **kw}),
]
HOLLOW = [
    lambda **kw: HollowMLP(**{"width": 8, "depth": 1, **kw}),
    lambda **kw: HollowTransformer(**{"width": 8, "depth": 2, "heads": 2, **kw}),
]
ALL = BUILD + HOLLOW


def awake(network):
    """All that starts at zero made random, so that nothing hides."""
    torch.manual_seed(5)
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return network


@pytest.mark.parametrize("build", ALL)
@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
@pytest.mark.parametrize("length", [1, 4])
def test_any_batch_shape_is_the_same_rows(build, batch, length):
    net = awake(build(num_symbols=5, length=length, out=4)).double()
    x = torch.randint(0, 5, (*batch, length))
    t = torch.rand(batch, dtype=torch.float64)
    out = net(x, t)
    assert out.shape == (*batch, length, 4)
    rows = torch.stack([net(a, b) for a, b in zip(x.reshape(-1, length), t.reshape(-1), strict=True)])
    torch.testing.assert_close(out.reshape(rows.shape), rows)
    torch.testing.assert_close(net.head(net.trunk(x, t)), out)


@pytest.mark.parametrize("build", BUILD)
def test_every_position_sees_every_token_and_the_time(build):
    net = awake(build(num_symbols=5, length=4)).double()
    x, t = torch.tensor([[0, 1, 2, 3]]), torch.tensor([0.3], dtype=torch.float64)
    out = net(x, t)
    for position in range(4):
        other = x.clone()
        other[0, position] = 4
        assert bool(((net(other, t) - out).abs().amax(-1) > 1e-9).all())
    assert bool(((net(x, t + 0.01) - out).abs().amax(-1) > 1e-9).all())
    assert not torch.allclose(net(x.flip(-1), t), out.flip(-2))


@pytest.mark.parametrize("build", HOLLOW)
@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_hollow_position_sees_all_tokens_but_its_own(build, length):
    net = awake(build(num_symbols=4, length=length)).double()
    assert net.is_hollow
    torch.manual_seed(1)
    x, t = torch.randint(0, 4, (3, length)), torch.rand(3, dtype=torch.float64)
    out = net(x, t)
    for position, token in [(k, v) for k in range(length) for v in range(4)]:
        other = x.clone()
        other[:, position] = token
        change = (net(other, t) - out).abs().amax(-1)
        assert bool((change[:, position] == 0).all())
        swapped = other[:, position] != x[:, position]
        rest = torch.arange(length) != position
        assert bool((change[swapped][:, rest] > 1e-9).all())
    assert bool(((net(x, t + 0.01) - out).abs().amax(-1) > 1e-9).all())


@pytest.mark.parametrize("build", HOLLOW)
def test_a_hollow_gradient_is_zero_at_its_own_token(build):
    net = awake(build(num_symbols=4, length=3)).double()
    x, t = torch.tensor([[0, 1, 2]]), torch.tensor([0.4], dtype=torch.float64)
    kept = {}
    net.embed.register_forward_hook(lambda module, given, found: kept.update(tokens=found.retain_grad() or found))
    out = net(x, t)
    for position in range(3):
        (gradient,) = torch.autograd.grad(out[0, position].square().sum(), kept["tokens"], retain_graph=True)
        assert bool((gradient[0, position] == 0).all())
        assert all(bool(gradient[0, k].any()) for k in range(3) if k != position)


@pytest.mark.parametrize("build", ALL)
def test_starts_at_the_uniform_law_and_the_score_one(build):
    process = ForwardProcess(rates.Uniform(3), schedules.Linear(), length=2)
    net = build(num_symbols=3, length=2)
    x, t = torch.tensor([[0, 2]]), torch.tensor([0.5])
    torch.testing.assert_close(X0(net, process).x0_log_probs(x, t).exp(), torch.full((1, 2, 3), 1 / 3))
    assert bool((Score(net, process).log_score(x, t) == 0).all())


@pytest.mark.parametrize("cls", [MLP, Transformer, HollowMLP, HollowTransformer])
def test_for_process_sizes(cls):
    masked = ForwardProcess([rates.Masked(2), rates.Masked(5)], schedules.Linear())
    net = cls.for_process(masked, width=8)
    assert (net.config["num_symbols"], net.config["length"], net.config["out"]) == (6, 2, 5)
    assert cls.for_process(masked, "score", width=8).config["out"] == 6
    again = cls(**net.config)
    again.load_state_dict(net.state_dict())
    x, t = torch.tensor([[5, 4]]), torch.tensor([0.5])
    assert torch.equal(again(x, t), net(x, t))
    with pytest.raises(ValueError, match="head='rate' must be"):
        cls.for_process(masked, "rate")


@pytest.mark.parametrize("build", ALL)
def test_labels_condition_and_follow_rows(build):
    net = awake(build(num_symbols=3, length=2, classes=4))
    x, t = torch.zeros(3, 2, dtype=torch.int64), torch.full((3,), 0.5)
    label = torch.tensor([0, 1, 3])
    out = net(x, t, label=label)
    assert not torch.allclose(out[0], out[1])
    assert not torch.allclose(net(x, t)[0], out[0])
    process = ForwardProcess(rates.Uniform(3), schedules.Linear(), length=2)
    model = X0(net, process).bind(label=label)
    index = torch.tensor([2, 0])
    torch.testing.assert_close(model.rows(index).x0_log_probs(x[index], t[index]), model.x0_log_probs(x, t)[index])
    with pytest.raises(ValueError, match="no classes"):
        build(num_symbols=3, length=2)(x, t, label=label)


@pytest.mark.parametrize("build", ALL)
def test_every_parameter_is_used(build):
    net = awake(build(num_symbols=3, length=2, classes=2))
    net(torch.tensor([[0, 1]]), torch.tensor([0.5]), label=torch.tensor([1])).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())


@pytest.mark.parametrize("build", ALL)
def test_traces_without_looking_at_values(build):
    net = awake(build(num_symbols=3, length=2))
    x, t = torch.tensor([[0, 1], [2, 2]]), torch.tensor([0.5, 0.1])
    exported = torch.export.export(net, (x, t)).module()
    torch.testing.assert_close(exported(x.flip(0), t), net(x.flip(0), t))


def test_bad_sizes_are_quoted():
    with pytest.raises(ValueError, match="width=0"):
        MLP(num_symbols=3, length=2, width=0)
    with pytest.raises(ValueError, match=r"depth=1\.5"):
        Transformer(num_symbols=3, length=2, depth=1.5)
    for cls in (Transformer, HollowTransformer):
        with pytest.raises(ValueError, match="width=10 must be a multiple of heads=4"):
            cls(num_symbols=3, length=2, width=10)
