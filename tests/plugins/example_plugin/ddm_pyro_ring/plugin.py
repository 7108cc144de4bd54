"""What ddm_pyro imports at start-up: names and factories, nothing else."""

from ddm_pyro.plugins import RateSpec, hookimpl


@hookimpl
def register_rates(register):
    """Tell ddm_pyro about the ring."""
    register(
        RateSpec(
            "ring",
            factory="ddm_pyro_ring.rates:Ring",
            version=1,
            summary="nearest neighbours on a ring",
            params={"num_states": "number of tokens on the ring"},
        )
    )
