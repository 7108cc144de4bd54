"""Registers well, but its factories fail in every way."""

from ddm_pyro.plugins import SamplerSpec, hookimpl


@hookimpl
def register_samplers(register):
    register(SamplerSpec("missing-module", factory="ddm_hostile_nowhere:Sampler", requires=("gpu",)))
    register(SamplerSpec("missing-attribute", factory="ddm_hostile_factory:Nothing"))
    register(SamplerSpec("not-callable", factory="ddm_hostile_factory:CONSTANT"))
    register(SamplerSpec("raises", factory="ddm_hostile_factory:raises"))
    register(SamplerSpec("exits", factory="ddm_hostile_factory:exits"))
    register(SamplerSpec("works", factory="ddm_hostile_factory:works", params={"steps": "how many"}))


CONSTANT = 3


def raises(width=1):
    raise ZeroDivisionError(f"width={width}")


def exits():
    raise SystemExit(4)


def works(steps, order=2):
    return steps, order
