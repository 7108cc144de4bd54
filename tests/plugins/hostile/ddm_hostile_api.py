"""Says at import that it needs a newer door."""

from ddm_pyro.plugins import hookimpl

ddm_pyro_api = (1, 99)


@hookimpl
def register_rates(register):
    raise AssertionError("never called")
