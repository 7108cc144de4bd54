"""Forgets the decorator."""

from ddm_pyro.plugins import RateSpec


def register_rates(register):
    register(RateSpec("never", factory="fractions:Fraction"))
