"""The first-hitting sampler has no error of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ddm_pyro.bounds import Floored, PlanKL
from ddm_pyro.metrics import KL, TotalVariation
from ddm_pyro.reproduce.base import Experiment, Row, Work, columns, select
from ddm_pyro.reproduce.checks import Check, at_most, digits, slope
from ddm_pyro.reproduce.masked import forward
from ddm_pyro.reproduce.plots import Curve, Panel
from ddm_pyro.reproduce.worlds import all_equal, hash_law
from ddm_pyro.samplers import Ancestral, FirstHitting
from ddm_pyro.sampling import push, sample
from ddm_pyro.schedules import Constant, Cosine, Linear
from ddm_pyro.targets import PottsChain, RandomTabular

PAPER = "Sharp Convergence Rates for Masked Diffusion Models, arXiv 2602.22505"
REFERENCE = "reference by enumeration"
#: eps -> TV and KL of the output law with the predictor (1 - eps) p + eps / S. (The last KL is written 6.33805e-3
#: elsewhere, cut off after the sixth digit rather than rounded.)
BY_ERROR = {
    0.01: ("0.00201591", "1.81822e-5"),
    0.05: ("0.0100936", "4.38958e-4"),
    0.1: ("0.0202223", "1.68953e-3"),
    0.2: ("0.0405838", "6.3381e-3"),
}
#: Refreshed every b hits -> TV and KL.
BY_REFRESH = {2: (".109748", ".0417167"), 3: (".0585701", ".0112578"), 4: (".204215", ".121061")}
DRAWS = 50_000


class FirstHittingExact(Experiment):
    """Exactness, and an error that is the predictor's alone."""

    name = "first-hitting-exact"
    title = "First-hitting sampling is exact"
    claim = (
        "With L network calls the first-hitting sampler has no sampling error beyond that of the score, and this is "
        "tight: the output error is of the order of the score's."
    )
    source = "Sharp Convergence Rates for Masked Diffusion Models, arXiv 2602.22505, on the first-hitting sampler"
    setup = (
        "`ddm.push(FirstHitting(), model)` on four laws and three schedules; with the predictor (1 - ε) p + ε/S "
        "(`bounds.Floored`), beside ancestral sampling in 64 steps; with predictions kept for b hits; and a "
        "chi-squared test of 50,000 draws of `ddm.sample`."
    )
    keys = ("what", "law", "schedule", "eps", "refresh")
    uses_seed = True

    def measure(self, work: Work) -> list[Row]:
        """TV and KL of output laws."""
        laws: dict[str, Any] = {
            "hash S=3 L=4": hash_law(),
            "Potts K=3 L=4": PottsChain(num_states=3, length=4, coupling=1.0),
            "sparse S=3 L=4": RandomTabular(num_states=3, length=4, seed=3, concentration=0.3, zeros=0.5),
            "all equal S=2 L=5": all_equal(5),
        }
        schedules = {"linear": Linear(), "cosine": Cosine(), "constant 8": Constant(8.0)}
        rows: list[Row] = []
        for name, target in work.track(list(laws.items()), "exact models"):
            for schedule, one in schedules.items():
                law = push(FirstHitting(), target.denoiser(forward(target, one)))
                tv = TotalVariation()(law, target.tabular()).value
                rows.append({"what": "exact", "law": name, "schedule": schedule, "tv": tv})
        rows += self._inexact(work) + self._refreshed(work) + self._drawn(laws, work)
        return rows

    def _inexact(self, work: Work) -> list[Row]:
        target, rows = hash_law(), []
        process, data = forward(target), target.tabular()
        for eps in work.track((0.001, *BY_ERROR, 0.4), "inexact models"):
            model = Floored(target.denoiser(process), eps)
            law = push(FirstHitting(), model)
            score = PlanKL()(target=target, model=model, sampler=FirstHitting())
            steps = push(Ancestral(), model, steps=64)
            row = {"what": "predictor", "law": "hash S=3 L=4", "eps": eps, "tv": TotalVariation()(law, data).value}
            more = {"kl": KL()(law, data).value, "score": score.terms["kl"], "certificate": score.value}
            rows.append({**row, **more, "ancestral": TotalVariation()(steps, data).value})
        return rows

    def _refreshed(self, work: Work) -> list[Row]:
        target, rows = hash_law(), []
        model, data = target.denoiser(forward(target)), target.tabular()
        for refresh in work.track((1, 2, 3, 4), "refresh"):
            law = push(FirstHitting(refresh=refresh), model)
            row = {"what": "refresh", "law": "hash S=3 L=4", "refresh": refresh}
            rows.append({**row, "tv": TotalVariation()(law, data).value, "kl": KL()(law, data).value})
        return rows

    def _drawn(self, laws: dict[str, Any], work: Work) -> list[Row]:
        rows, draws = [], DRAWS // 10 if work.quick else DRAWS
        for name, target in work.track(list(laws.items()), "draws"):
            x = sample(FirstHitting(), target.denoiser(forward(target)), draws, seed=work.seed)
            pmf = target.tabular().pmf
            counts = torch.bincount(target.space.index(x), minlength=len(pmf)).double()
            possible = pmf > 0
            expected = draws * pmf[possible]
            statistic = float(((counts[possible] - expected) ** 2 / expected).sum())
            freedom = int(possible.sum()) - 1
            row = {"what": "drawn", "law": name, "impossible": float(counts[~possible].sum()), "stderr": 1.0}
            rows.append({**row, "z": (statistic - freedom) / (2 * freedom) ** 0.5})
        return rows

    def judge(self, rows: Sequence[Row]) -> list[Check]:
        """Exactness, proportionality to the score's error, the printed digits."""
        exact, drawn = select(rows, what="exact"), select(rows, what="drawn")
        wrong = {row["eps"]: row for row in select(rows, what="predictor")}
        refreshed = {row["refresh"]: row for row in select(rows, what="refresh")}
        pairs = [
            (wrong[eps][key], word)
            for eps, words in BY_ERROR.items()
            for key, word in zip(("tv", "kl"), words, strict=True)
        ]
        blocks = [
            (refreshed[b][key], word)
            for b, words in BY_REFRESH.items()
            for key, word in zip(("tv", "kl"), words, strict=True)
        ]
        per_eps = [row["tv"] / eps for eps, row in wrong.items()]
        small = [eps for eps in wrong if eps <= 0.1]
        return [
            at_most(
                "largest TV to the data, exact predictor, all laws and schedules",
                max(r["tv"] for r in exact),
                1e-14,
                PAPER,
            ),
            at_most(
                "largest KL of the output / score error", max(r["kl"] / r["score"] for r in wrong.values()), 1.0, PAPER
            ),
            at_most(
                "largest TV / certificate from the score error",
                max(r["tv"] / r["certificate"] for r in wrong.values()),
                1.0,
                PAPER,
            ),
            Check(
                "tight: slope of log TV against log of the square root of the score error",
                slope((wrong[e]["score"] ** 0.5 for e in small), (wrong[e]["tv"] for e in small)),
                0.9,
                1.1,
                f"{PAPER}, lower bound",
            ),
            at_most("TV / ε, largest over smallest", max(per_eps) / min(per_eps), 1.05, f"{PAPER}, lower bound"),
            digits("TV and KL by ε", pairs, REFERENCE),
            digits("TV and KL by refresh", blocks, REFERENCE),
            Check(
                "draws: largest deviation of chi-squared, in standard deviations",
                max(abs(r["z"]) for r in drawn),
                0.0,
                5.0,
                "the data law",
            ),
            at_most("draws of probability zero", sum(r["impossible"] for r in drawn), 0.0, "the data law"),
        ]

    def draw(self, rows: Sequence[Row]) -> list[Panel]:
        """TV against the predictor's error, and against the refresh interval."""
        wrong = select(rows, what="predictor")
        eps = [row["eps"] for row in wrong]
        curves = [
            Curve("first-hitting", eps, [row["tv"] for row in wrong], color=0),
            Curve("certificate from the score error", eps, [row["certificate"] for row in wrong], "bound", 0),
            Curve("ancestral, 64 steps", eps, [row["ancestral"] for row in wrong], color=1),
        ]
        kept = select(rows, what="refresh")
        blocks = [Curve("", [row["refresh"] for row in kept], [row["tv"] for row in kept], color=0)]
        return [
            Panel("Inexact predictor (1 - ε) p + ε/S", "ε", "TV to the data", curves),
            Panel("Predictions kept for b hits", "b", "TV to the data", blocks, log=""),
        ]

    def table(self, rows: Sequence[Row]) -> list[Row]:
        """The inexact predictors."""
        return columns(select(rows, what="predictor"), "eps", "tv", "kl", "score", "certificate", "ancestral")
