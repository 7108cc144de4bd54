"""Enumeration, mixed-radix indices, masks on unequal alphabets, and what a space refuses."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddm_pyro.spaces import StateSpace, describe_size

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def listed(sizes, mask):
    vocab = max(sizes)
    return [list(x) for x in itertools.product(*([*range(size), *([vocab] if mask else [])] for size in sizes))]


@given(SIZES, st.booleans())
def test_states_are_listed_first_token_most_significant(sizes, mask):
    space = StateSpace(tuple(sizes), len(sizes), mask=mask)
    states = space.enumerate()
    assert states.tolist() == listed(sizes, mask)
    assert space.num_states == len(states)
    assert torch.equal(space.index(states), torch.arange(len(states)))
    assert bool(space.contains(states).all())


@given(SIZES, st.booleans(), st.data())
def test_index_and_unindex_are_inverse_on_any_batch(sizes, mask, data):
    space = StateSpace(tuple(sizes), len(sizes), mask=mask)
    index = torch.randint(
        space.num_states, (2, 3), generator=torch.Generator().manual_seed(data.draw(st.integers(0, 9)))
    )
    x = space.unindex(index)
    assert x.shape == (2, 3, len(sizes))
    assert torch.equal(space.index(x), index)


@given(SIZES, st.booleans())
def test_contains_is_exactly_the_list(sizes, mask):
    space = StateSpace(tuple(sizes), len(sizes), mask=mask)
    box = torch.tensor(list(itertools.product(range(-1, max(sizes) + 2), repeat=len(sizes))))
    inside = [x for x, yes in zip(box.tolist(), space.contains(box).tolist(), strict=True) if yes]
    assert inside == sorted(listed(sizes, mask))


def test_one_size_and_equal_sizes_are_one_space():
    assert StateSpace(3, 2) == StateSpace((3, 3), 2) == StateSpace([3, 3], 2)
    assert hash(StateSpace(3, 2)) == hash(StateSpace((3, 3), 2))
    assert StateSpace(3, 2) != StateSpace(3, 2, mask=True)


def test_with_and_without_masks():
    space = StateSpace((2, 3), 2)
    assert space.masked == StateSpace((2, 3), 2, mask=3)
    assert space.masked.data == space
    assert space.masked.radices == (3, 4)
    assert space.masked.num_symbols == 4
    assert space.masked.is_mask(torch.tensor([2, 3])).tolist() == [False, True]
    assert not space.is_mask(torch.tensor([-1, 2, 3])).any() or space.mask is None


def test_the_natural_numbers():
    space = StateSpace(None, 2)
    assert space.is_countable
    assert space.contains(torch.tensor([[0, 10**15], [-1, 0]])).tolist() == [True, False]
    assert space.box(4) == StateSpace(5, 2)
    for use in (space.enumerate, lambda: space.num_states, lambda: space.radices):
        with pytest.raises(ValueError, match="natural numbers"):
            use()
    with pytest.raises(ValueError, match="negative"):
        space.check(torch.tensor([0, -1]))
    with pytest.raises(ValueError, match="no mask"):
        StateSpace(None, 2, mask=True)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (((2, 3), 3), "2 positions but length=3"),
        ((0, 3), "sizes=0"),
        (((2, 0), 2), "at least 1"),
        ((3, 0), "length=0"),
        ((3, 2, 2), "mask=2"),
        ((3, 2, 4), "mask=4"),
    ],
)
def test_impossible_spaces_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        StateSpace(*arguments)


def test_bad_tokens_are_quoted():
    space = StateSpace(3, 2)
    with pytest.raises(ValueError, match=r"\[1, 5\]"):
        space.check(torch.tensor([[0, 1], [1, 5]]))
    with pytest.raises(ValueError, match="mask id"):
        space.check(torch.tensor([0, 3]), "data")
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        space.check(torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="fractions"):
        space.check(torch.tensor([0.5, 1.0]))
    with pytest.raises(ValueError, match="fractions"):
        space.check(torch.tensor([float("nan"), 1.0]))
    assert space.check(torch.tensor([1.0, 2.0])).dtype == torch.int64
    assert space.masked.check(torch.tensor([3, 2])).tolist() == [3, 2]


def test_spaces_too_large_to_list_are_named():
    with pytest.raises(ValueError, match=r"about 10\^601"):
        StateSpace(50257, 128).enumerate()
    assert describe_size(StateSpace(2, 5)) == "32"
    assert StateSpace(50257, 128).num_states == 50257**128
