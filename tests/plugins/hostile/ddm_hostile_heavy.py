"""Imports torch at registration, and talks on stdout."""

import torch

from ddm_pyro.plugins import RateSpec, hookimpl

print("hello from", torch.__name__)


@hookimpl
def register_rates(register):
    register(RateSpec("heavy", factory="fractions:Fraction"))
