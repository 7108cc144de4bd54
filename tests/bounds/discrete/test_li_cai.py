"""core/li-cai to the digits printed: kl_tv.md (a), K = 4, J = 1, free boundary, unless said otherwise."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import oracles
import pytest
import torch
from discrete_worlds import Mixed, Tilted

import ddm_pyro as ddm
from ddm_pyro.bounds import KernelKL, LiCai, NotApplicable, PlanKL
from ddm_pyro.bounds.discrete.li_cai import random_schedule, theorem1, theorem2, total_mutual_information
from ddm_pyro.bounds.discrete.patterns import information_curve
from ddm_pyro.planning import balanced_sizes, optimal_sizes, reveal_error
from ddm_pyro.rates import Masked
from ddm_pyro.samplers import Ancestral, FirstHitting, KUnmask
from ddm_pyro.schedules import Cosine, Linear


def agrees(value, printed):
    """Whether a value is the printed number, to half a unit of its last digit."""
    exponent = Decimal(printed).as_tuple().exponent
    assert abs(value - float(printed)) <= 0.5000001 * 10.0**exponent, f"{value!r} is not {printed}"
    return True


def potts(length=32, num_states=4, coupling=1.0, **more):
    return ddm.targets.PottsChain(num_states=num_states, length=length, coupling=coupling, **more)


def ask(target, sizes, bound=None, model=None, **more):
    process = ddm.ForwardProcess(Masked(target.space.vocab_size), Linear(), length=target.space.length)
    model = target.denoiser(process) if model is None else model(target.denoiser(process))
    bound = LiCai() if bound is None else bound
    return bound(target=target, model=model, sampler=KUnmask(tuple(sizes)), **more)


BALANCED = """
8 1 0.825950 1.384542
8 2 0.344392 0.593375
8 4 0.113185 0.197792
8 8 0 0
16 1 1.769893 -
16 2 0.804669 -
16 4 0.340271 -
16 8 0.112658 -
16 16 0 -
32 1 3.657779 6.74999
32 2 1.725419 3.26612
32 4 0.794767 1.52419
32 8 0.338377 0.653224
32 16 0.112419 0.217741
32 32 0 0
256 8 3.50010 6.93036
256 16 1.68813 3.35340
256 32 0.786517 1.56492
256 64 0.336805 0.67068
256 128 0.112223 0.22356
"""


@pytest.mark.parametrize(
    "line", [line.split() for line in BALANCED.strip().splitlines()], ids=lambda line: " ".join(line[:2])
)
def test_balanced_schedules(line):
    length, steps, kl, bound = int(line[0]), int(line[1]), line[2], line[3]
    found = ask(potts(length), balanced_sizes(length, steps))
    assert agrees(found.terms["kl"], kl)
    assert found.terms["eps_train"] == 0
    if bound != "-":
        assert agrees(found.terms["theorem1"], bound)
    assert found.terms["kl"] <= found.terms["theorem1"]
    assert found.value <= math.sqrt(float(kl) / 2) + 1e-6


def test_the_information_of_the_chain():
    target = potts()
    found = ask(target, [4] * 8)
    assert agrees(found.terms["total_mutual_information"], "6.967726498953")
    curve = information_curve(target)
    for n, printed in ((0, "1.38629436"), (1, "1.37814895"), (15, "1.27250921"), (31, "1.16855291")):
        assert agrees(float(curve[n]), printed)
    assert agrees(float(target.total_correlation()), "3.657778874206")
    assert agrees(total_mutual_information(potts(256).information_curve()), "57.2314")
    printed = "1.38629436 1.35410266 1.32337033 1.29400029 1.26590480 1.23900414 1.21322561 1.18850263"
    for value, word in zip(potts(8).information_curve().tolist(), printed.split(), strict=True):
        assert agrees(value, word)


COUPLINGS = [(0.25, "0.391735", "0.0189577"), (0.5, "1.65918", "0.0803384"), (1, "6.96773", "0.338377")]
COUPLINGS += [(1.5, "14.9954", "0.733326"), (2, "23.5244", "1.16637"), (3, "35.825", "1.89809")]


@pytest.mark.parametrize(("coupling", "information", "kl"), COUPLINGS)
def test_coupling_sweep(coupling, information, kl):
    found = ask(potts(coupling=float(coupling)), [4] * 8)
    assert agrees(found.terms["total_mutual_information"], information)
    assert agrees(found.terms["kl"], kl)
    assert 0.516 - 5e-4 <= found.terms["kl"] / found.terms["theorem1"] <= 0.565 + 5e-4


UNBALANCED = [
    ([1] * 24 + [8], "0.175644"),
    ([8] + [1] * 24, "0.223407"),
    ([1, 2, 3, 4, 5, 7, 10], "0.580344"),
    ([10, 7, 5, 4, 3, 2, 1], "0.639908"),
    ([1, 1, 2, 4, 8, 16], "1.05371"),
    ([16, 8, 4, 2, 1, 1], "1.16623"),
    ([7, 7, 6, 6, 6], "0.620377"),
    ([6, 6, 6, 7, 7], "0.611354"),
    ([4, 4, 4, 5, 5, 5, 5], "0.405003"),
    ([15, 17], "1.72343"),
]


@pytest.mark.parametrize(("sizes", "kl"), UNBALANCED)
def test_unbalanced_schedules(sizes, kl):
    found = ask(potts(), sizes)
    assert agrees(found.terms["kl"], kl)
    assert found.terms["optimal"] <= found.terms["discretization"] + 1e-12
    if max(sizes) == 8:
        assert agrees(found.terms["theorem1"], "1.52419")


def test_optimal_sizes():
    curve = potts().information_curve()
    assert list(optimal_sizes(curve, 7)) == [4, 4, 4, 5, 5, 5, 5]
    assert agrees(ask(potts(), balanced_sizes(32, 2)).terms["optimal"], "1.72343")


def test_theorem_2():
    found = ask(potts(), [4] * 8)
    assert agrees(found.terms["kl"], "0.338377")
    assert agrees(found.terms["theorem2_upper"], "0.719497")
    assert agrees(found.terms["theorem2_lower"], "0.0899372")
    assert agrees(random_schedule(potts().information_curve(), 4), "0.257183")


@pytest.mark.parametrize("coupling", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("largest", [1, 2, 4, 8, 16, 32])
def test_theorem_2_holds(coupling, largest):
    curve = potts(coupling=coupling).information_curve()
    upper, lower, safe = theorem2(curve, largest)
    error = reveal_error(curve, [largest] * (32 // largest))
    assert error <= safe + 1e-12
    # The printed constant fails for one block: a finding, not a wish.
    assert (error <= upper + 1e-12) == (largest < 32)
    if largest > 1:
        assert lower - 1e-12 <= random_schedule(curve, largest) <= safe
    assert theorem2(curve, 3) is None
    assert "theorem2_upper" not in ask(potts(), [3] * 10 + [2]).terms


@pytest.mark.parametrize(("length", "largest"), [(8, 2), (8, 4), (16, 16), (12, 4)])
def test_the_safe_form_holds_for_codes_and_they_attain_it(length, largest):
    """A code whose tokens are known from d others has the curve 1, .., 1, 0, .., 0: all curves mix those."""
    ratios, printed = [], []
    for d in range(1, length):
        curve = torch.tensor([1.0] * d + [0.0] * (length - d))
        upper, _, safe = theorem2(curve, largest)
        sizes = [[largest] * (length // largest), [1, *[largest] * (length // largest - 1), largest - 1]]
        errors = [reveal_error(curve, some) for some in sizes]
        assert max(errors) <= safe + 1e-12
        ratios.append(max(errors) / safe)
        printed.append(max(errors) / upper)
    assert max(ratios) == pytest.approx(1.0)
    assert max(printed) > 1.0


def test_random_schedules_by_listing_them():
    curve = potts(6).information_curve()

    def mean(done):
        if sum(done) >= 6:
            return reveal_error(curve, [*done[:-1], 6 - sum(done[:-1])])
        return 0.5 * (mean([*done, 4]) + mean([*done, 2]))

    assert random_schedule(curve, 4) == pytest.approx(mean([]), abs=1e-13)


TRAINED = [(0.05, "0.00847655"), (0.1, "0.0334238"), (0.2, "0.130611"), (0.5, "0.788556")]


@pytest.mark.parametrize(("share", "printed"), TRAINED)
def test_a_diluted_predictor_costs_what_is_printed(share, printed):
    """eps_train at L = 32, where it is estimated, is that printed within its error; the limit lies above."""
    found = ask(potts(), [4] * 8, model=lambda exact: Mixed(exact, share), budget=8, seed=0)
    assert abs(found.terms["eps_train"] - float(printed)) < 4.3 * found.terms["stderr"]
    assert found.terms["stderr"] < 0.05 * float(printed)
    assert found.terms["kl"] == pytest.approx(found.terms["discretization"] + found.terms["eps_train"], abs=1e-12)
    assert found.terms["kl_limit"] > found.terms["kl"]
    assert agrees(found.terms["discretization"], "0.338377")


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("num_states", [2, 3, 4, 8, 16])
def test_vocabulary_sweep(num_states, periodic):
    printed = dict(
        zip(
            [2, 3, 4, 8, 16],
            ["0.310974", "0.357553", "0.348760", "0.259008", "0.158282"]
            if periodic
            else ["0.302251", "0.347127", "0.338377", "0.251059", "0.153364"],
            strict=True,
        )
    )
    assert agrees(ask(potts(num_states=num_states, periodic=periodic), [4] * 8).terms["kl"], printed[num_states])


def test_slopes_of_the_long_chain():
    steps = [8, 16, 32, 64]
    for coupling, printed in ((0.5, "-1.121"), (1.0, "-1.123"), (2.0, "-1.134")):
        kl = [ask(potts(256, coupling=coupling), balanced_sizes(256, t)).terms["kl"] for t in steps]
        slope = np.polyfit(np.log(steps), np.log(kl), 1)[0]
        assert agrees(slope, printed)


def test_marginal_divergence_is_smaller():
    target = potts(5, 3)
    found = ask(target, [2, 2, 1])
    assert agrees(found.terms["kl"], "0.09869")
    process = ddm.ForwardProcess(Masked(3), Linear(), length=5)
    law, pmf = ddm.push(KUnmask((2, 2, 1)), target.denoiser(process)).pmf, target.tabular().pmf
    assert agrees(float((pmf * (pmf.log() - law.log())).sum()), "0.02263")
    assert 0.5 * float((law - pmf).abs().sum()) <= found.value


@pytest.mark.parametrize("sizes", [(1, 2), (3,), (1, 1, 1), (2, 1)])
def test_any_law_by_brute_force(sizes):
    pmf = oracles.normalized(np.random.default_rng(3).gamma(0.5, size=(2, 4, 3)))
    target = ddm.targets.Tabular(torch.from_numpy(pmf))
    process = ddm.ForwardProcess([Masked(size) for size in pmf.shape], Cosine())
    given = {"target": target, "model": Tilted(target.denoiser(process), 0.8), "sampler": KUnmask(sizes)}
    found = LiCai()(**given)
    curve = oracles.information_curve(pmf)
    assert information_curve(target).tolist() == pytest.approx(curve.tolist(), abs=1e-12)
    known = [sum(sizes[:k]) for k in range(len(sizes))]
    direct = sum(s * curve[n] - curve[n : n + s].sum() for n, s in zip(known, sizes, strict=True))
    assert found.terms["discretization"] == pytest.approx(direct, abs=1e-12)
    assert found.terms["theorem1"] >= found.terms["kl"]
    assert found.terms["kl"] == pytest.approx(PlanKL()(**given).terms["kl"], abs=1e-12)
    assert found.value == PlanKL()(**given).value == KernelKL()(**given).value
    assert theorem1(curve, sizes) == pytest.approx(found.terms["theorem1"] - found.terms["eps_train"], abs=1e-12)


def test_independent_tokens_cost_nothing_at_any_size():
    target = ddm.targets.Product(torch.rand(300, 500, generator=torch.Generator().manual_seed(0)).double().softmax(-1))
    process = ddm.ForwardProcess(Masked(500), Linear(), length=300)
    found = LiCai()(target=target, model=target.denoiser(process), sampler=KUnmask((100, 200)))
    assert found.terms["theorem1"] == found.terms["total_mutual_information"] == 0.0
    # What rounding of the entropies may hide is added: nats of 1e-15 L^2 H.
    assert found.terms["kl"] < 1e-8
    small = ddm.targets.Product([[0.5, 0.5], [0.2, 0.3, 0.5]])
    listed = information_curve(ddm.targets.Tabular(small.tabular()))
    assert information_curve(small).tolist() == pytest.approx(listed.tolist(), abs=1e-13)


def test_refusals():
    target = potts(4)
    process = ddm.ForwardProcess(Masked(4), Linear(), length=4)
    with pytest.raises(NotApplicable, match="core/plan-kl"):
        LiCai()(target=target, model=target.denoiser(process), sampler=Ancestral(), steps=2)
    assert LiCai()(target=target, model=target.denoiser(process), sampler=FirstHitting()).value == 0.0
    with pytest.raises(ValueError, match="must be even"):
        random_schedule(target.information_curve(), 3)
