"""One thread for the arithmetic of a cell: sums in floating point depend on how many threads share them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import scipy.linalg
import torch

#: The libraries whose threads are meant; imported here, so that none of them starts in the middle of a cell.
LIBRARIES = (np, scipy.linalg, torch)
#: Names under which builds of OpenBLAS export the same two functions; NumPy's and SciPy's wheels have their own.
_PREFIXES = ("scipy_openblas", "openblas")
_SUFFIXES = ("64_", "", "_64", "64")

Pool = tuple[Callable[[], int], Callable[[int], None]]


@contextmanager
def one_thread() -> Iterator[None]:
    """torch and OpenBLAS on one thread, restored afterwards.

    Where no OpenBLAS can be found (another system, another library) NumPy keeps its threads, and last digits may
    depend on their number.

    Example:
        >>> before = torch.get_num_threads()
        >>> with one_thread():
        ...     torch.get_num_threads(), {get() for get, _ in pools()} <= {1}
        (1, True)
        >>> torch.get_num_threads() == before
        True
    """
    with ExitStack() as stack:
        for get, put in ((torch.get_num_threads, torch.set_num_threads), *pools()):
            stack.callback(put, get())
            put(1)
        yield


def pools() -> tuple[Pool, ...]:
    """(number of threads, set it) of every OpenBLAS that this process has loaded."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    files = dict.fromkeys(line.split(maxsplit=5)[5] for line in lines if "openblas" in line.rpartition("/")[2])
    return tuple(pool for file in files if (pool := _pool(file)) is not None)


def _pool(file: str) -> Pool | None:
    try:
        library = ctypes.CDLL(file)  # already loaded: this only looks it up
    except OSError:
        return None
    for prefix in _PREFIXES:
        for suffix in _SUFFIXES:
            get = getattr(library, f"{prefix}_get_num_threads{suffix}", None)
            put = getattr(library, f"{prefix}_set_num_threads{suffix}", None)
            if get is not None and put is not None:
                get.restype, put.argtypes, put.restype = ctypes.c_int, [ctypes.c_int], None
                return get, put
    return None
