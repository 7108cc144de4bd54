"""Bounds that do not see the vocabulary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ddm_pyro.bounds import AdjointIPM, PathKL, PlanKL
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.processes import ForwardProcess
from ddm_pyro.rates import Masked, Uniform
from ddm_pyro.reproduce.base import Experiment, Row, Work, select
from ddm_pyro.reproduce.checks import Check, at_least, at_most
from ddm_pyro.reproduce.masked import training_error
from ddm_pyro.reproduce.plots import Curve, Panel
from ddm_pyro.reproduce.spread import Spread
from ddm_pyro.samplers import FirstHitting
from ddm_pyro.schedules import Constant
from ddm_pyro.targets import PottsChain

PAPER = "arXiv 2605.17232"
LENGTH, TOTAL = 3, 6.0
ENUMERATED = (2, 4, 8)
#: Vocabularies up to which all contexts are summed, and draws a block beyond.
SUMMED, DRAWS = 16, 100
LARGE = (2, 16, 256, 4096, 50_000)
#: Couplings of the data and of the model.
TRUE, WRONG = 1.0, 0.9


class VocabularyFree(Experiment):
    """Theorem 5.1 from S = 2 to 50,000."""

    name = "vocabulary-free"
    title = "The vocabulary does not enter"
    claim = (
        "With the length and the relative error of the score fixed, the bounds of Theorem 5.1 are the same for every "
        "vocabulary size S, for masked and for uniform noise; earlier bounds grow with S."
    )
    source = "arXiv 2605.17232, Theorem 5.1, appendix D"
    setup = (
        "Tokens in two classes, the classes a Potts chain (L = 3, J = 1), the model that of J = 0.9. `AdjointIPM` and "
        "`PathKL` by enumeration for S = 2, 4, 8; the KL of the score through tables of S columns up to S = 50,000 "
        "(masked); and the largest difference between the reverse rates of data and model at S, summed over classes, "
        "and those of the two-class processes, which makes the bound at S that of S = 2. Beside it the factor √(S - 1) "
        "of a sum over neighbors without the cancellation of scores and marginals (appendix D), and the log S of "
        "KL(p_T, uniform) ≤ e^(-T) L log S."
    )
    keys = ("what", "noise", "S")

    def measure(self, work: Work) -> list[Row]:
        """Bounds by enumeration, by large tables, and lumped rates."""
        rows: list[Row] = []
        sizes = ENUMERATED[:2] if work.quick else ENUMERATED
        for noise, size in work.track([(n, s) for n in ("masked", "uniform") for s in sizes], "enumeration"):
            target, model = world(noise, size)
            paper, path = (bound(target=target, model=model) for bound in (AdjointIPM(), PathKL()))
            start, score = paper.terms["initialization"], paper.terms["score"]
            row: Row = {"what": "bound", "noise": noise, "S": size, "paper": paper.value, "path": path.value}
            row |= {"uncancelled": start + math.sqrt(size - 1) * score, "log_size": math.log(size)}
            rows.append(row)
        large = LARGE[:3] if work.quick else LARGE
        for size in work.track(large, "large vocabularies"):
            target, model = world("masked", size)
            row = {"what": "tables", "noise": "masked", "S": size}
            if size <= SUMMED:
                terms = PlanKL()(target=target, model=model, sampler=FirstHitting()).terms
                rows.append({**row, "score": terms["score"]})
                continue
            exact = target.denoiser(model.process)
            score, error = training_error(target, model, exact, (1,) * LENGTH, DRAWS, seed=0)
            rows.append({**row, "score": score, "stderr": error})
        for noise, size in work.track([(n, s) for n in ("masked", "uniform") for s in large], "lumped rates"):
            rows.append({"what": "lumping", "noise": noise, "S": size, "gap": lumping(noise, size)})
        return rows

    def judge(self, rows: Sequence[Row]) -> list[Check]:
        """Flatness."""
        checks = []
        for noise in ("masked", "uniform"):
            bounds = select(rows, what="bound", noise=noise)
            for key, label in (("paper", "Theorem 5.1"), ("path", "path KL")):
                values = [row[key] for row in bounds]
                what = f"{noise}, {label}: relative spread over S = 2 to {bounds[-1]['S']}, enumerated"
                checks.append(at_most(what, _spread(values), 1e-6, PAPER))
            gaps = select(rows, what="lumping", noise=noise)
            what = f"{noise}: reverse rates by class, S up to {gaps[-1]['S']}, largest relative difference from S = 2"
            checks.append(at_most(what, max(row["gap"] for row in gaps), 1e-9, PAPER))
        summed = [row["score"] for row in select(rows, what="tables") if row["stderr"] is None]
        tables = [row for row in select(rows, what="tables") if row["stderr"] is not None]
        drawn = [row["score"] for row in tables]
        checks += [
            at_most("masked, KL of the score: relative spread over S = 2, 16, summed", _spread(summed), 1e-9, PAPER),
            at_most(
                f"masked, KL of the score: relative spread over S = 256 to {tables[-1]['S']}, the same draws of "
                "classes",
                _spread(drawn),
                1e-9,
                PAPER,
            ),
            at_most(
                "masked, KL of the score: drawn - summed, in standard errors",
                abs(drawn[-1] - summed[0]) / tables[-1]["stderr"],
                4.5,
                "two computations",
            ),
        ]
        first = select(rows, what="bound", noise="uniform")[0]
        grown = first["paper"] * math.sqrt(tables[-1]["S"] - 1)
        checks.append(
            at_least("uniform: Theorem 5.1 times √(S - 1) at the largest S: vacuous above 1", grown, 1.0, PAPER)
        )
        return checks

    def draw(self, rows: Sequence[Row]) -> list[Panel]:
        """Bounds and factors against S."""
        panels = []
        for noise in ("masked", "uniform"):
            bounds = select(rows, what="bound", noise=noise)
            sizes = [row["S"] for row in select(rows, what="lumping", noise=noise)]
            x = sorted({*sizes, *(row["S"] for row in bounds)})
            first = bounds[0]
            curves = [
                Curve("Theorem 5.1, enumerated", [r["S"] for r in bounds], [r["paper"] for r in bounds], "points", 0),
                Curve("the same, by classes", x, [first["paper"]] * len(x), "bound", 0),
                Curve("path KL, enumerated", [r["S"] for r in bounds], [r["path"] for r in bounds], "points", 1),
                Curve("the same, by classes", x, [first["path"]] * len(x), "bound", 1),
                Curve("times √(S - 1)", x, [first["paper"] * math.sqrt(s - 1) for s in x], "faint"),
                Curve("times log S / log 2", x, [first["paper"] * math.log2(s) for s in x], "faint"),
            ]
            panels.append(Panel(f"{noise} noise, L = 3", "vocabulary size S", "bound on TV", curves))
        return panels

    def table(self, rows: Sequence[Row]) -> list[Row]:
        """The bounds by enumeration, and lumped rates."""
        shown = []
        for row in select(rows, what="bound"):
            shown.append(
                {
                    "noise": row["noise"],
                    "S": row["S"],
                    "Theorem 5.1": row["paper"],
                    "path KL": row["path"],
                    "with √(S - 1)": row["uncancelled"],
                    "rates by class, difference": None,
                }
            )
        for row in select(rows, what="lumping"):
            shown.append(
                {
                    "noise": row["noise"],
                    "S": row["S"],
                    "Theorem 5.1": None,
                    "path KL": None,
                    "with √(S - 1)": None,
                    "rates by class, difference": row["gap"],
                }
            )
        return shown


def _spread(values: Sequence[float]) -> float:
    return max(values) / min(values) - 1.0


def world(noise: str, size: int) -> tuple[Spread, Parameterization]:
    """The law with ``size`` tokens, and the model of the wrong coupling."""
    rate: Any = Masked(size) if noise == "masked" else Uniform(size)
    process = ForwardProcess(rate, Constant(TOTAL), length=LENGTH)
    data, guess = (
        Spread(PottsChain(num_states=2, length=LENGTH, coupling=coupling), size // 2) for coupling in (TRUE, WRONG)
    )
    return data, guess.denoiser(process)


def lumping(noise: str, size: int) -> float:
    """Largest relative difference of reverse rates summed over classes from the two-class process's, data and model.

    Within a class all ratios are 1 for both, so nothing is wrong there; the difference from 1 counts as well.
    """
    (small_law, small), (law, large) = world(noise, 2), world(noise, size)
    exact = small_law.denoiser(small.process), law.denoiser(large.process)
    return max(_gap(small, large, size), _gap(*exact, size))


def _gap(small: Parameterization, large: Parameterization, size: int) -> float:
    x = small.process.space.enumerate()
    mask = small.process.space.mask
    first = x * (size // 2) if mask is None else torch.where(x == mask, size, x * (size // 2))
    gap = 0.0
    for t in (0.01, 0.1, 0.5, 1.0):
        time = torch.tensor(t, dtype=torch.float64)
        expected = _by_class(small.reverse_rate(x, time), small.process.moves(x), x, 2, 2)
        moves = large.process.moves(first)
        # A state's rates to its own class do not change the class.
        found = _by_class(large.reverse_rate(first, time), moves, first, size, 2)
        gap = max(gap, float(((found - expected).abs() / expected.clamp(min=1e-12))[expected > 0].max()))
        if mask is None:
            inside = moves // (size // 2) == first.unsqueeze(-1) // (size // 2)
            gap = max(
                gap, float(torch.expm1(large.log_score(first, time)).abs()[inside.expand(*first.shape, -1)].max())
            )
    return gap


def _by_class(rate: torch.Tensor, moves: torch.Tensor, x: torch.Tensor, size: int, classes: int) -> torch.Tensor:
    """Rates (n, L, M) into other classes than the token's own, (n, L, classes)."""
    moves = moves.expand(rate.shape)
    target, own = moves // (size // classes), x.unsqueeze(-1) // (size // classes)
    counted = torch.where((moves < size) & (target != own), rate.double(), 0.0)
    out = torch.zeros(*rate.shape[:-1], classes, dtype=torch.float64)
    return out.scatter_add_(-1, target.clamp(max=classes - 1), counted)
