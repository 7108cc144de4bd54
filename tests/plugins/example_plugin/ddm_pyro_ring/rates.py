"""The law itself, imported when somebody builds it."""

import torch

from ddm_pyro.rates import Dense


def Ring(num_states: int) -> Dense:
    """Jump to either neighbour at rate 1/2 each."""
    if num_states < 3:
        raise ValueError(f"num_states={num_states} must be at least 3; a ring has two neighbours for each token.")
    right = torch.eye(num_states, dtype=torch.float64).roll(1, dims=1)
    return Dense((right + right.T) / 2 - torch.eye(num_states, dtype=torch.float64))
