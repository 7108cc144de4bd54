"""KL against the number of steps, on Potts chains."""

from __future__ import annotations

from collections.abc import Sequence

from ddm_pyro.metrics import KL as KLMetric
from ddm_pyro.planning import balanced_sizes
from ddm_pyro.reproduce.base import Experiment, Row, Work, columns, select
from ddm_pyro.reproduce.checks import Check, at_most, digits, slope
from ddm_pyro.reproduce.masked import by_draws, by_patterns, forward, li_cai, plan_kl
from ddm_pyro.reproduce.plots import Curve, Panel
from ddm_pyro.samplers import KUnmask
from ddm_pyro.sampling import push
from ddm_pyro.targets import PottsChain

#: E_M KL of balanced schedules, K = 4, J = 1, (L, T) -> printed digits, by transfer matrices elsewhere.
KL = {
    8: {1: "0.825950", 2: "0.344392", 4: "0.113185"},
    16: {1: "1.769893", 2: "0.804669", 4: "0.340271", 8: "0.112658"},
    32: {1: "3.657779", 2: "1.725419", 4: "0.794767", 8: "0.338377", 16: "0.112419"},
    256: {8: "3.50010", 16: "1.68813", 32: "0.786517", 64: "0.336805", 128: "0.112223"},
}
#: Li and Cai's bound for the same.
BOUND = {
    8: {1: "1.384542", 2: "0.593375", 4: "0.197792"},
    32: {1: "6.74999", 2: "3.26612", 4: "1.52419", 8: "0.653224", 16: "0.217741"},
    256: {8: "6.93036", 16: "3.35340", 32: "1.56492", 64: "0.67068", 128: "0.22356"},
}
#: Slopes of log KL against log T on L = 256: T = 8 .. 64 by J; and between neighbours at J = 1.
FITS = {0.5: "-1.121", 1.0: "-1.123", 2.0: "-1.134"}
LOCAL = {2: "-1.030", 4: "-1.032", 8: "-1.052", 16: "-1.102", 32: "-1.224", 64: "-1.586"}
#: The same against 1/T - 1/L.
LAW = {0.5: "1.0005", 1.0: "1.0024", 2.0: "1.0119"}
#: Hbar(n) by (L, n), K = 4, J = 1.
HBAR = {
    (8, 0): "1.38629436",
    (8, 1): "1.35410266",
    (8, 2): "1.32337033",
    (8, 3): "1.29400029",
    (8, 4): "1.26590480",
    (8, 5): "1.23900414",
    (8, 6): "1.21322561",
    (8, 7): "1.18850263",
    (32, 0): "1.38629436",
    (32, 1): "1.37814895",
    (32, 15): "1.27250921",
    (32, 31): "1.16855291",
}
#: Total mutual information and total correlation.
TOTALS = {(32, "information"): "6.967726498953", (32, "correlation"): "3.657778874206", (256, "information"): "57.2314"}
#: K = 3, L = 5, J = 1, sizes (2, 2, 1): KL of the output law, and E_M KL.
OUTPUT = ("0.02263", "0.09869")
PAPER = "Li and Cai, arXiv 2505.21400"


class PottsKL(Experiment):
    """Theorem 1 of Li and Cai on the chains of their experiments."""

    name = "potts-kl"
    title = "KL decays as 1/T"
    claim = (
        "With balanced mask sizes the mask-conditional KL of T steps is at most "
        "(2^⌈log₂ s_max⌉ - 1)/L · Σ I(X_i; X_rest), of order 1/T, and that order is attained."
    )
    source = "Li and Cai, arXiv 2505.21400, Theorem 1 and Corollary 1"
    setup = (
        "K = 4 states, free chains of L = 8 to 256 sites, exact predictor, `KUnmask(balanced_sizes(L, T))`. "
        "`PlanKL` on the information curve, the bound from `LiCai`; on every mask pattern of the pmf (L = 5); and by "
        "draws from the target through the model's own predictions (L = 32), as for a network."
    )
    keys = ("method", "K", "J", "L", "T", "n", "total")
    uses_seed = True

    def measure(self, work: Work) -> list[Row]:
        """E_M KL by length, coupling and steps."""
        cases = [(length, 1.0) for length in KL] + ([] if work.quick else [(256, 0.5), (256, 2.0)])
        rows: list[Row] = []
        for length, coupling in work.track(cases, "chains"):
            target = PottsChain(num_states=4, length=length, coupling=coupling)
            for steps in (2**k for k in range(length.bit_length())):
                sizes = balanced_sizes(length, steps)
                bound = li_cai(target, sizes)["theorem1"]
                row = {"method": "curve", "K": 4, "J": coupling, "L": length, "T": steps}
                rows.append({**row, "kl": plan_kl(target, sizes).terms["kl"], "bound": bound})
        rows += self._patterns(work) + self._draws(work)
        return rows + self._curves() + self._output()

    def _curves(self) -> list[Row]:
        targets = {length: PottsChain(num_states=4, length=length, coupling=1.0) for length in (8, 32, 256)}
        row = {"K": 4, "J": 1.0}
        rows: list[Row] = []
        for length, n in HBAR:
            value = float(targets[length].information_curve()[n])
            rows.append({"method": "information curve", **row, "L": length, "n": n, "value": value})
        for length, name in TOTALS:
            one = targets[length]
            value = float(one.total_mutual_information() if name == "information" else one.total_correlation())
            rows.append({"method": "total", **row, "L": length, "total": name, "value": value})
        return rows

    def _output(self) -> list[Row]:
        target = PottsChain(num_states=3, length=5, coupling=1.0)
        sizes = balanced_sizes(5, 3)
        law = push(KUnmask(sizes), target.denoiser(forward(target)))
        row: Row = {"method": "output law", "K": 3, "J": 1.0, "L": 5, "T": 3}
        return [{**row, "kl": KLMetric()(law, target.tabular()).value, "path": plan_kl(target, sizes).terms["kl"]}]

    def _patterns(self, work: Work) -> list[Row]:
        target = PottsChain(num_states=3, length=5, coupling=1.0)
        rows = []
        for steps in work.track(range(1, 6), "all mask patterns"):
            sizes = balanced_sizes(5, steps)
            row = {"K": 3, "J": 1.0, "L": 5, "T": steps}
            rows.append({"method": "curve", **row, "kl": plan_kl(target, sizes).terms["kl"]})
            rows.append({"method": "patterns", **row, "kl": by_patterns(target, sizes)})
        return rows

    def _draws(self, work: Work) -> list[Row]:
        target = PottsChain(num_states=4, length=32, coupling=1.0)
        model = target.denoiser(forward(target))
        rows = []
        for steps in work.track((2, 4, 8, 16), "draws"):
            kl, error = by_draws(target, model, balanced_sizes(32, steps), 500 if work.quick else 4000, work.seed)
            rows.append({"method": "draws", "K": 4, "J": 1.0, "L": 32, "T": steps, "kl": kl, "stderr": error})
        return rows

    def judge(self, rows: Sequence[Row]) -> list[Check]:
        """Slopes, the theorem's bound, and the printed digits."""
        curve = select(rows, method="curve", K=4)
        kl = {(row["J"], row["L"], row["T"]): row["kl"] for row in curve}
        bound = {(row["J"], row["L"], row["T"]): row["bound"] for row in curve}
        checks = []
        for coupling in sorted({j for j, length, _ in kl if length == 256}):
            few = (1, 2, 4, 8, 16, 32)
            fit = slope(few, (kl[coupling, 256, t] for t in few))
            where = f"J = {coupling:g}, L = 256"
            checks.append(
                Check(f"slope of log KL against log T, T ≤ L/8, {where}", fit, -1.15, -0.97, f"{PAPER}, Thm 1")
            )
            law = slope((1 / t - 1 / 256 for t in few), (kl[coupling, 256, t] for t in few))
            checks.append(Check(f"slope against 1/T - 1/L, {where}", law, 0.94, 1.06, "large-L law of the error"))
        ratio = [kl[at] / bound[at] for at in kl if bound[at] > 0]
        checks.append(Check("largest KL / bound", max(ratio), 0.0, 1.0, f"{PAPER}, Thm 1"))
        checks.append(Check("smallest KL / bound: the order is attained", min(ratio), 0.25, 1.0, f"{PAPER}, Thm 2"))
        last = max(abs(value) for (_, length, steps), value in kl.items() if steps == length)
        checks.append(at_most("KL of T = L, one token a step", last, 1e-9, f"{PAPER}, Thm 1"))
        checks += _printed(kl, bound)
        exact = {
            (row["K"], row["L"], row["T"]): row["kl"] for row in rows if row["method"] == "curve" and row["J"] == 1.0
        }
        apart = [abs(row["kl"] - exact[row["K"], row["L"], row["T"]]) for row in select(rows, method="patterns")]
        checks.append(at_most("sum over all mask patterns - information curve", max(apart), 1e-10, "two computations"))
        z = [(row["kl"] - exact[4, 32, row["T"]]) / row["stderr"] for row in select(rows, method="draws")]
        checks.append(at_most("draws - exact, largest in standard errors", max(map(abs, z)), 4.5, "two computations"))
        output = select(rows, method="output law")[0]
        checks += [
            at_most(
                "KL of the output law / mask-conditional KL, L = 5", output["kl"] / output["path"], 1.0, "convexity"
            ),
            digits(
                "KL of the output law, and mask-conditional",
                zip((output["kl"], output["path"]), OUTPUT, strict=True),
                "reference by enumeration",
            ),
        ]
        found = {(row["L"], row["n"]): row["value"] for row in select(rows, method="information curve")}
        totals = {(row["L"], row["total"]): row["value"] for row in select(rows, method="total")}
        pairs = [(found[at], word) for at, word in HBAR.items()] + [(totals[at], word) for at, word in TOTALS.items()]
        checks.append(digits("information curve and its totals", pairs, "reference by transfer matrices"))
        return checks

    def draw(self, rows: Sequence[Row]) -> list[Panel]:
        """KL against T, and against 1/T - 1/L."""
        curves, law = [], []
        for color, length in enumerate(KL):
            some = [row for row in select(rows, method="curve", K=4, J=1.0, L=length) if row["T"] < length]
            steps, kl = [row["T"] for row in some], [row["kl"] for row in some]
            curves.append(Curve(f"L = {length}", steps, kl, color=color))
            curves.append(Curve("", steps, [row["bound"] for row in some], "bound", color))
            law.append(Curve(f"L = {length}", [1 / t - 1 / length for t in steps], kl, color=color))
        return [
            Panel("Mask-conditional KL (dashed: Theorem 1)", "steps T", "KL, nats", curves),
            Panel("The same against 1/T - 1/L", "1/T - 1/L", "KL, nats", law),
        ]

    def table(self, rows: Sequence[Row]) -> list[Row]:
        """L = 32."""
        return columns(select(rows, method="curve", K=4, J=1.0, L=32), "L", "T", "kl", "bound")


def _printed(kl: dict[tuple[float, int, int], float], bound: dict[tuple[float, int, int], float]) -> list[Check]:
    """Every reference number that the rows cover."""
    reference = "reference by transfer matrices"
    pairs = [(kl[1.0, length, t], word) for length, some in KL.items() for t, word in some.items()]
    limits = [(bound[1.0, length, t], word) for length, some in BOUND.items() for t, word in some.items()]
    fit, law = (8, 16, 32, 64), (8, 16, 32, 64)
    fits = [(slope(fit, (kl[j, 256, t] for t in fit)), word) for j, word in FITS.items() if (j, 256, 8) in kl]
    laws = [
        (slope((1 / t - 1 / 256 for t in law), (kl[j, 256, t] for t in law)), word)
        for j, word in LAW.items()
        if (j, 256, 8) in kl
    ]
    local = [(slope((t, 2 * t), (kl[1.0, 256, t], kl[1.0, 256, 2 * t])), word) for t, word in LOCAL.items()]
    return [
        digits("KL", pairs, reference),
        digits("bound", limits, reference),
        digits("slopes", fits + laws + local, reference),
    ]
