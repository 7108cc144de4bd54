"""What ddm_pyro imports at start-up: names and factories, nothing else."""

from __future__ import annotations

from collections.abc import Callable

from ddm_pyro.plugins import BoundSpec, MetricSpec, ParameterizationSpec, RateSpec, SamplerSpec, TargetSpec, hookimpl
from ddm_pyro.plugins.specs import Spec

HOME = "ddm_pyro_lattice"
Register = Callable[[Spec], None]


@hookimpl
def register_rates(register: Register) -> None:
    """Chains of one coordinate."""
    register(
        RateSpec(
            "cyclic-walk",
            factory=f"{HOME}.rates:CyclicWalk",
            summary="random walk on Z_m, one step up or down",
            test_params=[{"vocab_size": 5}, {"vocab_size": 2, "rate": 3.0}],
        )
    )
    register(
        RateSpec(
            "immigration-death",
            factory=f"{HOME}.rates:ImmigrationDeath",
            summary="births at a constant rate, deaths in proportion, on the natural numbers or a box",
            reference="Kelly, Reversibility and Stochastic Networks, 1979, section 1.3 (M/M/infinity)",
            test_params=[{"birth": 2.0, "vocab_size": 6}],
        )
    )


@hookimpl
def register_parameterizations(register: Register) -> None:
    """Scores with two moves a coordinate."""
    register(
        ParameterizationSpec(
            "exact-poisson-score",
            factory=f"{HOME}.scores:ExactPoissonScore",
            summary="the exact score of a Poisson mixture under immigration-death",
        )
    )
    register(
        ParameterizationSpec(
            "score", factory=f"{HOME}.scores:LatticeScore", summary="a learned score with two moves a coordinate"
        )
    )


@hookimpl
def register_samplers(register: Register) -> None:
    """Reverse steps."""
    register(
        SamplerSpec(
            "leap",
            factory=f"{HOME}.leap:Leap",
            summary="Poisson numbers of steps up and down at rates held over a step",
        )
    )


@hookimpl
def register_targets(register: Register) -> None:
    """Laws of counts."""
    home = f"{HOME}.targets"
    register(TargetSpec("poisson-mixture", factory=f"{home}:PoissonMixture", summary="dependent counts on N^d"))
    register(
        TargetSpec(
            "boxed-poisson-mixture",
            factory=f"{home}:BoxedPoissonMixture",
            summary="a Poisson mixture on the counts up to a maximum, exact posteriors",
        )
    )
    register(TargetSpec("two-modes", factory=f"{home}:TwoModes", summary="two bumps on the torus Z_m^2"))
    register(TargetSpec("digit-counts", factory=f"{home}:DigitCounts", summary="handwritten digits as counts on N^64"))


@hookimpl
def register_metrics(register: Register) -> None:
    """Distances."""
    register(
        MetricSpec(
            "w1",
            factory=f"{HOME}.wasserstein:LatticeWasserstein",
            summary="Wasserstein-1 with the number of lattice steps as cost",
        )
    )


@hookimpl
def register_bounds(register: Register) -> None:
    """Certificates."""
    register(
        BoundSpec(
            "path-kl",
            factory=f"{HOME}.bounds:PathKL",
            summary="KL of the paths of a leap on Z_m^d: start + score error + discretization, exactly; then Pinsker",
        )
    )
