"""Diffusion on lattices for ddm_pyro: walks on Z_m^d and N^d, where a coordinate moves one step up or down."""
