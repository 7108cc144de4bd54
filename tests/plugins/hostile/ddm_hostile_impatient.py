"""Builds a component while plugins are still being loaded."""

from ddm_pyro.plugins import create

create("rates", "core/uniform")
