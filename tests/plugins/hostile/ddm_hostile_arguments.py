"""Asks its hook for an argument that the hook does not have."""

from ddm_pyro.plugins import hookimpl


@hookimpl
def register_rates(register, schedule):
    raise AssertionError("never called")
