"""The machine and the software a run was made with."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any

#: Distributions whose versions are written down.
RECORDED = ("ddm-pyro", "torch", "pyro-ppl", "numpy", "scipy", "pluggy", "joblib", "safetensors", "ortools")


def environment() -> dict[str, Any]:
    """Python, platform, processors and versions, as plain values.

    Example:
        >>> sorted(environment())[:3]
        ['cpus', 'machine', 'platform']
    """
    return {
        "python": sys.version.split()[0],
        "platform": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "versions": {name: version for name in RECORDED if (version := _version(name)) is not None},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
