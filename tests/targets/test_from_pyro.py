"""Programs listed by ``from_pyro`` against densities written by hand and against Pyro's own enumeration."""

from __future__ import annotations

import math
from itertools import product

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate

import ddm_pyro as ddm
from ddm_pyro.targets import HiddenMarkov, PyroTarget, from_pyro
from ddm_pyro.targets.programs import NotBroadcast, Program


def mixed(y):
    """Every kind of finite site, in and out of plates, some given others."""
    weight = pyro.sample("weight", dist.Categorical(torch.tensor([0.2, 0.5, 0.3])))
    shape = pyro.sample("shape", dist.OneHotCategorical(torch.tensor([0.4, 0.6])))
    with pyro.plate("rows", 2):
        coin = pyro.sample("coin", dist.Bernoulli(0.3 + 0.2 * weight.double()))
        pair = pyro.sample("pair", dist.Bernoulli(torch.tensor([0.2, 0.6])).to_event(1))
        mean = coin + pair.sum(-1) * shape[..., 0] - 2 * pair[..., 0]
        pyro.sample("y", dist.Normal(mean, 0.7), obs=y)
    pyro.sample("count", dist.Binomial(2, torch.tensor(0.25)))


def test_a_program_with_every_kind_of_site():
    y = torch.tensor([0.3, 1.2])
    target = from_pyro(mixed, y)
    assert target.space.position_sizes == (3, 2, 2, 2, 2, 2, 2, 2, 3)
    assert isinstance(target, PyroTarget)
    total = torch.zeros((), dtype=torch.float64)
    log_joint = []
    for w, s, c0, c1, a0, a1, b0, b1, n in product(*(range(k) for k in target.space.position_sizes)):
        lp = math.log([0.2, 0.5, 0.3][w]) + math.log([0.4, 0.6][s])
        heads = 0.3 + 0.2 * w
        for c in (c0, c1):
            lp += math.log(heads if c else 1 - heads)
        for first, second in ((a0, a1), (b0, b1)):
            lp += math.log(0.2 if first else 0.8) + math.log(0.6 if second else 0.4)
        for c, first, second, value in ((c0, a0, a1, 0.3), (c1, b0, b1, 1.2)):
            mean = c + (first + second) * (s == 0) - 2 * first
            lp += -0.5 * ((value - mean) / 0.7) ** 2 - math.log(0.7 * math.sqrt(2 * math.pi))
        lp += math.log([0.5625, 0.375, 0.0625][n])
        log_joint.append(lp)
    joint = torch.tensor(log_joint, dtype=torch.float64)
    total = joint.logsumexp(0)
    assert target.log_evidence == pytest.approx(float(total), abs=1e-5)
    torch.testing.assert_close(target.pmf, (joint - total).exp(), atol=1e-6, rtol=1e-4)


KEPT = torch.tensor([True, True, False])
READ = torch.tensor([0.3, 1.2, -0.5])


def by_handler():
    with pyro.plate("n", 3), pyro.poutine.mask(mask=KEPT):
        x = pyro.sample("x", dist.Categorical(torch.tensor([0.2, 0.5, 0.3])))
        pyro.sample("y", dist.Normal(x.double(), 1.0), obs=READ)


def by_law():
    with pyro.plate("n", 3):
        x = pyro.sample("x", dist.Categorical(torch.tensor([0.2, 0.5, 0.3])).mask(KEPT))
        pyro.sample("y", dist.Normal(x.double(), 1.0).mask(KEPT), obs=READ)


def within_an_event():
    x = pyro.sample("x", dist.Categorical(torch.tensor([[0.2, 0.5, 0.3]] * 3)).mask(KEPT).to_event(1))
    pyro.sample("y", dist.Normal(x.double(), 1.0).mask(KEPT).to_event(1), obs=READ)


@pytest.mark.parametrize("mask", [True, False])
def test_a_scalar_mask(mask):
    def model():
        with pyro.poutine.mask(mask=mask):
            x = pyro.sample("x", dist.Bernoulli(0.3))
            pyro.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(1.0))

    densities = [p * math.exp(-0.5 * (1 - x) ** 2) / math.sqrt(2 * math.pi) for x, p in ((0, 0.7), (1, 0.3))]
    target = from_pyro(model)
    assert target.log_evidence == pytest.approx(math.log(sum(densities)) if mask else 0.0, abs=1e-6)


@pytest.mark.parametrize("model", [by_handler, by_law, within_an_event])
def test_masked_variables_are_none(model):
    p = torch.tensor([0.2, 0.5, 0.3]).double()
    likelihood = dist.Normal(torch.arange(3.0).double(), 1.0).log_prob(READ[:2].double().unsqueeze(-1)).exp()
    target = from_pyro(model)
    assert target.log_evidence == pytest.approx((likelihood @ p).log().sum().item(), abs=1e-5)
    each = p * likelihood / (likelihood @ p).unsqueeze(-1)
    expected = torch.einsum("a,b,c->abc", each[0], each[1], torch.full((3,), 1 / 3).double()).reshape(-1)
    torch.testing.assert_close(target.pmf, expected, atol=1e-6, rtol=1e-5)


def test_scaled_sites():
    def subsampled():
        with pyro.plate("n", 4, subsample_size=2):
            pyro.sample("x", dist.Bernoulli(0.3))

    with pytest.raises(ValueError, match="Site 'x' is scaled by 2"):
        from_pyro(subsampled)
    with pytest.raises(ValueError, match=r"Site 'x' is scaled by 0\.5"):
        from_pyro(pyro.poutine.scale(lambda: pyro.sample("x", dist.Bernoulli(0.3)), scale=0.5))


def test_values_that_follow_another_site():
    def model():
        n = pyro.sample("n", dist.Categorical(torch.ones(4) / 4))
        pyro.sample("k", dist.Binomial(n.double(), torch.tensor(0.5).double()))

    for seed in range(5):
        pyro.set_rng_seed(seed)
        with pytest.raises(ValueError, match="values that site 'k' can take change from run to run"):
            from_pyro(model)


def test_values_and_tokens():
    target = from_pyro(mixed, torch.tensor([0.3, 1.2]))
    x = target.sample((4, 3))
    values = target.decode(x)
    shapes = {"weight": (4, 3), "shape": (4, 3, 2), "coin": (4, 3, 2), "pair": (4, 3, 2, 2), "count": (4, 3)}
    assert {name: tuple(value.shape) for name, value in values.items()} == shapes
    assert values["pair"].dtype == torch.float32
    assert bool((values["shape"].sum(-1) == 1).all())
    assert torch.equal(target.encode(values), x)
    with pytest.raises(ValueError, match="no 'coin'"):
        target.encode({name: value for name, value in values.items() if name != "coin"})
    with pytest.raises(ValueError, match=r"none of the site's 2: 0\.5"):
        target.encode({**values, "coin": values["coin"] * 0 + 0.5})


def test_evidence_agrees_with_enumeration_by_pyro():
    @config_enumerate
    def model():
        z = pyro.sample("z", dist.Categorical(torch.tensor([0.1, 0.6, 0.3])))
        for i in range(3):
            z = pyro.sample(f"z{i}", dist.Categorical(torch.eye(3)[z] * 2 + torch.tensor([0.1, 0.2, 0.7])))
            pyro.sample(f"y{i}", dist.Normal(z.float(), 1.0), obs=torch.tensor(0.4 * i))

    loss = TraceEnum_ELBO(max_plate_nesting=0).loss(model, lambda: None)
    assert from_pyro(model).log_evidence == pytest.approx(-loss, abs=1e-5)


def test_the_denoiser_is_the_conditional_of_the_program():
    target = from_pyro(mixed, torch.tensor([0.3, 1.2]))
    forward = ddm.ForwardProcess([ddm.rates.Masked(v) for v in target.space.position_sizes], ddm.schedules.Linear())
    mask = forward.space.mask
    x = torch.tensor([2, 0, 1, mask, mask, 1, 0, 1, mask])
    found = target.denoiser(forward).x0_log_probs(x, torch.tensor(0.5)).exp()
    table = target.pmf.reshape(target.space.position_sizes)[2, 0, 1, :, :, 1, 0, 1, :]
    table = table / table.sum()
    torch.testing.assert_close(found[3, :2], table.sum((1, 2)))
    torch.testing.assert_close(found[4, :2], table.sum((0, 2)))
    torch.testing.assert_close(found[8, :3], table.sum((0, 1)))


def branching(y):
    z = pyro.sample("z", dist.Bernoulli(0.3))
    mean = 1.0 if z else -2.0
    pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def careless(y):
    with pyro.plate("three", 3):
        coins = pyro.sample("coins", dist.Bernoulli(torch.tensor([0.2, 0.5, 0.9])))
    pyro.sample("y", dist.Normal(coins.sum(), 1.0), obs=y)


@pytest.mark.parametrize("model", [branching, careless])
def test_programs_that_do_not_broadcast_are_run_one_by_one(model):
    y = torch.tensor(0.5)
    target = from_pyro(model, y)
    evidence = {
        branching: 0.3 * math.exp(-0.125) + 0.7 * math.exp(-0.5 * 6.25),
        careless: sum(
            math.prod(p if c else 1 - p for p, c in zip((0.2, 0.5, 0.9), cs, strict=True))
            * math.exp(-0.5 * (0.5 - sum(cs)) ** 2)
            for cs in product((0, 1), repeat=3)
        ),
    }[model]
    assert target.log_evidence == pytest.approx(math.log(evidence / math.sqrt(2 * math.pi)), abs=1e-5)


def test_values_that_mix_are_noticed():
    program = Program(careless, (torch.tensor(0.5),))
    with pytest.raises(NotBroadcast, match="'y' does not broadcast"):
        program.check_broadcast({"coins": torch.tensor([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])}, ["y"], 2)


def loose():
    pyro.sample("x", dist.Bernoulli(torch.tensor([0.5, 0.5])))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: pyro.sample("x", dist.Normal(0.0, 1.0)), "'x' is continuous"),
        (lambda: pyro.sample("x", dist.Poisson(1.0)), "no finite list"),
        (lambda: pyro.sample("x", dist.Bernoulli(0.5), obs=torch.tensor(1.0)), "no latent site"),
        (lambda: pyro.sample("x", dist.Bernoulli(torch.full((40,), 0.5)).to_event(1)), r"about 10\^12"),
        (lambda: pyro.sample("x", dist.Binomial(torch.tensor([1.0, 2.0]), 0.5).to_event(1)), "differ between"),
        (loose, "no plate declares"),
    ],
)
def test_refusals(model, message):
    with pytest.raises(ValueError, match=message):
        from_pyro(model)


def test_impossible_observations():
    def model():
        x = pyro.sample("x", dist.Bernoulli(0.5))
        pyro.factor("never", torch.full_like(x, -torch.inf))

    with pytest.raises(ValueError, match="probability zero"):
        from_pyro(model)


def test_subsampled_plates_keep_their_rows():
    data = torch.arange(6.0)

    def model():
        x = pyro.sample("x", dist.Bernoulli(0.5))
        with pyro.plate("rows", 6, subsample_size=2) as rows:
            pyro.sample("y", dist.Normal(x, 1.0), obs=data[rows])

    assert float(from_pyro(model).pmf.sum()) == pytest.approx(1.0)


def test_laws_of_this_package_are_sites():
    chain = ddm.targets.MarkovChain([0.2, 0.8], [[0.5, 0.5], [0.1, 0.9]], 3)

    def model():
        with pyro.plate("two", 2):
            pyro.sample("x", chain)

    pmf = chain.tabular().pmf
    torch.testing.assert_close(from_pyro(model).pmf, torch.outer(pmf, pmf).reshape(-1))


def test_a_discrete_hmm_is_a_chain():
    def model():
        pyro.sample(
            "x",
            dist.DiscreteHMM(torch.zeros(3), torch.eye(3), dist.Categorical(logits=torch.eye(3, 4)), duration=300),
        )

    target = from_pyro(model)
    assert isinstance(target, HiddenMarkov)
    assert target.space.length == 300
