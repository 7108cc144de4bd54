"""KL against the total mutual information of the data."""

from __future__ import annotations

from collections.abc import Sequence

from ddm_pyro.planning import balanced_sizes
from ddm_pyro.reproduce.base import Experiment, Row, Work, columns, select
from ddm_pyro.reproduce.checks import Check, at_most, digits
from ddm_pyro.reproduce.masked import by_draws, forward, li_cai, plan_kl
from ddm_pyro.reproduce.plots import Curve, Panel
from ddm_pyro.targets import PottsChain

LENGTH, STEPS = 32, 8
#: J -> total mutual information and E_M KL, K = 4, free, L = 32, T = 8.
BY_COUPLING = {
    0.25: ("0.391735", "0.0189577"),
    0.5: ("1.65918", "0.0803384"),
    1.0: ("6.96773", "0.338377"),
    1.5: ("14.9954", "0.733326"),
    2.0: ("23.5244", "1.16637"),
    3.0: ("35.825", "1.89809"),
}
#: K -> E_M KL at J = 1 on the line and on the ring.
BY_STATES = {
    2: ("0.302251", "0.310974"),
    3: ("0.347127", "0.357553"),
    4: ("0.338377", "0.348760"),
    8: ("0.251059", "0.259008"),
    16: ("0.153364", "0.158282"),
}
PAPER = "Li and Cai, arXiv 2505.21400"
REFERENCE = "reference by transfer matrices"


class PottsInformation(Experiment):
    """The error is proportional to the information that tokens hold about each other."""

    name = "potts-mutual-information"
    title = "KL is linear in the mutual information"
    claim = "At a fixed number of steps the KL grows linearly with the total mutual information of the data."
    source = "Li and Cai, arXiv 2505.21400, Theorem 1 and the experiments on Potts chains"
    setup = (
        "Free chains of L = 32 sites and K = 4 states, J = 0.25 to 3, T = 8 balanced steps, exact predictor; and J = 1 "
        "with K = 2 to 16 states, on lines and rings. `PlanKL` on the information curve; by draws at J = 0.5 and 2."
    )
    keys = ("method", "K", "J", "ring")
    uses_seed = True

    def measure(self, work: Work) -> list[Row]:
        """E_M KL and total mutual information by coupling, states and boundary."""
        sizes = balanced_sizes(LENGTH, STEPS)
        cases = [(4, j, False) for j in BY_COUPLING] + [(k, 1.0, r) for k in BY_STATES for r in (False, True)]
        rows: list[Row] = []
        for states, coupling, ring in work.track(list(dict.fromkeys(cases)), "chains"):
            target = PottsChain(num_states=states, length=LENGTH, coupling=coupling, periodic=ring)
            total, kl = float(target.total_mutual_information()), plan_kl(target, sizes).terms["kl"]
            row = {"method": "curve", "K": states, "J": coupling, "ring": int(ring), "information": total, "kl": kl}
            rows.append({**row, "ratio": kl / total, "bound": li_cai(target, sizes)["theorem1"]})
        for coupling in work.track((0.5, 2.0), "draws"):
            target = PottsChain(num_states=4, length=LENGTH, coupling=coupling)
            draws = 500 if work.quick else 4000
            kl, error = by_draws(target, target.denoiser(forward(target)), sizes, draws, work.seed)
            rows.append({"method": "draws", "K": 4, "J": coupling, "ring": 0, "kl": kl, "stderr": error})
        return rows

    def judge(self, rows: Sequence[Row]) -> list[Check]:
        """Proportionality, the theorem's bound, the printed digits."""
        found = {(row["K"], row["J"], row["ring"]): row for row in select(rows, method="curve")}
        sweep = {j: found[4, j, 0] for j in BY_COUPLING}
        ratios = [row["ratio"] for j, row in sweep.items() if j <= 2.0]
        shares = [row["kl"] / row["bound"] for row in sweep.values()]
        z = [(row["kl"] - found[4, row["J"], 0]["kl"]) / row["stderr"] for row in rows if row["method"] == "draws"]
        pairs = [
            pair
            for j, row in sweep.items()
            for pair in zip((row["information"], row["kl"]), BY_COUPLING[j], strict=True)
        ]
        states = [(found[k, 1.0, ring]["kl"], BY_STATES[k][ring]) for k in BY_STATES for ring in (0, 1)]
        return [
            at_most("largest / smallest KL per nat of information, J ≤ 2", max(ratios) / min(ratios), 1.03, PAPER),
            Check("KL / bound, smallest", min(shares), 0.5, 1.0, f"{PAPER}, Thm 1"),
            Check("KL / bound, largest", max(shares), 0.5, 1.0, f"{PAPER}, Thm 1"),
            digits("information and KL by J", pairs, REFERENCE),
            digits("KL by K, lines and rings", states, REFERENCE),
            at_most("draws - exact, largest in standard errors", max(map(abs, z)), 4.5, "two computations"),
        ]

    def draw(self, rows: Sequence[Row]) -> list[Panel]:
        """KL against information."""
        curve = select(rows, method="curve")
        line = sorted((row for row in curve if row["K"] == 4 and not row["ring"]), key=lambda row: row["J"])
        x = [row["information"] for row in line]
        states = sorted((row for row in curve if row["J"] == 1.0 and not row["ring"]), key=lambda row: row["K"])
        rings = sorted((row for row in curve if row["J"] == 1.0 and row["ring"]), key=lambda row: row["K"])
        label = "total mutual information, nats"
        main = [
            Curve("exact", x, [row["kl"] for row in line], color=0),
            Curve("Theorem 1", x, [row["bound"] for row in line], "bound", 0),
        ]
        other = [
            Curve("lines", [row["information"] for row in states], [row["kl"] for row in states], "points", 0),
            Curve("rings", [row["information"] for row in rings], [row["kl"] for row in rings], "points", 1),
        ]
        return [
            Panel("K = 4, J = 0.25 to 3, T = 8 of L = 32", label, "KL, nats", main),
            Panel("J = 1, K = 2 to 16", label, "KL, nats", other, log=""),
        ]

    def table(self, rows: Sequence[Row]) -> list[Row]:
        """The sweep over J."""
        line = [row for row in select(rows, method="curve", K=4) if not row["ring"]]
        return columns(sorted(line, key=lambda row: row["J"]), "J", "information", "kl", "ratio", "bound")
