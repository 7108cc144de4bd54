"""Gives one name to two components."""

from ddm_pyro.plugins import RateSpec, hookimpl


@hookimpl
def register_rates(register):
    register(RateSpec("same", factory="fractions:Fraction"))
    register(RateSpec("other", factory="fractions:Fraction", aliases=("same",)))
