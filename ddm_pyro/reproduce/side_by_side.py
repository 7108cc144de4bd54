"""All samplers on the same data, by network calls."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from ddm_pyro.bounds import KernelKL, NotApplicable
from ddm_pyro.metrics import KL, TotalVariation
from ddm_pyro.parameterizations.counted import Counted
from ddm_pyro.planning import balanced_sizes
from ddm_pyro.processes import ForwardProcess
from ddm_pyro.rates import Masked, Uniform
from ddm_pyro.reproduce.base import Experiment, Row, Work, columns, select
from ddm_pyro.reproduce.checks import Check, at_most, digits, slope
from ddm_pyro.reproduce.plots import Curve, Panel
from ddm_pyro.reproduce.worlds import hash_law, noised, ring_walk, two_modes
from ddm_pyro.samplers import (
    Ancestral,
    Euler,
    FirstHitting,
    GibbsCorrector,
    Gillespie,
    KUnmask,
    Sampler,
    TauLeaping,
    Uniformization,
)
from ddm_pyro.sampling import push, sample
from ddm_pyro.schedules import Constant, Linear

REFERENCE = "reference by enumeration"
STATES, LENGTH = 3, 4
STEPS = (8, 16, 32, 64, 128, 256)
GRID: dict[str, Any] = {
    "ancestral": Ancestral(),
    "euler": Euler(),
    "tau": TauLeaping(),
    "reject": TauLeaping(multi_jump="reject"),
}
#: Budgets of rates frozen in time, where every event is a network call.
EVENT_STEPS = (8, 16, 32)
#: Samplers of the uniform process only.
UNIFORM: dict[str, Any] = {
    "euler + gibbs": [Euler(), GibbsCorrector()],
}
#: TV for N = 8 .. 256, uniform noise, T = 6, S = 3, L = 4.
TV = {
    "ancestral": ".173254 .119274 .0685280 .0361890 .0184233 .00925646",
    "euler": ".193220 .136199 .0776081 .0405142 .0205019 .0102661",
    "tau": ".188984 .140523 .0851426 .0461023 .0237587 .0120363",
    "reject": ".190830 .147345 .0932548 .0520075 .0272358 .0138822",
}
#: Rates frozen in time on the ring walk, T = 30, N = 8 .. 256.
WALK_KL = ".337572 .132281 .0432918 .0124576 .0033143 8.50036e-4"
WALK_TV = ".367333 .231571 .129062 .0671264 .0338757 .0169413"
#: Samples whose network calls are counted.
COUNTED = 16


class SideBySide(Experiment):
    """Laws of all samplers by network calls."""

    name = "samplers-side-by-side"
    title = "Samplers side by side"
    claim = (
        "Every sampler on a time grid errs in TV by order 1/N; first-hitting sampling is exact with L calls and "
        "uniformization up to its early stopping, at a random number of calls."
    )
    source = (
        "arXiv 2602.22505 (Euler and first-hitting), arXiv 2402.08095 (uniformization), arXiv 2512.00580 (rates frozen "
        "in time on a random walk)"
    )
    setup = (
        "Exact predictor, an asymmetric law with S = 3, L = 4: masked (linear) and uniform (constant rate, T = 6). TV "
        "of the law by `ddm.push`, calls counted in `ddm.sample`, the `KernelKL` certificate beside each. And the "
        "random walk on a ring of 10 sites in two coordinates, T = 30, two modes, started from p_T, by `Gillespie`."
    )
    keys = ("process", "sampler", "N")

    def measure(self, work: Work) -> list[Row]:
        """TV, KL, certificate and calls of every sampler and budget."""
        target = hash_law(STATES, LENGTH)
        masked = target.denoiser(ForwardProcess(Masked(STATES), Linear(), length=LENGTH))
        uniform = target.denoiser(ForwardProcess(Uniform(STATES), Constant(6.0), length=LENGTH))
        rows: list[Row] = []
        cases = [("masked", masked, *one) for one in self._masked(work)]
        cases += [("uniform", uniform, *one) for one in self._uniform(work)]
        for process, model, name, sampler, steps in work.track(cases, "samplers"):
            rows.append({"process": process, "sampler": name, **_measured(target, model, sampler, steps)})
        walk = two_modes()
        ring = ring_walk(10, 2, 30.0)
        model, start = walk.denoiser(ring), noised(walk, ring, 1.0)
        for steps in work.track(_budgets(work), "random walk"):
            law = push(Gillespie(), model, steps=steps, pmf=start)
            row: Row = {"process": "ring walk", "sampler": "gillespie", "N": steps}
            tv, kl = TotalVariation()(law, walk.tabular()), KL()(law, walk.tabular())
            rows.append({**row, "tv": tv.value, "kl": kl.value})
        return rows

    def _masked(self, work: Work) -> Iterator[tuple[str, Any, int]]:
        yield from ((name, sampler, n) for (name, sampler), n in itertools.product(GRID.items(), _budgets(work)))
        yield from (("gillespie", Gillespie(), n) for n in EVENT_STEPS)
        for steps in range(1, LENGTH + 1):
            yield "k-unmask", KUnmask(balanced_sizes(LENGTH, steps)), steps
        yield "first-hitting", FirstHitting(), LENGTH

    def _uniform(self, work: Work) -> Iterator[tuple[str, Any, int]]:
        yield from ((n, s, k) for (n, s), k in itertools.product({**GRID, **UNIFORM}.items(), _budgets(work)))
        yield from (("gillespie", Gillespie(), n) for n in EVENT_STEPS[: 1 if work.quick else 3])
        yield "uniformization", Uniformization(early_stopping=1e-3), 8

    def judge(self, rows: Sequence[Row]) -> list[Check]:
        """Rates, exactness, certificates, the printed digits."""
        at = {(row["process"], row["sampler"], row["N"]): row for row in rows}
        steps = [n for n in STEPS if ("uniform", "euler", n) in at]
        last = steps[-2:]
        high = -0.9 if last[-1] >= 256 else -0.3
        rates = [
            slope(last, (at[process, name, n]["tv"] for n in last))
            for process in ("masked", "uniform")
            for name in GRID
        ]
        pairs = [(at["uniform", name, n]["tv"], word) for name, words in TV.items() for n, word in _by(words, steps)]
        walk = [
            (at["ring walk", "gillespie", n][key], word)
            for key, words in (("tv", WALK_TV), ("kl", WALK_KL))
            for n, word in _by(words, steps)
        ]
        ratio = [row["tv"] / row["certificate"] for row in rows if row.get("certificate") and row["tv"] > 1e-12]
        stopped = at["uniform", "uniformization", 8]["tv"]
        block = at["masked", "k-unmask", 2]["tv"] / 0.109748
        return [
            Check("slopes of log TV against log N, smallest", min(rates), -1.1, high, "order 1/N"),
            Check("slopes of log TV against log N, largest", max(rates), -1.1, high, "order 1/N"),
            at_most(
                "TV of first-hitting, 4 calls", at["masked", "first-hitting", LENGTH]["tv"], 1e-14, "arXiv 2602.22505"
            ),
            at_most("TV of uniformization, stopped at 0.001", stopped, 2e-3, "arXiv 2402.08095"),
            Check(
                "TV of k-unmask in 2 calls / that of first-hitting refreshed every 2 hits",
                block,
                0.9999,
                1.0001,
                REFERENCE,
            ),
            at_most("largest TV / certificate", max(ratio), 1.0, "core/kernel-kl"),
            digits("TV, uniform noise", pairs, REFERENCE),
            digits("TV and KL, rates frozen in time on the ring walk", walk, REFERENCE),
        ]

    def draw(self, rows: Sequence[Row]) -> list[Panel]:
        """TV by calls, for masks and for uniform noise; certificates faint."""
        panels = []
        for process in ("masked", "uniform"):
            curves = []
            some = select(rows, process=process)
            for color, name in enumerate(dict.fromkeys(row["sampler"] for row in some)):
                mine = sorted(select(some, sampler=name), key=lambda row: row["calls"])
                shown = [max(row["tv"], 1e-5) for row in mine]
                calls = [row["calls"] for row in mine]
                curves.append(Curve(name, calls, shown, color=color))
                limits = [row["certificate"] if row.get("certificate") else math.nan for row in mine]
                curves.append(Curve("", calls, limits, "bound", color))
            panels.append(
                Panel(f"{process}, S = 3, L = 4 (dashed: certificate)", "network calls a sample", "TV", curves)
            )
        return panels

    def table(self, rows: Sequence[Row]) -> list[Row]:
        """N = 32, and samplers with budgets of their own."""
        kept = [row for row in rows if row["process"] != "ring walk" and (row["N"] == 32 or row["N"] <= LENGTH)]
        return columns(kept, "process", "sampler", "N", "calls", "tv", "kl", "certificate")


def _budgets(work: Work) -> tuple[int, ...]:
    return STEPS[:2] if work.quick else STEPS


def _by(words: str, steps: Sequence[int]) -> list[tuple[int, str]]:
    return [(n, word) for n, word in zip(STEPS, words.split(), strict=True) if n in steps]


def _measured(target: Any, model: Any, sampler: Sampler | list[Sampler], steps: int) -> Row:
    """N, network rows a sample, TV, KL, and the certificate where there is one."""
    law, counted = push(sampler, model, steps=steps), Counted(model)
    sample(sampler, counted, COUNTED, steps=steps, seed=0)
    row: Row = {"N": steps, "calls": counted.count.rows / COUNTED}
    row |= {"tv": TotalVariation()(law, target.tabular()).value, "kl": KL()(law, target.tabular()).value}
    try:
        found = KernelKL()(target=target, model=model, sampler=sampler, steps=steps)
    except (NotApplicable, NotImplementedError):
        return row
    return {**row, "certificate": found.value}
