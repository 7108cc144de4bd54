"""The 8 x 8 handwritten digits: 1797 real images of 17 grey levels, shipped with the package."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from ddm_pyro.random import derive_seed
from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets.checks import fraction
from ddm_pyro.targets.data_set import DataSet


class Digits(DataSet):
    """Handwritten digits, L = 64 pixels in reading order, tokens 0 (white) to 16.

    A pixel counts the ink in a 4 x 4 block of a 32 x 32 scan. Data: Optical Recognition of Handwritten Digits,
    E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, CC BY 4.0 (its test part, as scikit-learn ships it).
    Rows are ordered by a hash of their index, so the split is the same on every machine and has no seed; the last
    ``test_fraction`` of them are the test rows.

    Attributes:
        train, test: (n, 64) int64.
        train_labels, test_labels: (n,) int64, the digit.
        image_shape: (8, 8).

    Raises:
        ValueError: a test fraction that leaves a split empty, an unknown split.

    Example:
        >>> digits = Digits()
        >>> digits.train.shape, digits.test.shape, digits.space.sizes
        (torch.Size([1438, 64]), torch.Size([359, 64]), 17)
    """

    image_shape = (8, 8)

    def __init__(self, *, test_fraction: float = 0.2, split: str = "train", validate_args: bool | None = None) -> None:
        pixels, labels = _load()
        order = torch.tensor(sorted(range(len(pixels)), key=lambda row: derive_seed("digits", row)))
        kept = len(order) - round(fraction(test_fraction, "test_fraction") * len(order))
        (train, test), names = order.tensor_split([kept]), labels.to(order.device)
        self.train_labels, self.test_labels = names[train], names[test]
        pixels = pixels.to(order.device)
        space = StateSpace(17, 64)
        super().__init__(space, train=pixels[train], test=pixels[test], split=split, validate_args=validate_args)

    @property
    def labels(self) -> Tensor:
        """The digits of ``rows``."""
        return self.train_labels if self.split == "train" else self.test_labels


@cache
def _load() -> tuple[Tensor, Tensor]:
    with (
        files("ddm_pyro").joinpath("data/digits.npz").open("rb") as stream,
        np.load(stream, allow_pickle=False) as data,
    ):
        pixels, labels = (torch.from_numpy(data[name].astype(np.int64)) for name in ("pixels", "labels"))
    return pixels, labels
