"""What stopping early costs, and where to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ddm_pyro.distributions import Tabular as Law
from ddm_pyro.metrics import TotalVariation
from ddm_pyro.processes import ForwardProcess
from ddm_pyro.rates import Masked, Uniform
from ddm_pyro.reproduce.base import Experiment, Row, Work, columns, select
from ddm_pyro.reproduce.checks import Check, at_most, digits, slope
from ddm_pyro.reproduce.plots import Curve, Panel
from ddm_pyro.reproduce.worlds import diagonal, hash_law, noised, ring_walk
from ddm_pyro.samplers import Euler
from ddm_pyro.sampling import push
from ddm_pyro.schedules import Constant

TOTAL = 6.0
#: Accuracy asked for, and Euler steps spent.
ACCURACY, STEPS = 0.05, 32
STATES, LENGTH = 3, 3
PAPER = "arXiv 2512.00580"


class EarlyStopping(Experiment):
    """The stopping time of the theorems, and the errors on both sides of it."""

    name = "early-stopping"
    title = "Where to stop"
    claim = (
        "Stopping at η costs TV of at most 1 - e^(-Lη) for masks and 1 - (1 - (1 - 1/S)(1 - e^(-η)))^L for uniform "
        "noise (η in units of the noise), so that η of order ε/L gives accuracy ε; rates are then bounded by about 1/η."
    )
    source = "arXiv 2512.00580 (early stopping), arXiv 2605.17232"
    setup = (
        "TV(p_0, p_η) exactly, from the forward kernel. On data with zeros (S = 3, L = 3, uniform noise, T = 6) the "
        "law of Euler with 32 geometric steps from T to η by `ddm.push`, η swept by factors of two around "
        "ε/(L (1 - 1/S)), ε = 0.05; with and without the final denoising."
    )
    keys = ("what", "noise", "law", "eta")

    def measure(self, work: Work) -> list[Row]:
        """Stopping errors, then the sweep."""
        laws = {"full support": hash_law(STATES, LENGTH), "diagonal": diagonal(STATES, LENGTH)}
        rows: list[Row] = []
        etas = [10.0**-k for k in (4, 3, 2, 1)] + [1.0]
        for noise in work.track(("masked", "uniform"), "stopping errors"):
            rate: Any = Masked(STATES) if noise == "masked" else Uniform(STATES)
            process = ForwardProcess(rate, Constant(TOTAL), length=LENGTH)
            for name, target in laws.items():
                for eta in etas:
                    tv = _gap(target, process, noised(target, process, eta / TOTAL))
                    row: Row = {"what": "stopping", "noise": noise, "law": name, "eta": eta, "tv": tv}
                    rows.append({**row, "bound": _bound(noise, eta)})
        ring, line = ring_walk(10, 2, 30.0), diagonal(10, 2)
        tv = _gap(line, ring, noised(line, ring, 0.01 / 30.0))
        rows.append({"what": "stopping", "noise": "ring walk", "law": "diagonal", "eta": 0.01, "tv": tv})
        return rows + self._sweep(laws["diagonal"], work)

    def _sweep(self, target: Any, work: Work) -> list[Row]:
        process = ForwardProcess(Uniform(STATES), Constant(TOTAL), length=LENGTH)
        model, rows, best = target.denoiser(process), [], theory()
        powers = range(-3, 4, 3) if work.quick else range(-8, 6)
        for power in work.track(list(powers), "sweep"):
            eta = best * 2.0**power
            times = (eta / TOTAL) ** torch.linspace(0.0, 1.0, STEPS + 1, dtype=torch.float64)
            stopped = noised(target, process, eta / TOTAL)
            law = push(Euler(), model, times=times, final_denoise=False)
            denoised = push(Euler(), model, times=times)
            row: Row = {"what": "sweep", "noise": "uniform", "law": "diagonal", "eta": eta, "factor": 2.0**power}
            row |= {"tv": _gap(target, process, stopped), "bound": _bound("uniform", eta)}
            row["steps_tv"] = TotalVariation()(law, Law(stopped, space=process.space)).value
            row["total_tv"] = TotalVariation()(law, target.tabular()).value
            row["denoised_tv"] = TotalVariation()(denoised, target.tabular()).value
            here = stopped > 0
            rate = model.reverse_rate(process.space.enumerate(), torch.tensor(eta / TOTAL, dtype=torch.float64)) / TOTAL
            rows.append({**row, "rate": float(rate.sum(-1)[here].max())})
        return rows

    def judge(self, rows: Sequence[Row]) -> list[Check]:
        """The bounds, the theoretical value, the sweep."""
        stops = select(rows, what="stopping")
        masked = max(abs(row["tv"] - row["bound"]) for row in stops if row["noise"] == "masked")
        uniform = [row for row in stops if row["noise"] == "uniform"]
        tight = [row["tv"] / row["bound"] for row in uniform if row["law"] == "diagonal" and row["eta"] <= 0.01]
        sweep = sorted(select(rows, what="sweep"), key=lambda row: row["eta"])
        at = {row["factor"]: row for row in sweep}
        here = at[1.0]
        least = min(sweep, key=lambda row: row["total_tv"])
        few = [row for row in sweep if row["factor"] <= 1.0]
        walk = select(rows, noise="ring walk")[0]
        rates = max(row["rate"] * row["eta"] for row in few)
        return [
            at_most("masked: |TV(p_0, p_η) - (1 - e^(-Lη))|, largest", masked, 1e-13, "exact"),
            at_most("uniform: largest TV / bound", max(r["tv"] / r["bound"] for r in uniform), 1.0 + 1e-12, PAPER),
            Check(
                "uniform, diagonal law, η ≤ 0.01: smallest TV / bound",
                min(tight),
                0.99,
                1.0,
                "tight for isolated sequences",
            ),
            digits(
                "TV(p_0, p_η), ring walk, diagonal, η = 0.01", [(walk["tv"], ".0197033")], "reference by quadrature"
            ),
            Check("at η = ε/(L (1 - 1/S)): stopping error / ε", here["tv"] / ACCURACY, 0.9, 1.0, PAPER),
            Check(
                "stopping error against η: slope",
                slope((r["eta"] for r in few), (r["tv"] for r in few)),
                0.95,
                1.0,
                "linear in η",
            ),
            at_most(
                "largest total / (stopping + steps)",
                max(r["total_tv"] / (r["tv"] + r["steps_tv"]) for r in sweep),
                1.0 + 1e-9,
                "triangle",
            ),
            at_most(
                "best total of the sweep lies at a factor of the theoretical η",
                least["factor"],
                1.0,
                "smaller η cost steps only",
            ),
            at_most("total error at the theoretical η / ε, 32 steps", here["total_tv"] / ACCURACY, 2.0, PAPER),
            Check("largest rate of a position at η ≤ the theoretical one, times η", rates, 0.1, 1.01, PAPER),
            at_most(
                "final denoising: largest error / error without",
                max(r["denoised_tv"] / r["total_tv"] for r in sweep),
                1.0,
                "ours",
            ),
        ]

    def draw(self, rows: Sequence[Row]) -> list[Panel]:
        """Errors against the stopping time."""
        sweep = sorted(select(rows, what="sweep"), key=lambda row: row["eta"])
        x = [row["eta"] for row in sweep]
        curves = [
            Curve("total", x, [row["total_tv"] for row in sweep], color=0),
            Curve("stopping", x, [row["tv"] for row in sweep], color=1),
            Curve("bound on it", x, [row["bound"] for row in sweep], "bound", 1),
            Curve("32 steps", x, [row["steps_tv"] for row in sweep], color=2),
            Curve("total, then denoised", x, [row["denoised_tv"] for row in sweep], color=3),
        ]
        stops = []
        for color, (noise, law) in enumerate(
            (("masked", "diagonal"), ("uniform", "diagonal"), ("uniform", "full support"))
        ):
            some = select(rows, what="stopping", noise=noise, law=law)
            eta = [row["eta"] for row in some]
            stops.append(Curve(f"{noise}, {law}", eta, [row["tv"] for row in some], color=color))
            stops.append(Curve("", eta, [row["bound"] for row in some], "bound", color))
        return [
            Panel(
                "Zeros in the data, uniform noise", "stopping time η", "TV", curves, mark=(theory(), "ε/(L(1 - 1/S))")
            ),
            Panel("TV(p_0, p_η) (dashed: bound)", "stopping time η", "TV", stops),
        ]

    def table(self, rows: Sequence[Row]) -> list[Row]:
        """The sweep."""
        return columns(
            select(rows, what="sweep"), "factor", "eta", "tv", "bound", "steps_tv", "total_tv", "denoised_tv"
        )


def theory() -> float:
    """eta = eps / (L (1 - 1/S))."""
    return ACCURACY / (LENGTH * (1.0 - 1.0 / STATES))


def _bound(noise: str, eta: float) -> float:
    if noise == "masked":
        return -math.expm1(-LENGTH * eta)
    return 1.0 - (1.0 - (1.0 - 1.0 / STATES) * -math.expm1(-eta)) ** LENGTH


def _gap(target: Any, process: ForwardProcess, law: torch.Tensor) -> float:
    """TV(p_0, law) on the process's space."""
    padded = torch.zeros(process.space.num_states, dtype=torch.float64)
    padded[process.space.index(target.space.enumerate())] = target.pmf
    return TotalVariation()(Law(law, space=process.space), Law(padded, space=process.space)).value
