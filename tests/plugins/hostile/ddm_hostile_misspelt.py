"""Implements a hook that does not exist."""

from ddm_pyro.plugins import RateSpec, hookimpl


@hookimpl
def register_rate(register):
    register(RateSpec("never", factory="fractions:Fraction"))
