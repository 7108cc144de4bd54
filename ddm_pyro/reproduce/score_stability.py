"""What of the score stays bounded as t goes to 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ddm_pyro.bounds import AdjointIPM, PathKL
from ddm_pyro.distributions import Tabular as Law
from ddm_pyro.metrics import KL
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.processes import ForwardProcess
from ddm_pyro.rates import Masked, Uniform
from ddm_pyro.reproduce.base import Experiment, Row, Work, columns, select
from ddm_pyro.reproduce.checks import Check, at_least, at_most, digits, slope
from ddm_pyro.reproduce.plots import Curve, Panel
from ddm_pyro.reproduce.worlds import diagonal, noised, ring_walk, two_modes
from ddm_pyro.schedules import Constant
from ddm_pyro.targets import RandomTabular, Tabular

PAPER = "arXiv 2512.00580"
TOTAL = 4.0
#: Psi(t) of the two-mode law on the ring walk, by quadrature elsewhere.
PSI = {1e-7: ".685247", 1.0: ".270775", 5.0: ".0134394"}
#: KL(p_t || uniform) of the same law.
WALK_KL = {0.0: ".787351", 10.0: "1.37325e-3", 20.0: "2.36837e-5", 30.0: "5.16416e-7"}
WALK_TOTAL = 30.0


class ScoreStability(Experiment):
    """Bounded scores need dense data; what the theorems need does not."""

    name = "score-stability"
    title = "Is the score bounded?"
    claim = (
        "Guarantees need no bounded score: for data with zeros the score grows without limit as t → 0, yet the score "
        "entropy converges, and on the random walk its mean Ψ(t) = -d/dt KL(p_t, uniform) is monotone. Weighted score "
        "matching grows like log(1/δ) for sparse data, so the uniform case of Theorem 5.1 needs early stopping there."
    )
    source = "arXiv 2512.00580 (no boundedness, monotone score), arXiv 2605.17232 (assumptions of Theorem 5.1)"
    setup = (
        "Laws with S = 3, L = 2 and full support, or two thirds of the states removed; exact `model.log_score` and "
        "`reverse_rate` at t = 10⁻⁶ to 1; losses of a model of relative error 0.2 integrated from δ to 1 by "
        "`AdjointIPM` and `PathKL`. The random walk on a ring of 10 sites, two modes, for Ψ, and the diagonal law."
    )
    keys = ("what", "noise", "data", "t")

    def measure(self, work: Work) -> list[Row]:
        """Largest score and mean rate along t, losses by early stopping, Psi."""
        laws = {"dense": RandomTabular(seed=1, length=2), "sparse": RandomTabular(seed=1, length=2, zeros=2 / 3)}
        times = [10.0**-k for k in range(6, -1, -1)]
        rows: list[Row] = []
        cases = [(noise, data) for noise in ("masked", "uniform") for data in laws]
        for noise, data in work.track(cases, "scores"):
            exact, wrong = _models(noise, laws[data])
            for t in times:
                rows.append({"what": "score", "noise": noise, "data": data, "t": t, **_score(exact, laws[data], t)})
            for t in times[1:4] if work.quick else (*times[:4], times[5]):
                row: Row = {"what": "loss", "noise": noise, "data": data, "t": t}
                rows.append({**row, **_losses(laws[data], wrong, t)})
        return rows + self._walk(work)

    def _walk(self, work: Work) -> list[Row]:
        process, rows = ring_walk(10, 2, WALK_TOTAL), []
        for name, target in (("two modes", two_modes()), ("diagonal", diagonal(10, 2))):
            model = target.denoiser(process)
            times = [1e-7] if name == "two modes" else []
            times += [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 5.0, 10.0, 20.0]
            for t in work.track(times, f"random walk, {name}"):
                rows.append({"what": "walk", "noise": "ring walk", "data": name, "t": t, **_psi(model, target, t)})
        space = process.space
        uniform = Law(torch.full((space.num_states,), 1.0 / space.num_states, dtype=torch.float64), space=space)
        for t in WALK_KL:
            law = Law(noised(two_modes(), process, t / WALK_TOTAL), space=space)
            row: Row = {"what": "mixing", "noise": "ring walk", "data": "two modes", "t": t}
            rows.append({**row, "kl": KL()(uniform, law).value})
        return rows

    def judge(self, rows: Sequence[Row]) -> list[Check]:
        """Growth, convergence and monotonicity."""
        at = {(row["what"], row["noise"], row["data"], row["t"]): row for row in rows}
        early, late = 1e-6, 1e-4
        losses = {
            (n, d): sorted(select(rows, what="loss", noise=n, data=d), key=lambda row: row["t"])
            for n in ("masked", "uniform")
            for d in ("dense", "sparse")
        }
        first = {key: (some[0], some[1]) for key, some in losses.items()}
        entropy = [abs(a["entropy"] / b["entropy"] - 1.0) for a, b in first.values()]
        sparse, dense = losses["uniform", "sparse"], losses["uniform", "dense"]
        decade = [a["matching"] - b["matching"] for a, b in pairwise(sparse[:3])]
        flat = dense[0]["matching"] / dense[1]["matching"] - 1.0
        walk = [select(rows, what="walk", data=name) for name in ("two modes", "diagonal")]
        rises = max(b["psi"] - a["psi"] for some in walk for a, b in pairwise(some))
        largest = {
            d: slope((early, late), (at["score", "uniform", d, t]["largest"] for t in (early, late)))
            for d in ("dense", "sparse")
        }
        masked = at["score", "masked", "dense", early]
        pairs = [(at["walk", "ring walk", "two modes", t]["psi"], word) for t, word in PSI.items()]
        pairs += [(at["mixing", "ring walk", "two modes", t]["kl"], word) for t, word in WALK_KL.items()]
        return [
            Check(
                "uniform noise, dense data: largest score grows like t to the power",
                largest["dense"],
                -0.02,
                0.02,
                "bounded",
            ),
            Check(
                "uniform noise, sparse data: largest score grows like t to the power",
                largest["sparse"],
                -3.1,
                -0.9,
                "unbounded",
            ),
            Check(
                "masked, dense data: largest rate times t at t = 10⁻⁶",
                masked["rate"] * early,
                0.5,
                1.05,
                "rates like 1/t",
            ),
            at_most(
                "masked: mean total rate E Σ R at t = 10⁻⁶ / (L T)",
                masked["mean_rate"] / (2 * TOTAL),
                1.0001,
                "the law of x_t compensates",
            ),
            at_most("score entropy: largest relative change over the last decade of δ", max(entropy), 0.06, PAPER),
            at_most(
                "dense data: relative change of weighted score matching over the last decade of δ",
                flat,
                0.06,
                "arXiv 2605.17232",
            ),
            at_least(
                "sparse data: growth of weighted score matching a decade of δ, relative",
                min(decade) / sparse[0]["matching"],
                0.05,
                "arXiv 2605.17232",
            ),
            Check(
                "sparse data: growth over two decades, ratio: log(1/δ)",
                decade[0] / decade[1],
                0.8,
                1.25,
                "arXiv 2605.17232",
            ),
            at_most("random walk: largest increase of Ψ with t", rises, 1e-10, f"{PAPER}, monotonicity of the score"),
            digits("Ψ(t) and KL(p_t, uniform) on two modes", pairs, "reference by quadrature"),
        ]

    def draw(self, rows: Sequence[Row]) -> list[Panel]:
        """Scores, losses, Psi."""
        scores, losses, walk = [], [], []
        for color, data in enumerate(("dense", "sparse")):
            some = select(rows, what="score", noise="uniform", data=data)
            scores.append(Curve(f"uniform, {data}", [r["t"] for r in some], [r["largest"] for r in some], color=color))
            some = select(rows, what="loss", noise="uniform", data=data)
            x = [r["t"] for r in some]
            losses.append(Curve(f"weighted score matching, {data}", x, [r["matching"] for r in some], color=color))
            losses.append(Curve(f"score entropy, {data}", x, [r["entropy"] for r in some], "bound", color))
        some = select(rows, what="score", noise="masked", data="dense")
        scores.append(Curve("masked: largest rate", [r["t"] for r in some], [r["rate"] for r in some], color=2))
        scores.append(Curve("masked: mean rate", [r["t"] for r in some], [r["mean_rate"] for r in some], "bound", 2))
        for color, data in enumerate(("two modes", "diagonal")):
            some = [r for r in select(rows, what="walk", data=data) if r["t"] > 0]
            walk.append(Curve(data, [r["t"] for r in some], [r["psi"] for r in some], color=color))
            walk.append(
                Curve(f"{data}: largest score", [r["t"] for r in some], [r["largest"] for r in some], "bound", color)
            )
        return [
            Panel("Largest score, exact", "t (fraction of the noise time)", "score or rate", scores),
            Panel("Losses of a model with 20% error", "early stopping δ", "integral from δ to 1", losses, log="x"),
            Panel("Random walk on a ring: Ψ(t)", "t", "Ψ", walk),
        ]

    def table(self, rows: Sequence[Row]) -> list[Row]:
        """The losses under uniform noise."""
        return columns(select(rows, what="loss", noise="uniform"), "data", "t", "entropy", "matching")


def _models(noise: str, target: Tabular) -> tuple[Parameterization, Parameterization]:
    """The exact model, and one of a law that is 20% off, with the same support."""
    rate: Any = Masked(3) if noise == "masked" else Uniform(3)
    process = ForwardProcess(rate, Constant(TOTAL), length=2)
    angle = torch.arange(len(target.pmf), dtype=torch.float64)
    off = target.pmf * (1.0 + 0.2 * torch.sin(2.3 * angle))
    return target.denoiser(process), Tabular(off / off.sum(), space=target.space).denoiser(process)


def _score(model: Parameterization, target: Tabular, t: float) -> Row:
    """Largest score and largest rate where p_t > 0, and the mean total rate."""
    process = model.process
    law, x = noised(target, process, t), process.space.enumerate()  # type: ignore[arg-type]
    time = torch.tensor(t, dtype=torch.float64)
    here = law > 0
    rate = model.reverse_rate(x, time)
    row = {"rate": float(rate.sum(-1)[here].max()), "mean_rate": float((law * rate.sum((-2, -1)))[here].sum())}
    if process.is_masked:
        return row
    return {**row, "largest": float(model.log_score(x, time)[here].max().exp())}


def _losses(target: Tabular, model: Parameterization, stop: float) -> Row:
    """L_SE and (uniform) L_WSM from ``stop`` to 1."""
    row = {"entropy": _term(PathKL(), target, model, stop, "score_entropy")}
    if model.process.is_masked:
        return row
    return {**row, "matching": _term(AdjointIPM(), target, model, stop, "weighted_score_matching")}


def _term(bound: Any, target: Tabular, model: Parameterization, stop: float, name: str) -> float:
    found: float = bound(target=target, model=model, times=[1.0, stop]).terms[name]
    return found


def _psi(model: Parameterization, target: Tabular, t: float) -> Row:
    """Psi(t) = sum over moves of rate/2 E phi(p_t(y)/p_t(x)), phi(a) = a log a - a + 1; and the largest score."""
    process = model.process
    time = torch.tensor(t / WALK_TOTAL, dtype=torch.float64)
    law, x = noised(target, process, t / WALK_TOTAL), process.space.enumerate()  # type: ignore[arg-type]
    log_score = model.log_score(x, time).double()
    rates = process.in_rates(x, time) / WALK_TOTAL
    score = log_score.exp()
    phi = torch.where(score > 0, score * log_score, 0.0) - score + 1.0
    mean: Tensor = (law[:, None, None] * torch.where(rates > 0, rates * phi, 0.0)).sum()
    moves = (rates > 0) & (law > 0)[:, None, None]
    return {"psi": float(mean), "largest": float(score[moves].max()) if math.isfinite(float(mean)) else math.inf}
