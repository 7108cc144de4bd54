"""Schedules of unequal mask sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ddm_pyro.planning import balanced_sizes, block_costs, optimal_sizes
from ddm_pyro.reproduce.base import Experiment, Row, Work, columns, select
from ddm_pyro.reproduce.checks import Check, at_least, at_most, digits
from ddm_pyro.reproduce.masked import by_draws, forward, li_cai, plan_kl
from ddm_pyro.reproduce.plots import Curve, Panel
from ddm_pyro.targets import PottsChain

LENGTH = 32
PAPER = "Li and Cai, arXiv 2505.21400"
REFERENCE = "reference by transfer matrices"
#: Sizes in generation order -> E_M KL, K = 4, J = 1.
KL: dict[tuple[int, ...], str] = {
    (1,) * 24 + (8,): "0.175644",
    (8,) + (1,) * 24: "0.223407",
    (1, 2, 3, 4, 5, 7, 10): "0.580344",
    (10, 7, 5, 4, 3, 2, 1): "0.639908",
    (1, 1, 2, 4, 8, 16): "1.05371",
    (16, 8, 4, 2, 1, 1): "1.16623",
    (15, 17): "1.72343",
    (16, 16): "1.72542",
    (7, 7, 6, 6, 6): "0.620377",
    (6, 6, 6, 7, 7): "0.611354",
    (4, 4, 4, 5, 5, 5, 5): "0.405003",
    (4,) * 8: "0.338377",
}
#: Those found by dynamic programming for as many steps.
OPTIMAL = {7: (4, 4, 4, 5, 5, 5, 5), 2: (15, 17)}


class Unbalanced(Experiment):
    """Theorem 1 for arbitrary sizes, Theorem 2 for random ones, and the best sizes."""

    name = "unbalanced-schedules"
    title = "Unbalanced schedules"
    claim = (
        "The bound of any schedule depends on its largest size; for sizes drawn from {s_max, s_max/2} the KL has a "
        "lower bound of the same order, (s_max/L)(1/16) G to (s_max/L)(1/2) G."
    )
    source = "Li and Cai, arXiv 2505.21400, Theorems 1 and 2"
    setup = (
        "K = 4, L = 32. `PlanKL` of `KUnmask(sizes)` for growing, shrinking, lopsided, balanced and optimal sizes "
        "(`planning.optimal_sizes`, J = 1); `by draws` for two of them; random sizes by recursion over "
        "`planning.block_costs`, the last step cut off at L, J = 0.5, 1, 2 and s_max = 2 to 32. Bounds from `LiCai`."
    )
    keys = ("what", "J", "sizes")
    uses_seed = True

    def measure(self, work: Work) -> list[Row]:
        """E_M KL of fixed, optimal and random schedules."""
        target = PottsChain(num_states=4, length=LENGTH, coupling=1.0)
        best = [optimal_sizes(target.information_curve(), t) for t in range(1, LENGTH)]
        balanced = [balanced_sizes(LENGTH, t) for t in range(1, LENGTH)]
        rows: list[Row] = []
        for sizes in work.track(list(dict.fromkeys([*KL, *best, *balanced])), "schedules"):
            bound = li_cai(target, sizes)["theorem1"]
            kind = "optimal" if sizes in best and sizes not in balanced else "fixed"
            row = {"what": kind, "J": 1.0, "sizes": shorten(sizes), "steps": len(sizes), "largest": max(sizes)}
            rows.append({**row, "kl": plan_kl(target, sizes).terms["kl"], "bound": bound})
        model = target.denoiser(forward(target))
        for sizes in work.track(((8,) + (1,) * 24, (1, 1, 2, 4, 8, 16)), "draws"):
            kl, error = by_draws(target, model, sizes, 300 if work.quick else 3000, work.seed)
            rows.append({"what": "draws", "J": 1.0, "sizes": shorten(sizes), "kl": kl, "stderr": error})
        return rows + [row for j in (0.5, 1.0, 2.0) for row in random_rows(j)]

    def judge(self, rows: Sequence[Row]) -> list[Check]:
        """The theorems, the optimum, the printed digits."""
        fixed = [row for row in rows if row["what"] in ("fixed", "optimal")]
        kl = {row["sizes"]: row["kl"] for row in fixed}
        chosen = {t: min(row["kl"] for row in fixed if row["steps"] == t) for t in range(1, LENGTH)}
        gain = [chosen[t] - kl[shorten(balanced_sizes(LENGTH, t))] for t in chosen]
        random, at = (
            select(rows, what="random"),
            {(row["J"], row["largest"]): row for row in rows if row["what"] == "random"},
        )
        four = at[1.0, 4]
        printed = [(four["kl"], "0.257183"), (four["lower"], "0.0899372"), (four["upper"], "0.719497")]
        z = [(row["kl"] - kl[row["sizes"]]) / row["stderr"] for row in select(rows, what="draws")]
        optimal = [optimal_is(rows, t, sizes) for t, sizes in OPTIMAL.items()]
        return [
            at_most("largest KL / bound", max(row["kl"] / row["bound"] for row in fixed), 1.0, f"{PAPER}, Thm 1"),
            at_most(
                "random and balanced sizes, s_max < L: largest KL / upper bound (constant 1/2)",
                max(max(row["kl"], row["balanced"]) / row["upper"] for row in random if row["largest"] < LENGTH),
                1.0,
                f"{PAPER}, Thm 2",
            ),
            at_most(
                "random and balanced sizes, all s_max: largest KL / the sum over j ≥ 1",
                max(max(row["kl"], row["balanced"]) / row["safe"] for row in random),
                1.0,
                "our form of Thm 2",
            ),
            Check(
                "s_max = L: largest balanced KL / upper bound; 1/2 of (33), (34) is too small for one step",
                max(row["balanced"] / row["upper"] for row in random if row["largest"] == LENGTH),
                1.0,
                2.0,
                f"{PAPER}, Thm 2 (its constant is not stated)",
            ),
            at_least(
                "random sizes: smallest KL / lower bound",
                min(row["kl"] / row["lower"] for row in random),
                1.0,
                f"{PAPER}, Thm 2",
            ),
            at_most("optimal - balanced KL, largest over T", max(gain), 1e-12, "dynamic programming"),
            at_least("schedules whose optimum is the reference's", sum(optimal), len(OPTIMAL), REFERENCE),
            digits("KL", [(kl[shorten(sizes)], word) for sizes, word in KL.items()], REFERENCE),
            digits("random sizes, s_max = 4: KL and both bounds", printed, REFERENCE),
            at_most("draws - exact, largest in standard errors", max(map(abs, z)), 4.5, "two computations"),
        ]

    def draw(self, rows: Sequence[Row]) -> list[Panel]:
        """KL over the bound, and Theorem 2."""
        fixed = [row for row in rows if row["what"] == "fixed"]
        named = {shorten(sizes) for sizes in KL} - {shorten(balanced_sizes(LENGTH, t)) for t in range(1, LENGTH)}
        balanced = sorted((row for row in fixed if row["sizes"] not in named), key=lambda row: row["steps"])
        others = [row for row in fixed if row["sizes"] in named]
        first = [
            Curve("balanced", [row["steps"] for row in balanced], [row["kl"] for row in balanced], color=0),
            Curve("unbalanced", [row["steps"] for row in others], [row["kl"] for row in others], "points", 1),
            Curve("Theorem 1", [row["steps"] for row in others], [row["bound"] for row in others], "points", 2),
        ]
        second = []
        for color, j in enumerate((0.5, 1.0, 2.0)):
            some = sorted(select(rows, what="random", J=j), key=lambda row: row["largest"])
            x = [row["largest"] for row in some]
            second.append(Curve(f"J = {j:g}", x, [row["kl"] for row in some], color=color))
            second += [Curve("", x, [row[side] for row in some], "bound", color) for side in ("lower", "upper")]
        return [
            Panel("KL by number of steps, J = 1", "steps", "KL, nats", first),
            Panel("Random sizes (dashed: Theorem 2)", "s_max", "KL, nats", second),
        ]

    def table(self, rows: Sequence[Row]) -> list[Row]:
        """The schedules with a reference."""
        named = {shorten(sizes) for sizes in KL}
        fixed = [row for row in rows if row["what"] in ("fixed", "optimal") and row["sizes"] in named]
        return columns(fixed, "sizes", "steps", "kl", "bound")


def shorten(sizes: Sequence[int]) -> str:
    """Sizes in words: repeats as powers.

    Example:
        >>> shorten((8, 1, 1, 1, 4))
        '8 1^3 4'
    """
    out: list[list[int]] = []
    for size in sizes:
        if out and out[-1][0] == size:
            out[-1][1] += 1
        else:
            out.append([size, 1])
    return " ".join(f"{size}^{times}" if times > 1 else f"{size}" for size, times in out)


def random_rows(coupling: float) -> list[Row]:
    """Theorem 2: E_M KL for sizes iid uniform on {s_max, s_max / 2} in generation order, and its bounds."""
    target = PottsChain(num_states=4, length=LENGTH, coupling=coupling)
    costs, rows = block_costs(target.information_curve()), []
    for largest in (2, 4, 8, 16, 32):
        expected = torch.zeros(LENGTH + 1, dtype=torch.float64)
        for known in reversed(range(LENGTH)):
            sizes = [min(size, LENGTH - known) for size in (largest, largest // 2)]
            expected[known] = sum(0.5 * (costs[known, size] + expected[known + size]) for size in sizes)
        found = li_cai(target, (largest,) * (LENGTH // largest))
        row: Row = {"what": "random", "J": coupling, "sizes": f"{largest} or {largest // 2}", "largest": largest}
        row |= {"kl": float(expected[0]), "balanced": found["kl"], "lower": found["theorem2_lower"]}
        rows.append({**row, "upper": found["theorem2_upper"], "safe": found["theorem2_safe"]})
    return rows


def optimal_is(rows: Sequence[Row], steps: int, sizes: Sequence[int]) -> bool:
    """Whether the least KL of so many steps is that of these sizes."""
    some = [row for row in rows if row.get("steps") == steps]
    return min(some, key=lambda row: row["kl"])["sizes"] == shorten(sizes)
