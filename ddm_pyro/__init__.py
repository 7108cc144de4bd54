"""Discrete diffusion models as first-class citizens of Pyro."""
