"""Every kind of law the package hands out, built small, with a pmf listed by plain arithmetic where that is easy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.distributions import Distribution

import ddm_pyro as ddm
from ddm_pyro import distributions, rates, samplers, schedules, targets
from ddm_pyro.samplers.plans import Planned

GENERATOR = [[-1.0, 0.5, 0.5], [2.0, -3.0, 1.0], [0.0, 1.0, -1.0]]
TOKENS = torch.tensor([[0, 1], [1, 0], [2, 1]])
TIMES = torch.tensor([0.3, 0.5, 0.7])

PROCESSES: dict[str, Callable[[], ddm.ForwardProcess]] = {
    "uniform": lambda: ddm.ForwardProcess(rates.Uniform(3), schedules.Linear(), length=2),
    "masked": lambda: ddm.ForwardProcess(rates.Masked(3), schedules.Cosine(), length=2),
    "rank-one": lambda: ddm.ForwardProcess(rates.RankOne([0.2, 0.5, 0.3]), schedules.LogLinear(), length=2),
    "dense": lambda: ddm.ForwardProcess(rates.Dense(GENERATOR), schedules.Geometric(smax=2.0), length=2),
    "uniform columns": lambda: ddm.ForwardProcess([rates.Uniform(3), rates.Uniform(2)], schedules.Constant(3.0)),
    "masked columns": lambda: ddm.ForwardProcess([rates.Masked(3), rates.Masked(2)], schedules.Linear()),
    "mixed columns": lambda: ddm.ForwardProcess(
        [rates.Uniform(3), rates.Dense([[-1.0, 1.0], [2.0, -2.0]])], schedules.Linear()
    ),
}


@dataclass(frozen=True)
class Case:
    """A law, how to make it, and whether its tensors can be expanded and its values listed."""

    name: str
    make: Callable[[], Distribution]
    expands: bool = True

    def __repr__(self) -> str:
        return self.name


def forward_cases() -> list[Case]:
    cases = []
    for name, process in PROCESSES.items():
        cases += [
            Case(f"{name} prior", lambda p=process: p().prior()),
            Case(f"{name} marginal", lambda p=process: p().marginal(TOKENS[0], 0.4)),
            Case(f"{name} marginals", lambda p=process: p().marginal(TOKENS, TIMES)),
            Case(f"{name} marginals of one", lambda p=process: p().marginal(TOKENS[:1], TIMES[:1])),
            Case(f"{name} transitions", lambda p=process: p().transition(TOKENS.expand(2, 3, 2), TIMES / 2, TIMES)),
            Case(f"{name} bridges", lambda p=process: p().bridge(TOKENS, TOKENS, TIMES / 2, TIMES)),
        ]
    return cases


def exact(name: str) -> ddm.Exact:
    process = PROCESSES[name]()
    weights = torch.arange(1.0, 10.0, dtype=torch.float64).reshape(3, 3) ** 2
    return targets.Tabular(weights / weights.sum()).denoiser(process)


def step_cases() -> list[Case]:
    x = {"masked": torch.tensor([[0, 3], [3, 3], [2, 3]]), "uniform": TOKENS}
    t, s = torch.tensor(0.6, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
    steps = [
        ("masked", samplers.Ancestral()),
        ("uniform", samplers.Ancestral()),
        ("masked", samplers.Euler()),
        ("uniform", samplers.Euler()),
        ("dense", samplers.TauLeaping()),
        ("masked", samplers.FirstHitting()),
        ("masked", samplers.KUnmask((1, 1))),
        ("uniform", samplers.GibbsCorrector()),
    ]
    cases = [
        Case(
            f"step of {type(sampler).__name__}, {name}",
            lambda name=name, sampler=sampler: sampler.step(exact(name), x.get(name, TOKENS), t, s),
            expands=not isinstance(sampler, (samplers.FirstHitting, samplers.KUnmask, samplers.GibbsCorrector)),
        )
        for name, sampler in steps
    ]

    def planned() -> Distribution:
        process = PROCESSES["masked"]()
        plan = torch.tensor([[0, 0], [0, 1], [0, 0]])
        times = torch.tensor([0.6, 0.4, 0.0], dtype=torch.float64)
        return Planned.of(process, x["masked"], times, plan).step(exact("masked"), x["masked"], t, s)

    def order() -> Distribution:
        return samplers.FirstHitting().plan(PROCESSES["masked"](), x["masked"], torch.linspace(1, 0, 3))

    def hazard() -> Distribution:
        return samplers.Euler().plan(PROCESSES["masked"](), x["masked"], torch.linspace(1, 0, 3).double())

    return [
        *cases,
        Case("planned step", planned, expands=False),
        Case("plan of FirstHitting", order, expands=False),
        Case("plan of Euler", hazard),
    ]


def plain_cases() -> list[Case]:
    table = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    grid = {"beta": 0.3, "field": 0.1}
    return [
        Case("tabular", lambda: distributions.Tabular(table)),
        Case(
            "tabular atoms",
            lambda: distributions.Tabular(atoms=[[0, 1], [2, 2]], probs=[0.25, 0.75], space=ddm.StateSpace(3, 2)),
        ),
        Case("samples", lambda: distributions.Samples(TOKENS, ddm.StateSpace(3, 2))),
        Case("categorical", lambda: distributions.FactorizedCategorical(torch.tensor([[[0.2, 0.8], [1.0, 0.0]]] * 3))),
        Case("target tabular", lambda: targets.Tabular(table)),
        Case("target product", lambda: targets.Product([[0.2, 0.8], [0.5, 0.3, 0.2]])),
        Case("target chain", lambda: targets.MarkovChain([0.2, 0.8], [[0.5, 0.5], [0.1, 0.9]], length=3)),
        Case(
            "target hidden markov",
            lambda: targets.HiddenMarkov([0.2, 0.8], [[0.5, 0.5], [0.1, 0.9]], [[0.7, 0.3], [0.0, 1.0]], length=3),
        ),
        Case("target potts", lambda: targets.PottsChain(num_states=3, length=3, coupling=0.7)),
        Case("target ising", lambda: targets.IsingGrid(2, 2, **grid)),
    ]


CASES = [*forward_cases(), *step_cases(), *plain_cases()]
EXPANDING = [case for case in CASES if case.expands]
