"""Registers a good rate, then raises in another hook: nothing of it may stay."""

from ddm_pyro.plugins import RateSpec, hookimpl


@hookimpl
def register_rates(register):
    register(RateSpec("good", factory="fractions:Fraction"))


@hookimpl
def register_samplers(register):
    raise KeyError("weights.bin")
