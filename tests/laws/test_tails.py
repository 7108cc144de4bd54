"""Rare tokens at V = 50,258 come out as often as they should: |z| < 4.3 over a million token draws and more.

A float32 cumulative sum, or float32 Gumbel noise, loses tails of mass 1e-4 at this size. The rare choice is the same
one, made again and again: few rows, drawn many times, so that a bias of the tail adds up.
"""

from __future__ import annotations

import math

import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro import random
from ddm_pyro.distributions import FactorizedCategorical, JumpLaw, inverse_cdf
from ddm_pyro.samplers import Ancestral, Euler, FirstHitting

V = 50258
HEAD = 8
#: Token draws a test, in chunks that keep a (rows, V) table under 100 MB.
DRAWS, CHUNK = 2**20, 2**11
TAILS = pytest.mark.parametrize("mass", [1e-3, 1e-4])


def law(mass, dtype=torch.float32):
    """Most mass on a few head tokens, ``mass`` spread evenly over all the others."""
    p = torch.full((V,), mass / (V - HEAD), dtype=torch.float64)
    p[:HEAD] = (1 - mass) * torch.arange(1, HEAD + 1) / (HEAD * (HEAD + 1) / 2)
    return p.to(dtype)


def assert_tail(tokens, p, draws=DRAWS):
    """z of the count of tail draws, and of their upper half, against p's own float64 masses."""
    p = p.double() / p.double().sum()
    assert tokens.numel() >= draws
    for low in (HEAD, (V + HEAD) // 2):
        mean = tokens.numel() * float(p[low:].sum())
        z = (int((tokens >= low).sum()) - mean) / math.sqrt(mean)
        assert abs(z) < 4.3, f"z = {z:.2f} past token {low}"


@TAILS
def test_inverse_cdf(mass):
    p = law(mass)
    with random.indexed(1, range(DRAWS // CHUNK)):
        u = random.uniform((DRAWS // CHUNK, CHUNK))
    assert_tail(torch.cat([inverse_cdf(p, row) for row in u]), p)


def test_inverse_cdf_reads_a_grid_of_uniforms_to_the_last_token():
    """Evenly spaced u: the counts are the probabilities, up to one each."""
    p = law(1e-4)
    u = (torch.arange(2**21, dtype=torch.float64) + 0.5) / 2**21
    tokens = torch.cat([inverse_cdf(p, part) for part in u[-(2**12) :].split(512)])
    # Of the last 2^12 slots about 210 lie in the tail, in order, ending within a slot of the last token.
    expected = 2**21 * 1e-4
    assert abs(int((tokens >= HEAD).sum()) - expected) <= 1 + 1e-6 * 2**21
    assert bool((tokens.diff() >= 0).all())
    assert int(tokens[-1]) > V - 1 - (V / expected)


def first_uniform(p, token):
    """The smallest u that draws ``token`` or a later one, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        past = int(inverse_cdf(p, torch.tensor(middle, dtype=torch.float64))) >= token
        low, high = (low, middle) if past else (middle, high)
    return high


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("token", [1, HEAD - 1, HEAD, 254, 255, 256, 257, 30000, V - 2])
def test_every_token_owns_a_slice_of_its_probability(token, dtype):
    """Also the last of a block that holds nearly all mass, where rounding of the block's sum could end up."""
    p = law(1e-3, dtype)
    expected = float(p[token].double() / p.double().sum())
    found = first_uniform(p, token + 1) - first_uniform(p, token)
    assert abs(found / expected - 1) < 2e-6


@TAILS
def test_factorized_categorical(mass):
    p = law(mass)
    categorical = FactorizedCategorical(p.expand(2, V))
    torch.manual_seed(3)
    tokens = torch.cat([categorical.sample((CHUNK // 2,)).reshape(-1) for _ in range(DRAWS // CHUNK)])
    assert_tail(tokens, p)


@TAILS
def test_jump_law(mass):
    """A jump of small probability to a token of small probability: one uniform decides both."""
    p = law(mass)
    x = torch.full((2,), V)
    jumps = JumpLaw(x, torch.full((2,), 0.9, dtype=torch.float64), p.expand(2, V), num_symbols=V + 1)
    torch.manual_seed(4)
    tokens = torch.cat([jumps.sample((CHUNK // 2,)).reshape(-1) for _ in range(9 * DRAWS // CHUNK // 8)])
    jumped = tokens[tokens < V]
    assert abs(len(jumped) / len(tokens) - 0.9) < 4.3 * math.sqrt(0.09 / len(tokens))
    assert_tail(jumped, p)


class Tailed(ddm.Parameterization):
    """What a network with these float32 logits says of every mask, normalized once: a million draws repeat it."""

    time_free = True

    def __init__(self, p, process):
        super().__init__(process)
        self.log_p = torch.log_softmax(p.log().float(), -1)

    def x0_log_probs(self, x, t, *, at=None):
        return self.log_p.expand(*(x.shape if at is None else at.shape), V)


SAMPLERS = {"planned": FirstHitting(64), "grid": Ancestral(), "step": [Euler(), Euler()]}


@pytest.mark.parametrize(
    ("name", "mass", "draws"),
    [
        pytest.param("planned", 1e-4, DRAWS, marks=pytest.mark.slow),
        pytest.param("grid", 1e-3, DRAWS // 4, marks=pytest.mark.slow),
        pytest.param("step", 1e-3, DRAWS // 8, marks=pytest.mark.slow),
        ("planned", 1e-2, 2**14),
        ("step", 1e-2, 2**13),
    ],
)
def test_masked_samplers(name, mass, draws):
    p = law(mass)
    model = Tailed(p, ddm.ForwardProcess(ddm.rates.Masked(V), ddm.schedules.Linear(), length=64))
    steps = {"steps": 1} if name != "planned" else {}
    x = ddm.sample(SAMPLERS[name], model, draws // 64, seed=5, batch_size=8, **steps)
    assert_tail(x, model.log_p.double().exp(), draws)
