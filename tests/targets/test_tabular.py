from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from exactness import assert_draws_follow, assert_is_the_law
from hypothesis import given, settings
from hypothesis import strategies as st

from ddm_pyro import distributions
from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets import Product, RandomTabular, Tabular, random_tabular


def law_of(sizes, seed, zeros=0.3):
    rng = np.random.default_rng(seed)
    weights = rng.gamma(0.7, size=int(np.prod(sizes)))
    weights[rng.random(weights.shape) < zeros] = 0.0
    weights[rng.integers(len(weights))] = 1.0
    return oracles.normalized(weights)


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5), seed=st.integers(0, 10**6))
def test_exact_on_any_alphabets(sizes, seed):
    pmf = law_of(sizes, seed)
    assert_is_the_law(Tabular(pmf.reshape(sizes)), pmf, seed)


def test_the_hash_law_has_its_published_entropy():
    target = Tabular(oracles.hash_pmf(3, 4))
    np.testing.assert_allclose(target.pmf[:3].numpy(), [0.02087556, 0.00871504, 0.01702473], atol=5e-9)
    assert float(target.entropy()) == pytest.approx(4.268502690142, abs=5e-13)


def test_a_list_keeps_double_precision():
    assert Tabular([[0.1, 0.2], [0.3, 0.4]]).pmf.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=1e-15)


def test_listed_atoms_on_a_space_too_large_for_a_pmf():
    rng = np.random.default_rng(3)
    atoms = rng.integers(0, 17, size=(40, 64))
    probs = oracles.normalized(rng.gamma(1.0, size=40))
    target = Tabular(distributions.Tabular(atoms=atoms, probs=probs, space=StateSpace(17, 64)))
    evidence = rng.normal(size=(3, 64, 17))
    evidence[2] = -np.inf
    evidence[1, 5] = -np.inf
    evidence[1, 5, atoms[7, 5]] = 0.0
    log_weights = np.log(probs) + evidence[:, np.arange(64), atoms].sum(-1)
    expected = np.full((3, 64, 17), 1 / 17)
    for row in range(2):
        weights = np.exp(log_weights[row] - log_weights[row].max())
        for position in range(64):
            expected[row, position] = np.bincount(atoms[:, position], weights, 17) / weights.sum()
    np.testing.assert_allclose(target.posterior(torch.from_numpy(evidence)).exp().numpy(), expected, atol=1e-12)


def test_evidence_that_the_law_excludes_does_not_hide_the_rest():
    # The likelier left half (e^0) has probability zero; the possible one has evidence e^-2000.
    target = Tabular([[0.0, 0.0], [0.25, 0.75]])
    evidence = torch.tensor([[[0.0, -2000.0], [0.0, 0.0]]], dtype=torch.float64)
    np.testing.assert_allclose(target.posterior(evidence).exp()[0].numpy(), [[0, 1], [0.25, 0.75]], atol=1e-15)


def test_posterior_keeps_any_batch_shape():
    target = Tabular(oracles.hash_pmf(3, 2))
    assert target.posterior(torch.zeros(2, 3)).shape == (2, 3)
    assert target.posterior(torch.zeros(4, 1, 2, 3)).shape == (4, 1, 2, 3)
    assert target.posterior(torch.zeros(0, 2, 3)).shape == (0, 2, 3)


def test_every_masked_context_of_a_large_law_in_bounded_time():
    # 15625 contexts of 4096 states; a masked context is evidence 0, a seen token is a point.
    pmf = oracles.normalized(np.random.default_rng(0).gamma(1.0, size=4096))
    target = Tabular(pmf.reshape((4,) * 6))
    contexts = torch.from_numpy(oracles.sequences((5,) * 6))
    evidence = torch.where(contexts.unsqueeze(-1) == torch.arange(4), 0.0, -torch.inf).double()
    evidence[contexts == 4] = 0.0
    found = target.posterior(evidence)
    assert found.shape == (15625, 6, 4)
    for row in (0, 777, 15000, 15624):
        expected = oracles.posterior(pmf, evidence[row].numpy(), (4,) * 6)
        np.testing.assert_allclose(found[row].exp().numpy(), expected, atol=1e-12)


def test_draws():
    pmf = law_of((2, 3, 4), 5)
    torch.manual_seed(0)
    assert_draws_follow(Tabular(pmf.reshape(2, 3, 4)).sample((20000,)), pmf, (2, 3, 4))


@pytest.mark.parametrize(
    ("pmf", "space", "words"),
    [
        ([0.5, 0.6], None, "sums to 1.1"),
        ([0.5, -0.5, 1.0], None, "-0.5"),
        ([float("nan"), 1.0], None, "nan"),
        ([0.5, 0.5], StateSpace(3, 1), "shape"),
        ([[0.5, 0.5, 0.0]] * 1, StateSpace(2, 1, mask=True), "shape|masks"),
        ([0.5, 0.25, 0.25], StateSpace(2, 1, mask=True), "without masks"),
    ],
)
def test_what_is_no_law_is_refused(pmf, space, words):
    with pytest.raises(ValueError, match=words):
        Tabular(pmf, space=space)


def test_wrong_evidence_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 4\).*\(\.\.\., 2, 3\)"):
        Tabular(oracles.hash_pmf(3, 2)).posterior(torch.zeros(2, 4))


def test_random_laws_are_named_by_their_seed_and_leave_the_generators_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again, other = (RandomTabular(num_states=3, length=3, seed=seed, concentration=0.5) for seed in (4, 4, 5))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.pmf, again.pmf)
    assert not torch.allclose(first.pmf, other.pmf)
    assert first.space == StateSpace(3, 3)


def test_random_laws_follow_the_dirichlet():
    # Var p_i = (1/N)(1 - 1/N) / (N c + 1); 400 seeds.
    draws = torch.stack([random_tabular((2, 2), seed=seed, concentration=2.0).pmf for seed in range(400)])
    assert draws.mean(0).tolist() == pytest.approx([0.25] * 4, abs=4.3 * (0.25 * 0.75 / 9 / 400) ** 0.5)
    assert draws.var().item() == pytest.approx(0.25 * 0.75 / 9, rel=0.2)


def test_random_laws_with_zeros_and_tiny_concentration():
    assert int((random_tabular((2, 3, 4), seed=0, zeros=0.5).pmf == 0).sum()) == 12
    assert int((random_tabular((2,), seed=0, zeros=0.99).pmf == 0).sum()) == 1
    assert float(random_tabular((3, 3), seed=0, concentration=1e-4).pmf.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"concentration": 0.0}, "concentration=0.0"),
        ({"concentration": float("inf")}, "concentration=inf"),
        ({"zeros": 1.0}, "zeros=1.0"),
        ({"length": 0}, "length=0"),
        ({"num_states": 2.5}, "num_states=2.5"),
        ({"num_states": 10, "length": 12}, "about 10"),
    ],
)
def test_random_laws_refuse_nonsense(arguments, words):
    with pytest.raises(ValueError, match=words):
        RandomTabular(**arguments)


def test_product_is_the_product():
    vectors = [[0.1, 0.9], [0.2, 0.0, 0.8], [1.0]]
    pmf = np.einsum("i,j,k->ijk", *vectors)
    target = Product(vectors)
    assert_is_the_law(target, pmf)
    torch.manual_seed(2)
    assert_draws_follow(target.sample((20000,)), pmf, (2, 3, 1))


@pytest.mark.parametrize("make", [lambda: Product([[0.1, 0.9], [1.0]]), lambda: random_tabular((2, 1), seed=0)])
def test_evidence_on_padding_is_ignored_whatever_it_holds(make):
    target = make()
    evidence = torch.zeros(1, 2, 2, dtype=torch.float64)
    clean = target.posterior(evidence)
    evidence[0, 1, 1] = float("nan")
    found = target.posterior(evidence)
    assert torch.equal(found, clean)
    assert found[0, 1].tolist() == [0.0, -float("inf")]


def test_product_of_one_row_and_of_a_tensor():
    assert_is_the_law(Product([[0.25, 0.75]]), [0.25, 0.75])
    rows = torch.tensor([[0.25, 0.75], [0.6, 0.4]], dtype=torch.float64)
    assert_is_the_law(Product(rows), np.outer(*rows.numpy()))


@pytest.mark.parametrize(
    ("probs", "words"),
    [
        ([[0.5, 0.6]], r"probs\[0\] sums to 1.1"),
        ([[1.0], [0.5, -0.5, 1.0]], r"probs\[1\] has the entry -0.5"),
        ([], "at least one position"),
        (torch.ones(3) / 3, "shape"),
        ([[[1.0]]], "one vector"),
    ],
)
def test_product_refuses(probs, words):
    with pytest.raises(ValueError, match=words):
        Product(probs)
