from __future__ import annotations

import sys

import numpy as np
import pytest
import scipy.linalg
import torch

from ddm_pyro.evaluation.threads import one_thread, pools


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="OpenBLAS is looked for through /proc")
def test_the_blas_of_numpy_is_found_and_put_back():
    scipy.linalg.blas.ddot(np.ones(2), np.ones(2))
    if "openblas" not in str(np.show_config(mode="dicts")).lower():
        pytest.skip("this NumPy has another BLAS")
    found = pools()
    assert found
    before = [get() for get, _ in found]
    found[0][1](2)
    try:
        with one_thread():
            assert [get() for get, _ in pools()] == [1] * len(found)
            assert torch.get_num_threads() == 1
        assert found[0][0]() == 2
    finally:
        found[0][1](before[0])


def test_threads_are_put_back_after_an_exception():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert torch.get_num_threads() == before
