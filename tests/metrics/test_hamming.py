from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddm_pyro.metrics import hamming
from ddm_pyro.metrics.hamming import hamming_distances, hamming_histogram


@given(
    st.integers(1, 7),
    st.integers(1, 9),
    st.sampled_from([1, 2, 63, 64, 65, 130]),
    st.sampled_from([1, 2, 3, 4, 5, 33, 50_257]),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_bit_planes_count_what_a_direct_comparison_counts(n, m, length, symbols, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, symbols, (n, length)), rng.integers(0, symbols, (m, length))
    direct = (x[:, None] != y[None]).sum(-1)
    expected = np.bincount(direct.ravel(), minlength=length + 1)
    assert (hamming_distances(x, y) == direct).all()
    assert hamming_histogram(torch.from_numpy(x), torch.from_numpy(y)).tolist() == expected.tolist()
    assert hamming._tiled_histogram(torch.from_numpy(x), torch.from_numpy(y)).tolist() == expected.tolist()


def test_tiles_cover_every_pair_once(monkeypatch):
    monkeypatch.setattr(hamming, "TILE_PAIRS", 5000)
    monkeypatch.setattr(hamming, "TILE_COMPARISONS", 50_000)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 3, (57, 5)), rng.integers(0, 3, (4111, 5))
    expected = np.bincount((x[:, None] != y[None]).sum(-1).ravel(), minlength=6).tolist()
    assert hamming_histogram(torch.from_numpy(x), torch.from_numpy(y)).tolist() == expected
    assert hamming._tiled_histogram(torch.from_numpy(x), torch.from_numpy(y)).tolist() == expected


def test_histogram_refuses_what_is_no_table_of_tokens():
    with pytest.raises(ValueError, match="with one L"):
        hamming_histogram(torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="negative"):
        hamming_histogram(torch.tensor([[-1]]), torch.tensor([[0]]))
