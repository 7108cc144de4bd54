"""Samples for the eye: counts as pictures, rows of tables as lines."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import ddm_pyro as ddm
from ddm_pyro.report.examples import image_of, texts_of


def pixels(rows: torch.Tensor, target: object, black: int | None = None) -> list[list[int]]:
    image = image_of(rows, target, black)
    assert image is not None
    return image[1:2, 1:].tolist()  # the first line below the gap


def test_counts_are_scaled_by_their_largest_and_no_alphabet_is_asked_for() -> None:
    counts = SimpleNamespace(space=ddm.StateSpace(None, 2), image_shape=(1, 2))
    rows = torch.tensor([[0, 4]])
    assert pixels(rows, counts) == [[255, 0, 200]]
    assert pixels(torch.tensor([[2, 9]]), counts, black=4) == [[128, 0, 200]]  # beyond the scale is black
    assert pixels(torch.zeros(1, 2, dtype=torch.int64), counts) == [[255, 255, 200]]


def test_tokens_are_scaled_by_their_alphabet_and_masks_are_grey() -> None:
    target = SimpleNamespace(space=ddm.StateSpace(5, 2), image_shape=(1, 2))
    assert pixels(torch.tensor([[2, 5]]), target) == [[128, 200, 200]]


@pytest.mark.parametrize("shape", [None, (2, 2), (1, 1, 2)])
def test_sequences_that_are_no_images(shape: tuple[int, ...] | None) -> None:
    assert image_of(torch.tensor([[0, 1]]), SimpleNamespace(space=ddm.StateSpace(2, 2), image_shape=shape)) is None


@pytest.mark.parametrize(
    ("decoded", "lines"),
    [
        (["ab", "ba"], ["ab", "ba"]),
        ([["f", "8"], ["m", "31"]], ["f, 8", "m, 31"]),
        ({"x": 0, "y": 1}, ["0 1", "1 0"]),  # a Pyro program's values by site are no lines
        (["one line"], ["0 1", "1 0"]),
        (ValueError("cannot read"), ["0 1", "1 0"]),
    ],
)
def test_texts(decoded: object, lines: list[str]) -> None:
    def decode(_: torch.Tensor) -> object:
        if isinstance(decoded, Exception):
            raise decoded
        return decoded

    assert texts_of(torch.tensor([[0, 1], [1, 0]]), SimpleNamespace(decode=decode)) == lines
