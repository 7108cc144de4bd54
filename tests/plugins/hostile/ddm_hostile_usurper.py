"""Tries to take an id of the core."""

from ddm_pyro.plugins import SamplerSpec, hookimpl


@hookimpl
def register_samplers(register):
    register(SamplerSpec("core/euler", factory="fractions:Fraction"))
