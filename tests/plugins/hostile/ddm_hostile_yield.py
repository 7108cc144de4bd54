"""Yields its specs, so that its body would never run."""

from ddm_pyro.plugins import RateSpec, hookimpl


@hookimpl
def register_rates(register):
    yield RateSpec("never", factory="fractions:Fraction")
