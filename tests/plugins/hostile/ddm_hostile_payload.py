"""Registers something that is not a spec of the hook's kind."""

from ddm_pyro.plugins import LossSpec, hookimpl


@hookimpl
def register_metrics(register):
    register(LossSpec("hinge", factory="fractions:Fraction"))
