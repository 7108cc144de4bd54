from __future__ import annotations

import numpy as np
import pytest
import torch

from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets import Motif


def test_the_tata_box():
    motif = Motif()
    assert motif.space == StateSpace(4, 7)
    assert motif.counts.sum(0).tolist() == [389.0] * 7  # sites in the collection, each read once a position
    x = torch.tensor([3, 0, 3, 0, 0, 0, 0])
    assert motif.decode(x) == ["TATAAAA"]
    product = np.prod([309, 352, 374, 354, 268, 360, 222], dtype=float) / 389.0**7
    assert motif.log_prob(x).exp().item() == pytest.approx(product)
    assert motif.log_prob(torch.tensor([3, 1, 3, 0, 0, 0, 0])) == -torch.inf  # C is never second
    assert motif.tabular().pmf.sum().item() == pytest.approx(1.0)
    assert float(motif.tabular().entropy()) == pytest.approx(float(motif.entropy()))


def test_the_binding_site_of_ctcf():
    motif = Motif("MA0139.1")
    assert motif.space == StateSpace(4, 19)
    assert motif.decode(motif.probs.argmax(-1)) == ["TGGCCACCAGGGGGCGCTA"]
    assert motif.decode(torch.full((2, 19), 4)) == ["N" * 19] * 2


def test_counts_of_ones_own():
    motif = Motif([[1, 0], [1, 0], [0, 3], [0, 1]], pseudocount=1)
    np.testing.assert_allclose(motif.probs, [[2 / 6, 2 / 6, 1 / 6, 1 / 6], [1 / 8, 1 / 8, 4 / 8, 2 / 8]])
    assert motif.expand((2,)).sample((3,)).shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("counts", "settings", "says"),
    [
        ("MA0001.1", {}, "no shipped motif; there are MA0108.3"),
        ([[1, 2]], {}, "shape"),
        ([[1], [2], [-1], [0]], {}, "holds -1"),
        ([[1, 0]] * 4, {}, "none at position 1"),
        ([[1]] * 4, {"pseudocount": -1}, "pseudocount=-1"),
    ],
)
def test_refusals(counts, settings, says):
    with pytest.raises(ValueError, match=says):
        Motif(counts, **settings)
