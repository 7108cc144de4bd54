"""What Pyro asks of a distribution: shapes, expansion, support, plates, pickling, inference."""

from __future__ import annotations

import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch

from ddm_pyro import ForwardProcess
from ddm_pyro.paths import BridgePath, CTMCPath, GridPath
from ddm_pyro.rates import Dense, Masked, Uniform
from ddm_pyro.schedules import Constant, Linear

TWO = [[-1.3, 1.3], [0.4, -0.4]]
BATCHES = [(), (1,), (2, 3)]


def laws(batch):
    clocked = ForwardProcess([Dense(TWO), Uniform(3)], Constant(1.5))
    x0, xt = torch.zeros(*batch, 2, dtype=torch.int64), torch.tensor([1, 2]).expand(*batch, 2)
    return {
        "path": clocked.path(x0),
        "uniformization": CTMCPath(clocked, x0, 0.1, 0.6, max_jumps=25, method="uniformization"),
        "bridge": BridgePath(clocked, x0, xt, 0.2, 0.7),
        "grid": clocked.path(x0, times=[0.1, 0.5, 0.6]),
        "masked": ForwardProcess(Masked(3), Linear(), 2).path(x0),
    }


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", list(laws(())))
def test_shapes(batch, name) -> None:
    law = laws(batch)[name]
    assert law.batch_shape == batch
    assert law.event_dim == 2
    for sample_shape in ((), (4,), (2, 1)):
        x = law.sample(sample_shape)
        assert x.shape == (*sample_shape, *batch, *law.event_shape)
        score = law.log_prob(x)
        assert score.shape == (*sample_shape, *batch)
        assert score.dtype == torch.float64
        assert bool(score.isfinite().all())
        assert law.support.check(x).shape == score.shape
        assert bool(law.support.check(x).all())
    assert law.support.event_dim == 2


@pytest.mark.parametrize("name", list(laws(())))
def test_expansion(name) -> None:
    law = laws((1, 3))[name]
    wide = law.expand((5, 2, 3))
    assert (wide.batch_shape, wide.event_shape) == ((5, 2, 3), law.event_shape)
    x = wide.sample()
    assert torch.equal(wide.log_prob(x), law.log_prob(x))
    assert law.batch_shape == (1, 3)
    assert type(wide) is type(law)
    with pytest.raises(ValueError, match="does not expand"):
        law.expand((1, 4))
    assert law.to_event(1).event_dim == 3
    assert law.mask(torch.zeros(1, 3, dtype=torch.bool)).log_prob(x).abs().sum() == 0


@pytest.mark.parametrize("name", list(laws(())))
def test_pickling(name) -> None:
    law = laws((2,))[name]
    copy = pickle.loads(pickle.dumps(law))
    x = copy.sample()
    assert torch.equal(copy.log_prob(x), law.log_prob(x))


@pytest.mark.parametrize("name", list(laws(())))
def test_a_site_in_a_plate(name) -> None:
    law = laws(())[name]

    def model():
        with pyro.plate("rows", 5):
            return pyro.sample("path", law)

    trace = pyro.poutine.trace(model).get_trace()
    trace.compute_log_prob()
    assert trace.nodes["path"]["value"].shape == (5, *law.event_shape)
    assert trace.nodes["path"]["log_prob"].shape == (5,)


def test_static_shapes() -> None:
    assert GridPath.infer_shapes(x0=(4, 2), times=(3,)) == ((4,), (3, 2))
    with pytest.raises(NotImplementedError):
        CTMCPath.infer_shapes(x0=(4, 2))  # the shape of x0 does not tell max_jumps


def test_intervals_of_their_own_in_every_row() -> None:
    process = ForwardProcess([Dense(TWO), Uniform(3)], Constant(1.5))
    s, t = torch.tensor([0.0, 0.3]), torch.tensor([[0.5], [0.9]])
    law = CTMCPath(process, torch.tensor([0, 2]), s, t, max_jumps=30)
    assert law.batch_shape == (2, 2)
    x = law.sample((50,))
    real = x[..., 1] >= 0
    assert bool(((x[..., 0] >= s.double().unsqueeze(-1)) | ~real).all())
    assert bool(((x[..., 0] <= t.double().unsqueeze(-1)) | ~real).all())
    alone = CTMCPath(process, torch.tensor([0, 2]), s[1], t[0, 0], max_jumps=30)
    torch.testing.assert_close(law.log_prob(x)[:, 0, 1], alone.log_prob(x[:, 0, 1]), rtol=0, atol=1e-12)


def test_data_start_without_masks_and_states_may_hold_them() -> None:
    process = ForwardProcess(Masked(3), Linear(), 2)
    with pytest.raises(ValueError, match="mask id"):
        process.path(torch.tensor([0, 3]))
    assert CTMCPath(process, torch.tensor([3, 3])).log_prob(torch.tensor([[float("inf"), -1, -1]] * 2)) == 0
    with pytest.raises(ValueError, match="outside"):
        CTMCPath(process, torch.tensor([0, 4]))


def test_single_precision_is_read() -> None:
    law = laws(())["path"]
    x = law.sample((7,))
    torch.testing.assert_close(law.log_prob(x.float()), law.log_prob(x), rtol=1e-5, atol=1e-5)


def test_a_rate_matrix_is_learned_by_svi() -> None:
    truth = torch.tensor([[0.0, 1.0, 0.5], [0.2, 0.0, 0.7], [2.0, 0.1, 0.0]]).double()
    x0 = torch.arange(600).remainder(3).unsqueeze(-1)
    torch.manual_seed(0)
    data = ForwardProcess(Dense.from_rates(truth), Constant(3.0), 1).path(x0, max_jumps=40).sample()

    def model():
        with pyro.plate("from", 3, dim=-2), pyro.plate("to", 3, dim=-1):
            rates = pyro.sample("rates", dist.Gamma(torch.ones(3, 3).double(), 1.0))
        process = ForwardProcess(Dense.from_rates(rates), Constant(3.0), 1)
        with pyro.plate("rows", len(x0)):
            pyro.sample("paths", process.path(x0, max_jumps=40), obs=data)

    pyro.clear_param_store()
    guide = pyro.infer.autoguide.AutoNormal(model)
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), pyro.infer.Trace_ELBO())
    for _ in range(150):
        svi.step()
    found = guide.median()["rates"]
    off = ~torch.eye(3, dtype=torch.bool)
    # About 600 jumps or more a row: standard errors below 0.1 of the larger rates.
    torch.testing.assert_close(found[off], truth[off], rtol=0.2, atol=0.05)
    pyro.clear_param_store()
