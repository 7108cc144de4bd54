"""A nearest-neighbour rate matrix for ddm_pyro."""

from ddm_pyro.plugins import RateSpec, hookimpl


@hookimpl
def register_rates(register):
    """Tell ddm_pyro about the ring. This file is imported at start-up, so heavy imports are left to the factory."""
    register(RateSpec("ring", factory="ddm_pyro_ring:ring", summary="jumps to either neighbour on a ring"))


def ring(vocab_size: int):
    """The law itself: a token goes to either neighbour at rate 1/2."""
    import torch

    from ddm_pyro.rates import Dense

    if vocab_size < 3:
        raise ValueError(f"vocab_size={vocab_size} must be at least 3; a ring has two neighbours for each token.")
    right = torch.eye(vocab_size, dtype=torch.float64).roll(1, dims=1)
    return Dense((right + right.T) / 2 - torch.eye(vocab_size, dtype=torch.float64))
