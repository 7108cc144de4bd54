"""A nearest-neighbour rate matrix for ddm_pyro."""
