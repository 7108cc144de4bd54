"""Uniforms keyed by (seed, global index): no batch, order, or global generator enters."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from ddm_pyro.random import derive_seed, indexed, reseed, uniform


def draw(seed, rows, shapes=((3,), (2, 2)), step=None):
    with indexed(seed, rows):
        if step is not None:
            reseed(step)
        return [uniform((len(rows), *shape)) for shape in shapes]


@given(st.integers(0, 2000), st.integers(1, 700), st.integers(0, 700))
def test_a_row_depends_on_its_own_index_alone(first, count, cut):
    cut = min(cut, count)
    whole = draw(5, range(first, first + count))
    for low, high in ((first, first + cut), (first + cut, first + count)):
        if low < high:
            part = draw(5, range(low, high))
            for a, b in zip(whole, part, strict=True):
                assert torch.equal(a[low - first : high - first], b)


def test_seeds_draws_steps_and_blocks_differ():
    first, second = draw(0, range(300), shapes=((4,), (4,)))
    assert not torch.equal(first, second)
    assert not torch.equal(first, draw(1, range(300), shapes=((4,),))[0])
    assert not torch.equal(first, draw(0, range(300), shapes=((4,),), step=1)[0])
    assert not torch.equal(first[:44], first[256:])


def test_a_step_starts_afresh_whatever_was_drawn_before():
    with indexed(0, range(8)):
        reseed(3)
        a = uniform((8, 2))
    with indexed(0, range(8)):
        for _ in range(5):
            uniform((8, 7))
        reseed(3)
        assert torch.equal(a, uniform((8, 2)))


def test_uniform_in_law():
    u = torch.cat([x.reshape(-1) for x in draw(11, range(5000), shapes=((10,), (10,)))])
    assert u.dtype == torch.float64
    assert float(u.min()) >= 0.0
    assert float(u.max()) < 1.0
    assert kstest(u.numpy(), "uniform").pvalue > 2e-5


@pytest.mark.parametrize("seed", [0, None])
def test_the_global_generator_is_left_as_found_when_seeded(seed):
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    with indexed(seed, range(10)):
        uniform((10, 2))
        torch.rand(4)
    assert torch.equal(torch.rand(3), expected) == (seed is not None)


def test_without_a_seed_the_global_generator_is_used():
    torch.manual_seed(1)
    with indexed(None, range(4)):
        a = uniform((4, 2))
    torch.manual_seed(1)
    assert torch.equal(a, torch.rand(4, 2, dtype=torch.float64))


def test_plain_torch_draws_inside_are_seeded_too():
    def global_draw(seed):
        with indexed(seed, range(4)):
            return torch.rand(3)

    assert torch.equal(global_draw(2), global_draw(2))
    assert not torch.equal(global_draw(2), global_draw(3))


def test_the_stream_ends_with_its_block_even_after_an_error():
    def fail():
        with indexed(0, range(4)):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    torch.manual_seed(7)
    a = uniform((4, 2))
    torch.manual_seed(7)
    assert torch.equal(a, torch.rand(4, 2, dtype=torch.float64))


def test_derived_seeds_are_stable_across_processes():
    # Written down once: blake2b of the repr, never Python's salted hash.
    import hashlib

    expected = int.from_bytes(hashlib.blake2b(b"(0, 'noise')", digest_size=8).digest(), "big") >> 1
    assert derive_seed(0, "noise") == expected
    assert len({derive_seed(a, b) for a in range(30) for b in range(30)}) == 900


def test_a_seed_does_not_reach_the_generators_of_other_devices():
    tracker = torch.cuda._lazy_seed_tracker
    before = tracker.manual_seed_all_cb, tracker.manual_seed_cb
    with indexed(3, range(4)):
        reseed(2)
        uniform((4, 2))
    assert (tracker.manual_seed_all_cb, tracker.manual_seed_cb) == before
