"""Test ids that are the same in every process."""

import re


def name_of(value):
    """``str(value)`` without memory addresses, which differ between the workers of pytest-xdist."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))
