"""Wraps a registration hook."""

from ddm_pyro.plugins import hookimpl


@hookimpl(wrapper=True)
def register_rates(register):
    return (yield)
