"""Fewer steps than tokens."""

from __future__ import annotations

from collections.abc import Sequence

from ddm_pyro.metrics import TotalVariation
from ddm_pyro.parameterizations.counted import Counted
from ddm_pyro.planning import balanced_sizes
from ddm_pyro.reproduce.base import Experiment, Row, Work, columns, select
from ddm_pyro.reproduce.checks import Check, at_most, digits
from ddm_pyro.reproduce.masked import forward, plan_kl
from ddm_pyro.reproduce.plots import Curve, Panel
from ddm_pyro.samplers import FirstHitting, KUnmask
from ddm_pyro.sampling import push, sample
from ddm_pyro.targets import PottsChain

LONG, SHORT = 32, 6
#: T -> E_M KL, K = 4, J = 1, L = 32, balanced.
KL = {1: "3.657779", 2: "1.725419", 4: "0.794767", 5: "0.620377", 8: "0.338377", 16: "0.112419"}
PAPER = "Li and Cai, arXiv 2505.21400"
#: Sequences drawn to see how often neighbors agree.
DRAWS = 4000


class FewerSteps(Experiment):
    """A guarantee below L steps, where one token at a time is not affordable."""

    name = "fewer-steps-than-tokens"
    title = "Fewer steps than tokens"
    claim = (
        "The guarantee holds for T < L: T network calls already give KL of at most order (information)/T, while "
        "one token at a time needs L calls."
    )
    source = "Li and Cai, arXiv 2505.21400, Theorem 1 and section 1.2"
    setup = (
        "Potts chains, J = 1, exact predictor. K = 4, L = 32: `PlanKL` for every T, and draws of `ddm.sample` with the "
        "network calls counted and the share of equal neighbors. K = 3, L = 6: the output law by `ddm.push`, its TV to "
        "the data, and the certificate min(√(KL/2), √(1 - e^-KL))."
    )
    keys = ("what", "L", "T")
    uses_seed = True

    def measure(self, work: Work) -> list[Row]:
        """Certificates for all T, output laws for L = 6, draws for L = 32."""
        target = PottsChain(num_states=4, length=LONG, coupling=1.0)
        total = float(target.total_mutual_information())
        rows: list[Row] = []
        for steps in work.track(range(1, LONG + 1), "certificates"):
            kl = plan_kl(target, balanced_sizes(LONG, steps)).terms["kl"]
            law = total / 2 * (1 / steps - 1 / LONG)
            rows.append({"what": "certificate", "L": LONG, "T": steps, "kl": kl, "law": law})
        rows += self._draws(target, work) + self._laws(work)
        return rows

    def _draws(self, target: PottsChain, work: Work) -> list[Row]:
        rows, draws = [], 500 if work.quick else DRAWS
        for steps in work.track((1, 2, 4, 8, 16, 32), "draws"):
            model = Counted(target.denoiser(forward(target)))
            sampler = FirstHitting() if steps == LONG else KUnmask(balanced_sizes(LONG, steps))
            x = sample(sampler, model, draws, seed=work.seed)
            agree = (x[:, 1:] == x[:, :-1]).double().mean(-1)
            calls = model.count.rows / draws
            error = float(agree.std()) / draws**0.5
            rows.append(
                {"what": "draws", "L": LONG, "T": steps, "calls": calls, "agree": float(agree.mean()), "stderr": error}
            )
        exact = float((target.line.transition.diagonal()).mean())
        return [{**row, "exact": exact} for row in rows]

    def _laws(self, work: Work) -> list[Row]:
        target = PottsChain(num_states=3, length=SHORT, coupling=1.0)
        model, data, rows = target.denoiser(forward(target)), target.tabular(), []
        for steps in work.track(range(1, SHORT + 1), "output laws"):
            sizes = balanced_sizes(SHORT, steps)
            found = plan_kl(target, sizes)
            tv = TotalVariation()(push(KUnmask(sizes), model), data).value
            row = {"what": "law", "L": SHORT, "T": steps, "kl": found.terms["kl"]}
            rows.append({**row, "tv": tv, "certificate": found.value})
        return rows

    def judge(self, rows: Sequence[Row]) -> list[Check]:
        """The bound at every T, the calls, the law of what is drawn."""
        kl = {row["T"]: row["kl"] for row in select(rows, what="certificate")}
        law = {row["T"]: row["law"] for row in select(rows, what="certificate")}
        few = [t for t in kl if t < LONG]
        laws, draws = select(rows, what="law"), {row["T"]: row for row in select(rows, what="draws")}
        # Theorem 1 for whatever s_max: the next power of two of the largest size.
        share = [kl[t] / (2 * law[1] * _theorem(t)) for t in few]
        last = draws[LONG]
        return [
            Check("largest KL / bound over all T < L", max(share), 0.0, 1.0, f"{PAPER}, Thm 1"),
            at_most(
                "largest KL / (information/2 (1/T - 1/L)), T ≤ L/8",
                max(kl[t] / law[t] for t in few if t <= 4),
                1.1,
                "large-L law of the error",
            ),
            digits("KL", [(kl[t], word) for t, word in KL.items()], "reference by transfer matrices"),
            at_most(
                "largest TV / certificate, L = 6, T < L",
                max(row["tv"] / row["certificate"] for row in laws if row["T"] < SHORT),
                1.0,
                PAPER,
            ),
            at_most("TV at T = L", laws[-1]["tv"], 1e-12, f"{PAPER}, Thm 1"),
            at_most(
                "largest |network rows a sample - T|",
                max(abs(row["calls"] - t) for t, row in draws.items()),
                0.0,
                "T calls a sample",
            ),
            at_most(
                "equal neighbors at T = L - exact share, in standard errors",
                abs(last["agree"] - last["exact"]) / last["stderr"],
                4.5,
                "the data law",
            ),
            Check(
                "equal neighbors at T = 8: lost share of the excess over chance",
                (last["exact"] - draws[8]["agree"]) / (last["exact"] - 0.25),
                0.0,
                0.2,
                "draws",
            ),
        ]

    def draw(self, rows: Sequence[Row]) -> list[Panel]:
        """KL and law against T; TV and certificate; neighbors."""
        found = [row for row in select(rows, what="certificate") if row["T"] < LONG]
        laws = [row for row in select(rows, what="law") if row["T"] < SHORT]
        draws = select(rows, what="draws")
        steps = [row["T"] for row in found]
        kl = [
            Curve("exact", steps, [row["kl"] for row in found], color=0),
            Curve("information/2 (1/T - 1/L)", steps, [row["law"] for row in found], "bound", 1),
        ]
        tv = [
            Curve("TV of the output law", [row["T"] for row in laws], [row["tv"] for row in laws], color=0),
            Curve("certificate", [row["T"] for row in laws], [row["certificate"] for row in laws], "bound", 0),
        ]
        agree = [
            Curve("drawn", [row["T"] for row in draws], [row["agree"] for row in draws], color=0),
            Curve("data", [row["T"] for row in draws], [row["exact"] for row in draws], "bound", 1),
        ]
        return [
            Panel("L = 32: KL for every T < L", "steps T", "KL, nats", kl),
            Panel("L = 6: output law", "steps T", "TV", tv, log="y"),
            Panel("L = 32: equal neighbors", "steps T = network calls", "share", agree, log="x"),
        ]

    def table(self, rows: Sequence[Row]) -> list[Row]:
        """What was drawn, and at what price."""
        kl = {row["T"]: row["kl"] for row in select(rows, what="certificate")}
        drawn = columns(select(rows, what="draws"), "T", "calls", "agree", "stderr", "exact")
        return [{**row, "kl": kl[row["T"]]} for row in drawn]


def _theorem(steps: int) -> float:
    """(2^ceil(log2 s_max) - 1) / L over (1 - 1/L), for balanced sizes."""
    largest = max(balanced_sizes(LONG, steps))
    return (2 ** (largest - 1).bit_length() - 1) / LONG / (1 - 1 / LONG)
